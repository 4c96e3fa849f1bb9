"""Where the running system is: this checkout's embedded run, or clusters of the settings."""

from dataclasses import dataclass
from pathlib import Path

from commands.console import CommandError, ExitCode
from replay.tail import last_records
from runtime import runs
from runtime.runs import Run
from runtime.settings import Settings
from schemas.scalars import EPOCH_TEXT
from schemas.topics import CLOCK, MARKET


@dataclass(frozen=True, slots=True)
class System:
    """Addresses of a running system. `run` None: clusters of the settings, nothing of ours."""

    kafka: str
    postgres: str | None
    run: Run | None

    @property
    def folder(self) -> Path | None:
        return self.run.folder if self.run else None

    def database(self) -> str:
        """The Postgres URI. CommandError if there is none."""
        if self.postgres is None:
            raise CommandError(
                "no Postgres is known: start the system with ./quantum up, or set QUANTUM_POSTGRES",
                ExitCode.NOT_RUNNING,
            )
        return self.postgres


def find() -> System:
    """The system that runs now. CommandError with exit code 3 if none does."""
    settings = Settings.load()
    run = runs.running()
    record = run.record if run else None
    kafka = settings.kafka or (record.kafka if record else None)
    postgres = settings.postgres or (record.postgres if record else None)
    if kafka is not None:
        return System(kafka, postgres, run)
    raise CommandError(_why_not(run), ExitCode.NOT_RUNNING)


def find_database() -> str:
    """The Postgres URI, also where no Kafka is known. CommandError if there is none."""
    settings = Settings.load()
    run = runs.running()
    return settings.postgres or (run.record.postgres if run else None) or find().database()


def _why_not(run: Run | None) -> str:
    if run is not None:
        return f"run {run.name} is still starting: try again in a few seconds"
    last = runs.last_run()
    if last is None:
        return "nothing is running here: start the system with ./quantum up, or ./quantum demo"
    if cut_off := runs.all_cut_off():
        newest, *others = (run.name for run in cut_off)
        also = f"; so were {', '.join(others)}" if others else ""
        return (
            f"nothing is running here, and run {newest} was cut off: go on with it by "
            f"./quantum up --resume --run {newest}{also}"
        )
    return (
        f"nothing is running here: start the system with ./quantum up, or look into the last run "
        f"({last.name}) with ./quantum up --run last"
    )


def event_time(bootstrap: str) -> str:
    """The latest event time of clock and market; 1970 before the first."""
    latest = EPOCH_TEXT
    for record in last_records(bootstrap, (CLOCK, MARKET), 20):
        if record.event is not None:
            latest = max(latest, record.event.time)
    return latest
