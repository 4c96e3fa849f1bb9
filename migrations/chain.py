"""Running the chain on one generation: a Postgres schema with its own version table."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from runtime.security import postgres_secret
from runtime.settings import SettingsError

LIVE = "live"


class OtherVersionError(SettingsError):
    """The tables are of a revision that this build does not know."""


_LOCK = 7_315_221_006
"""Advisory lock: two workers that start at once migrate one after the other."""


def upgrade(postgres: str, schema: str = LIVE, revision: str = "head") -> str | None:
    """Bring `schema` up to `revision`, making the schema where it is missing. Idempotent.

    postgres: a URI as psycopg takes it. Returns the revision reached. Raises
    sqlalchemy.exc.OperationalError where Postgres does not answer, OtherVersionError where a newer
    build has been here.
    """
    return _run(postgres, schema, lambda config: command.upgrade(config, revision))


def downgrade(postgres: str, schema: str = LIVE, revision: str = "base") -> str | None:
    """Take `schema` back to `revision` (`base`: no tables). Returns the revision reached."""
    return _run(postgres, schema, lambda config: command.downgrade(config, revision))


def head() -> str:
    """The newest revision of the chain."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


def revisions() -> list[str]:
    """All revisions of the chain, the oldest first."""
    every = ScriptDirectory.from_config(_config()).walk_revisions()
    return [script.revision for script in every][::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _run(postgres: str, schema: str, action: Any) -> str | None:
    import psycopg

    secret = postgres_secret()
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(postgres, connect_timeout=5, **secret),
        poolclass=NullPool,
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
        connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["schema"] = schema
        try:
            action(config)
        except CommandError:
            stands = _revision(connection, schema)
            if stands in (None, *revisions()):
                raise
            raise OtherVersionError(
                f"schema {schema} has revision {stands}, which this build does not know: run the "
                "build that made it, or give an empty database by QUANTUM_POSTGRES (tables "
                "are made anew from the log)."
            ) from None
        return _revision(connection, schema)


def _revision(connection: Connection, schema: str) -> str | None:
    options = {"version_table_schema": schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()
