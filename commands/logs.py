"""Which log a command reads: the running system's, a finished run's, or an archive's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from commands.console import CommandError, ExitCode, say
from commands.system import find
from replay.archive import ArchiveError
from replay.sources import DamagedLogError, EventLog, KafkaLog, open_log
from runtime import runs
from runtime.kafka import EmbeddedKafka
from runtime.prepare import prepare
from runtime.settings import Settings

Archive = Annotated[
    Path | None, typer.Option("--archive", help="Read an archive instead of a running Kafka.")
]
RunName = Annotated[
    str | None,
    typer.Option("--run", help="Read a finished run, by name, or last (its Kafka is started)."),
]


@contextmanager
def opened(
    *, archive: Path | None = None, run: str | None = None, check: bool = True
) -> Iterator[EventLog]:
    """The log that was asked for; by default the running system's.

    Whatever is wrong with an archive or a log becomes a CommandError. `check` False: an archive's
    digests are left to the caller.
    """
    if archive is not None and run is not None:
        raise CommandError("--archive and --run exclude each other", ExitCode.MISUSE)
    try:
        if archive is not None:
            yield open_log(archive=archive, check=check)
        elif run is None:
            yield open_log(kafka=find().kafka)
        else:
            with kafka_of(run) as log:
                yield log
    except ArchiveError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    except DamagedLogError as error:
        raise CommandError(str(error)) from None


@contextmanager
def kafka_of(name: str | None) -> Iterator[KafkaLog]:
    """The log of a run: of the running system (None), or of a run by name or `last`, whose broker
    is started for the time if it does not run."""
    if name is None:
        yield KafkaLog(find().kafka)
        return
    run = runs.open_run(name)
    if run.is_running() and run.record.kafka:
        yield KafkaLog(run.record.kafka)
        return
    if not (run.folder / "kafka").is_dir():
        raise CommandError(f"run {run.name} has no Kafka of its own: it used QUANTUM_KAFKA")
    prepare(Settings.load())
    broker = EmbeddedKafka(run.folder / "kafka")
    say(f"starting the Kafka of run {run.name} to read it")
    broker.start()
    try:
        yield KafkaLog(broker.bootstrap)
    finally:
        broker.stop()
