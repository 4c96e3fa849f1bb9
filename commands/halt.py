"""`halt`: the second stop path, which needs neither Kafka nor Postgres (SAFE-6)."""

import contextlib
import getpass
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, say, show
from runtime import runs
from runtime.halt_file import MODES, Halt, HaltFile, HaltMode
from runtime.settings import Settings

OBEYED_S = 3.0
"""A gateway says once a second what it obeys."""


def halt(
    every: Annotated[
        bool, typer.Option("--all", help="Every order, exits and cancels too: a system gone mad.")
    ] = False,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="And close whatever the venue says is open.")
    ] = False,
    lift: Annotated[bool, typer.Option("--lift", help="Let orders leave again.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    operator: Annotated[str, typer.Option("--operator", help="Your name; default: login.")] = "",
    as_json: AsJson = False,
) -> None:
    """Halt at the gateway, at once, also without Kafka and Postgres.

    \b
      ./quantum halt --reason "fills that nobody ordered"     no order that increases risk leaves
      ./quantum halt --flatten --reason "feed is wrong"       and every position is closed at market
      ./quantum halt --all --reason "it sells in a loop"      no order at all leaves
      ./quantum halt --lift                                   orders leave again

    Run it on the host of the gateway. The halt is a file in the data folder, survives every
    restart, and is looked at before each order that leaves. By hand: touch var/halt.json.
    """
    if every + flatten + lift > 1:
        raise CommandError("say one of --all, --flatten and --lift", ExitCode.MISUSE)
    file = HaltFile.of(Settings.load().data)
    gateway = _gateway()
    if lift:
        found = _lift(file)
        _signal(gateway, signal.SIGUSR2)
    else:
        mode: HaltMode = "all" if every else "flatten" if flatten else "entries"
        found = _put(file, mode, operator or _login(), reason or "no reason was given", gateway)
        _signal(gateway, signal.SIGUSR1)
    obeyed = _await_obeyed(0 if lift else code(found))
    data = {
        "halt": None if lift else halt_json(found),
        "lifted": halt_json(found) if lift else None,
        "file": str(file.path),
        "gateway": gateway,
        "obeyed": obeyed,
    }
    show(data, as_json, lambda: _lines(data, None if lift else found, found))


def code(halt: Halt | None) -> int:
    """The figure by which the gateway says on `/health` what it obeys; 0: no halt."""
    return MODES.index(halt.mode) + 1 if halt else 0


def halt_json(halt: Halt | None) -> dict[str, str] | None:
    """A halt for programs."""
    if halt is None:
        return None
    words = {"mode": halt.mode, "operator": halt.operator, "reason": halt.reason, "at": halt.at}
    return words | ({"defect": halt.defect} if halt.defect else {})


def current() -> Halt | None:
    """The halt of this data folder."""
    return HaltFile.of(Settings.load().data).look()


def warn() -> None:
    """A line on stderr if a halt is in force here."""
    found = current()
    if found is not None:
        say(f"HALTED: {found.sentence()}; end it with ./quantum halt --lift")


def _put(file: HaltFile, mode: HaltMode, operator: str, reason: str, gateway: int | None) -> Halt:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        return file.write(mode, operator=operator, reason=reason, at=at)
    except OSError as error:
        _signal(gateway, signal.SIGUSR1)
        held = (
            f"gateway {gateway} was signalled and lets no entry leave until it ends"
            if gateway
            else "no gateway of this data folder runs that could be signalled"
        )
        raise CommandError(
            f"{file.path} cannot be written ({error.strerror}); {held}. Free some space or mend "
            "the folder, then halt again."
        ) from None


def _lift(file: HaltFile) -> Halt | None:
    try:
        return file.lift()
    except OSError as error:
        raise CommandError(
            f"{file.path} cannot be removed ({error.strerror}): the halt is still in force; remove "
            "the file as its owner."
        ) from None


def _login() -> str:
    with contextlib.suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return "unknown"


def _gateway() -> int | None:
    """Process of the gateway of this data folder, if one runs."""
    from runtime.supervisor import read_state

    run = runs.running()
    state = read_state(run.state_file).get("gateway") if run else None
    pid = state["pid"] if state else None
    return pid if pid and _is_gateway(pid) else None


def _is_gateway(pid: int) -> bool:
    """Whether it is what it was: a signal would end any other process."""
    if not sys.platform.startswith("linux"):
        return True
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").split()
        return b"streams.worker" in words and b"gateway" in words
    return False


def _signal(gateway: int | None, number: signal.Signals) -> None:
    if gateway is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(gateway, number)


def obeys() -> int | None:
    """What the gateway of this data folder obeys now (:func:`code`); None if it does not say."""
    from commands.live import health

    run = runs.running()
    logs = run.logs if run else Settings.load().data / "logs"  # as containers have them
    said = health(logs / "gateway.port").get("halt")
    return int(said) if said is not None else None


def _await_obeyed(wanted: int) -> bool | None:
    """Whether the gateway obeys; None if none answers."""
    deadline = time.monotonic() + OBEYED_S
    said = obeys()
    while said is not None and said != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
        said = obeys()
    return None if said is None else said == wanted


def _lines(data: dict[str, Any], now: Halt | None, found: Halt | None) -> list[str]:
    said = {
        True: "the gateway obeys it",
        False: "the gateway has not said yet that it obeys: ./quantum status",
        None: "no gateway of this data folder answers: it obeys when it runs",
    }[data["obeyed"]]
    if now is None:
        gone = f"lifted: {found.sentence()}" if found else "no halt was in force"
        return [
            gone,
            f"orders leave again; {said if data['obeyed'] is not None else ''}".strip("; "),
        ]
    lines = [now.sentence(), f"{said}; file {data['file']}"]
    if now.mode == "all":
        lines.append("no exit leaves either: only the stops that rest on the exchange protect now")
    if now.mode == "flatten":
        lines.append("positions are closed at market as the venue shows them: ./quantum positions")
    return lines
