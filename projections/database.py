"""Connections to Postgres, and what generations of the read models exist."""

from typing import Any, LiteralString

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from projections.tables import LIVE
from runtime.security import postgres_secret


class ProjectionError(RuntimeError):
    """The projections cannot be written or read; the text names the cause and the remedy."""


def connect(uri: str, *, server_options: str = "", **options: Any) -> psycopg.Connection[Any]:
    """A connection in UTC that writes durably; keyword options as psycopg's, `server_options` as
    the server's command line. OperationalError."""
    return psycopg.connect(
        uri,
        options=f"-c timezone=UTC -c synchronous_commit=on {server_options}",
        connect_timeout=5,
        application_name="quantum-projections",
        **postgres_secret(),
        **options,
    )


def engine(uri: str, schema: str = LIVE) -> Engine:
    """A SQLAlchemy engine whose statements mean the tables of generation `schema`."""
    made = create_engine("postgresql+psycopg://", creator=lambda: connect(uri), poolclass=NullPool)
    return made.execution_options(schema_translate_map={None: schema})


def sql(text: str) -> LiteralString:
    """SQL that was composed of names in this package's code, never of input."""
    return text


def exists(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether generation `schema` has its tables."""
    row = connection.execute("SELECT to_regclass(%s)", (f'"{schema}".offsets',)).fetchone()
    return row is not None and row[0] is not None
