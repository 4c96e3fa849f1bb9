"""The projector as a supervised process: `python -m projections.worker --kafka … --postgres …`.

It migrates the database first. Ends with 0 on SIGTERM or SIGINT, 70 when another projector took
over, 1 with one line on stderr when it cannot go on.
"""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import OperationalError

from migrations import chain
from projections.database import ProjectionError
from projections.projector import Projector
from projections.reports import Reports
from projections.writing import OvertakenError
from runtime import entry, logs
from runtime.health import port
from runtime.priority import stand_back
from runtime.settings import Settings, postgres_uri

log = logging.getLogger("projections.worker")

EXIT_OVERTAKEN = 70


def parser() -> argparse.ArgumentParser:
    """The projector's command line."""
    known = argparse.ArgumentParser(prog="projector", description=__doc__)
    settings = Settings.load()
    known.add_argument("--kafka", default=settings.kafka, help="bootstrap servers, host:port")
    known.add_argument(
        "--postgres", type=database, default=settings.postgres, help="postgresql://…"
    )
    known.add_argument("--health-port", type=port, default=0, help="port of /health; 0: free one")
    known.add_argument("--folder", required=True, type=Path, help="where its log file goes")
    return known


def database(value: str) -> str:
    """A URI as :class:`Settings` takes it. ArgumentTypeError without the value: it may hold a
    password."""
    try:
        return postgres_uri(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    known = parser()
    given = known.parse_args(arguments)
    for name in ("kafka", "postgres"):
        if getattr(given, name) is None:
            known.error(f"say --{name}, or set QUANTUM_{name.upper()}")
    logs.configure("projector", given.folder)
    projector = Projector(given.kafka, given.postgres)
    ending = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ending.set()
        projector.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        with Reports(projector, given.folder, given.health_port):
            migrate(given.postgres, ending)
            stand_back("projector")  # from now on: a start that others crowd out is given up
            projector.run()
    except OvertakenError as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return EXIT_OVERTAKEN
    except ProjectionError as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return 1
    return 0


def migrate(postgres: str, ending: threading.Event) -> None:
    """Bring the live generation up to this build, as soon as Postgres answers."""
    backoff = 0.1
    while not ending.is_set():
        try:
            chain.upgrade(postgres)
        except OperationalError as error:
            log.warning("Postgres does not answer, again in %.1f s: %s", backoff, error.orig)
            ending.wait(backoff)
            backoff = min(2.0, backoff * 2)
        else:
            return


if __name__ == "__main__":
    entry.run(main)
