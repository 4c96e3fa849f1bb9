"""`key=value` arguments of commands, turned into what the schemas want."""

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from commands.console import CommandError, ExitCode

WHOLE = re.compile(r"-?[0-9]{1,18}")
"""Fits into 64 bits, as JSON wants it."""


def pairs(arguments: list[str]) -> dict[str, str]:
    """`key=value` arguments as a dict. CommandError (misuse) naming the one that is none."""
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise CommandError(f"{argument!r} is not of the form key=value", ExitCode.MISUSE)
        if key in found:
            raise CommandError(f"{key} is given twice", ExitCode.MISUSE)
        found[key] = value
    return found


def json_value(text: str) -> Any:
    """`true`, `false`, `null`, lists and objects as JSON; all else stays text."""
    if text in ("true", "false", "null") or text[:1] in ("[", "{", '"'):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise CommandError(
                f"{text!r} looks like JSON, but is not: {error}", ExitCode.MISUSE
            ) from None
    return text


def for_model(model: Any, given: dict[str, str]) -> dict[str, Any]:
    """Values as the fields of a pydantic model want them: whole numbers where it wants them."""
    values: dict[str, Any] = {}
    for key, text in given.items():
        field = model.model_fields.get(key)
        if field is None:
            names = ", ".join(n for n in model.model_fields if n != "id")
            raise CommandError(f"there is no field {key}; there are: {names}", ExitCode.MISUSE)
        values[key] = _number(text) if "int" in str(field.annotation) else json_value(text)
    return values


def policy_values(given: dict[str, str]) -> dict[str, Any]:
    """Values of policy fields (sections by `rl_v3_live.field` or the bare name), unchecked ranges:
    the control processor checks those and names the allowed ones."""
    from schemas.policy import Policy, RlV3Live, field_path

    values: dict[str, Any] = {}
    for key, text in given.items():
        path = field_path(key)
        if path is None:
            raise CommandError(
                f"no policy has a field {key}; ./quantum policy show lists them", ExitCode.MISUSE
            )
        model = Policy if len(path) == 1 else RlV3Live
        kind = str(model.model_fields[path[-1]].annotation)
        if "int" in kind:
            values[key] = _number(text)
        elif "tuple" in kind and text[:1] != "[":
            values[key] = [part for part in text.split(",") if part]
        else:
            values[key] = json_value(text)
    return values


def moment(option: str, value: str) -> datetime:
    """The time an option names; without a zone it is UTC. CommandError (misuse) for anything
    else."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise CommandError(
            f"{option} {value}: write 2021-05-19 or 2021-05-19T11:00", ExitCode.MISUSE
        ) from None
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise CommandError(f"{option} {value}: no such time in UTC", ExitCode.MISUSE) from None


def event_time(option: str, value: str) -> str:
    """The same as an event's time says it: canonical text, UTC, comparable as text."""
    return f"{moment(option, value):%Y-%m-%dT%H:%M:%S.%f}Z"


def _number(text: str) -> Any:
    """A whole number where it is one; else the text, which the schema will refuse by name."""
    return int(text) if WHOLE.fullmatch(text) else text
