"""The last frame of a process: what it cannot go on with is one line on stderr, no traceback."""

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from confluent_kafka import KafkaException

from runtime.settings import SettingsError

EXIT_FAILED, EXIT_SETTINGS = 1, 2
logger = logging.getLogger(__name__)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and end the process: code 2 for settings, 1 where Kafka does not answer
    or a file cannot be written."""
    try:
        code = main() or 0
    except SettingsError as error:
        code = _say(error, EXIT_SETTINGS)
    except KafkaException as error:
        code = _say(f"Kafka does not answer: {error.args[0]}", EXIT_FAILED)
    except OSError as error:  # connections and time-outs among them
        code = _say(error, EXIT_FAILED)
    sys.exit(code)


def _say(error: Exception | str, code: int) -> int:
    if logging.getLogger().hasHandlers():
        logger.critical("%s", error)
    print(error, file=sys.stderr)
    return code
