"""What all commands share: exit codes, one-line errors, data on stdout and progress on stderr."""

import errno
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup


class ExitCode(IntEnum):
    """What a script can rely on."""

    OK = 0
    FAILED = 1
    MISUSE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with one line on stderr and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Account = Annotated[str, typer.Option("--account", "-a", help="Account, by name.")]
OneAccount = Annotated[
    str | None, typer.Option("--account", "-a", help="Only this account (default: all).")
]


def _words(value: str) -> str:
    """Words for the record, as they were typed. BadParameter where they are no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        shown = value.encode(errors="surrogateescape").decode(errors="replace")
        raise typer.BadParameter(f"{shown} is no UTF-8; type it in letters that are") from None
    return value


Operator = Annotated[
    str, typer.Option("--operator", help="Your name, for the record.", callback=_words)
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.", callback=_words)]

PIPE_WIDTH = 160
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
stderr = Console(stderr=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """A line of progress, on stderr."""
    stderr.print(text, markup=False)


def show(data: Any, as_json: bool, render: Callable[[], Any]) -> None:
    """Data on stdout: as JSON, or as `render` makes it for people."""
    if as_json:
        print_json(data)
        return
    rendered = render()
    console = data_console()
    for each in rendered if isinstance(rendered, list) else [rendered]:
        console.print(each)


def data_console() -> Console:
    """A console on stdout as it is now; wide where it is no terminal, so that pipes get it all."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(highlight=False, emoji=False, width=width)


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n")


class Commands(TyperGroup):
    """The root group: every error becomes one line with a remedy, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:  # the reader of our output has gone: nothing to say
            os._exit(ExitCode.OK)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            if hasattr(error, "exit_code"):  # misuse: typer says it well
                raise
            message, code = explain(error)
            stderr.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
            raise typer.Exit(code) from None


def add(app: typer.Typer, command: Callable[..., None], name: str) -> None:
    """Register a command whose docstring is: a line, a block of examples, more text. Its help
    starts with the examples; the line is what lists of commands show."""
    parts = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    examples = [part for part in parts if part.startswith("\b")]
    others = [part for part in parts if not part.startswith("\b")]
    app.command(name, short_help=others[0], help="\n\n".join([*examples, *others]))(command)


def explain(error: Exception) -> tuple[str, ExitCode]:
    """One line and the exit code for whatever ended a command."""
    from replay.log import KafkaUnreachableError
    from runtime.processes import ServiceError
    from runtime.runs import RunError
    from runtime.settings import SettingsError

    if isinstance(error, CommandError):
        return str(error), error.code
    if isinstance(error, KafkaUnreachableError):
        return str(error), ExitCode.NOT_RUNNING
    if isinstance(error, SettingsError):
        return str(error), ExitCode.MISUSE
    if isinstance(error, RunError | ServiceError) or type(error).__name__ == "JarError":
        return str(error), ExitCode.FAILED
    if type(error).__name__ == "OperationalError":  # psycopg's or SQLAlchemy's, neither loaded here
        said = _first_line(error).rpartition(") ")[2]
        return f"Postgres does not answer ({said}): `./quantum doctor` says more", (
            ExitCode.NOT_RUNNING
        )
    if isinstance(error, OSError) and error.errno in FULL:
        where = f" at {error.filename}" if error.filename else ""
        remedy = "free some space, or set QUANTUM_DATA to a folder on a larger disk, then again"
        return f"{error.strerror}{where}: {remedy}.", ExitCode.FAILED
    return f"{type(error).__name__}: {_first_line(error)} (details: {_log(error)})", ExitCode.FAILED


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no further words"


def _log(error: Exception) -> str:
    """Write the traceback to the command line's log; where it stands."""
    from runtime import logs
    from runtime.settings import Settings

    try:
        folder = Settings.load().data / "logs"
        logs.configure("quantum", folder)
    except (OSError, ValueError):
        return "no log could be written"
    logging.getLogger("quantum").error("command failed", exc_info=error)
    return str(folder / "quantum.log")
