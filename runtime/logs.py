"""One log a process: structlog's JSON lines in a rotating file, people's text on stderr if asked.

Everything written through the standard library ends here too: Faust, aiokafka, mode, and librdkafka
through `confluent_logger`, so that nothing of a client ever appears in the terminal by itself.
"""

import logging
import logging.handlers
import math
import re
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.settings import LogLevel, Settings, SettingsError

if TYPE_CHECKING:
    import structlog
    from structlog.typing import EventDict, Processor

handling: ContextVar[str] = ContextVar("handling", default="")
"""Correlation id of what this thread handles now; every line it logs meanwhile carries it."""

MAX_BYTES = 10_000_000
REPEAT_S, REPEATS_KEPT = 10.0, 1_000
_NUMBER = re.compile(r"\d+")
BACKUPS = 3
# loud at INFO, and of no use to whoever looks for what happened to an order
NOISY = ("aiokafka", "faust", "mode", "asyncio", "alembic", "sqlalchemy", "librdkafka")


def _file(folder: Path, name: str) -> "_File":
    """The log file. SettingsError where the folder cannot be one; OSError where it is full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _File(
            folder / f"{name}.log", maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8"
        )
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise SettingsError(
            f"no log can be written in {folder} ({error.strerror}): give a folder that is one, and "
            "that this user may write to"
        ) from None


def configure(
    name: str, folder: Path | None, level: LogLevel | None = None, *, stderr: bool = False
) -> None:
    """Send all logging of this process to `folder/<name>.log` and, if asked, to stderr.

    Files hold JSON lines with time (UTC), level, logger, process, event and, where one is handled,
    `correlation_id`; 10 MB, three older ones kept. Without folder and stderr, logging goes nowhere.
    level: None takes that of the settings (`QUANTUM_LOG_LEVEL`). Call once, at the start.
    """
    import structlog

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        _process_name(name),
        _correlation,
    ]
    handlers: list[logging.Handler] = []
    if folder is not None:
        file = _file(folder, name)
        as_json: list[Processor] = [
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(default=str),
        ]
        file.setFormatter(_formatter(shared, as_json))
        handlers.append(file)
    if stderr:
        screen = logging.StreamHandler(sys.stderr)
        text = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), timestamp_key="time", exception_formatter=_plain
        )
        screen.setFormatter(_formatter(shared, [text]))
        handlers.append(screen)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers or [logging.NullHandler()]:
        handler.addFilter(_Repeats())
        root.addHandler(handler)
    root.setLevel(level or Settings.load().log_level)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Repeats(logging.Filter):
    """Lines of clients that differ in numbers alone are written once in :data:`REPEAT_S` seconds,
    the next with how many there were: one that cannot reach its broker says the same twenty times a
    second, and an hour of that would rotate away everything else."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(NOISY) or record.levelno >= logging.CRITICAL:
            return True
        text = record.getMessage()
        key = (record.name, _NUMBER.sub("0", text))
        at, left_out = self._said.get(key, (-math.inf, 0))
        if record.created - at < REPEAT_S:
            self._said[key] = (at, left_out + 1)
            return False
        if len(self._said) > REPEATS_KEPT:
            self._said.clear()
        self._said[key] = (record.created, 0)
        if left_out:
            record.msg, record.args = f"{text} ({left_out} more like this before)", ()
        return True


class _File(logging.handlers.RotatingFileHandler):
    """A log that cannot be written (disk full) costs its lines and nothing else: said once on
    stderr, without a traceback, and again when it was written meanwhile."""

    _lost = False

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        self._lost = self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._failed = True
        if not self._lost and sys.stderr is not None:
            why = error.strerror or type(error).__name__
            print(f"{self.baseFilename} cannot be written: {why}; lines are lost", file=sys.stderr)


def confluent_logger() -> logging.Logger:
    """The `logger` for every confluent-kafka client; without it librdkafka writes on stderr."""
    logger = logging.getLogger("librdkafka")
    if not logger.handlers:  # where nothing is configured, logging's last resort would be stderr
        logger.addHandler(logging.NullHandler())
    return logger


def _process_name(name: str) -> "Processor":
    def add(_logger: object, _method: str, event: "EventDict") -> "EventDict":
        event["process"] = name
        return event

    return add


def _correlation(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    if (handled := handling.get()) and "correlation_id" not in event:
        event["correlation_id"] = handled
    return event


def _formatter(
    shared: "list[Processor]", rendering: "list[Processor]"
) -> "structlog.stdlib.ProcessorFormatter":
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )


def _plain(sio: object, exc_info: object) -> None:
    """People at a terminal see no traceback; the file has it."""
