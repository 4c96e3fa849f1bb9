"""Exchanging generations: one rebuild at a time, the projector held off, and the way back."""

import time
from contextlib import closing
from typing import Any

import psycopg

from migrations import chain
from projections.database import ProjectionError, connect, exists, sql
from projections.tables import BEFORE, LIVE

_LOCK = 7_315_221_007
_LOCK_WAIT_S = 3.0


def rollback(postgres: str) -> None:
    """Put the generation from before the last rebuild back; the rebuilt one becomes `before`.

    The projector finds older positions and catches up from there. Raises ProjectionError when
    there is nothing to go back to.
    """
    with closing(connect(postgres, autocommit=True)) as connection:
        take_lock(connection, "A rebuild is running: wait for it to end.")
        if not exists(connection, BEFORE):
            raise ProjectionError("There is no generation to go back to: nothing was rebuilt yet.")
        chain.upgrade(postgres, BEFORE)  # an older build may have made it
        with connection.transaction():
            lock_projector(connection, LIVE)
            hand_over(connection, BEFORE)
            aside = "shadow_0"
            for old, new in ((LIVE, aside), (BEFORE, LIVE), (aside, BEFORE)):
                connection.execute(sql(f'ALTER SCHEMA "{old}" RENAME TO "{new}"'))


def take_lock(connection: psycopg.Connection[Any], otherwise: str) -> None:
    """One rebuild at a time. A killed one lets go when its server process notices."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise ProjectionError(otherwise)
        time.sleep(0.1)


def lock_projector(connection: psycopg.Connection[Any], schema: str) -> None:
    """Wait for the projector's transaction and hold off its next one; readers notice nothing."""
    connection.execute(sql(f'LOCK TABLE "{schema}".projector IN EXCLUSIVE MODE'))


def hand_over(connection: psycopg.Connection[Any], schema: str) -> None:
    """The projector that writes `live` is the one that may write `schema` when it is live."""
    connection.execute(sql(f'DELETE FROM "{schema}".projector'))
    connection.execute(
        sql(f'INSERT INTO "{schema}".projector SELECT id, incarnation FROM "{LIVE}".projector')
    )
