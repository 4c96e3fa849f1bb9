"""Changes of a policy: what may be set, to what, and why a change is refused (POL-3, POL-5).

A person's values are taken gently (``1500``, ``"1500"`` and ``1500.0`` are one number), but what is
stored is always canonical. Every refusal names the field, the value given, what is allowed and
what to do next.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

from schemas.control import CommandRejection
from schemas.policy import EMERGENCY_FIELDS, Policy, RlV3Live, field_path
from schemas.scalars import DECIMAL_PATTERN, POSITIVE_PATTERN, UNSIGNED_PATTERN, text

SECTION = "rl_v3_live"
FIXED_FIELDS = ("profile", "margin_mode", "position_mode")
"""Set when an account is opened and never again: control reads no positions, and these must not
change under an open one."""
_NUMBERS = (DECIMAL_PATTERN, POSITIVE_PATTERN, UNSIGNED_PATTERN)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NAMES = tuple(n for n in Policy.model_fields if n != SECTION) + tuple(
    f"{SECTION}.{n}" for n in RlV3Live.model_fields
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is refused. `value` is what was given, `limit` what is allowed."""

    code: CommandRejection
    sentence: str
    value: str | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A policy and what differs from the one before, by path (``rl_v3_live.max_size_pct``)."""

    policy: Policy
    before: dict[str, Any]
    after: dict[str, Any]


def change_policy(policy: Policy, changes: dict[str, Any], *, opening: bool) -> Change | Refusal:
    """Apply a person's changes; all or nothing, the first fault in the order given is told.

    `opening`: the account is being opened, so that its fixed fields may be given too.
    """
    top: dict[str, Any] = {}
    section: dict[str, Any] = {}
    for name, value in _flat(changes):
        path = field_path(name)
        if path is None:
            return _unknown(name, value)
        full = ".".join(path)
        if full in EMERGENCY_FIELDS:
            return _emergency_field(full, value)
        if full == "allow_new_trades" and policy.emergency_mode:
            return Refusal(
                "FIELD_NOT_SETTABLE",
                "allow_new_trades is held at false by the active emergency stop; "
                "send command.emergency.reset.v1 once the account is flat",
                _shown(value),
            )
        checked = _checked(path, value)
        if isinstance(checked, Refusal):
            return checked
        if full in FIXED_FIELDS and not opening and checked != getattr(policy, full):
            return fixed_field(full, checked, getattr(policy, full))
        (top if len(path) == 1 else section)[path[-1]] = checked
    if section:
        top[SECTION] = policy.rl_v3_live.model_copy(update=section)
    return difference(policy, policy.model_copy(update=top))


def difference(old: Policy, new: Policy) -> Change:
    """What differs between two policies, in the order of the fields."""
    before, after = {}, {}
    for path in _NAMES:
        was, now = value_at(old, path), value_at(new, path)
        if was != now:
            before[path], after[path] = _plain(was), _plain(now)
    return Change(new, before, after)


def rollback(current: Policy, target: Policy) -> tuple[dict[str, Any], list[str]]:
    """Changes that give `current` the values of `target`, and the fields that stay as they are:
    what only emergency commands change, and `allow_new_trades` where an emergency holds it now or
    held it then (an emergency is lifted by its reset, never by a rollback)."""
    held = current.emergency_mode or target.emergency_mode
    stays = (*EMERGENCY_FIELDS, "allow_new_trades") if held else EMERGENCY_FIELDS
    after = difference(current, target).after
    changes = {name: value for name, value in after.items() if name not in stays}
    return changes, [name for name in after if name in stays]


def value_at(policy: Policy, path: str) -> Any:
    """The value of a field by its path."""
    head, _, tail = path.partition(".")
    value = getattr(policy, head)
    return getattr(value, tail) if tail else value


def fixed_field(name: str, value: Any, current: Any) -> Refusal:
    return Refusal(
        "OPEN_POSITIONS",
        f"{name} cannot be changed from {current} to {value}: it is fixed when an account is "
        "opened, whether or not positions are open now; open another account with it",
        _shown(value),
        _shown(current),
    )


def _flat(changes: dict[str, Any]) -> list[tuple[str, Any]]:
    """Changes by name; a whole section given as an object counts as its fields."""
    out: list[tuple[str, Any]] = []
    for name, value in changes.items():
        if name == SECTION and isinstance(value, dict):
            out.extend((f"{SECTION}.{inner}", v) for inner, v in value.items())
        else:
            out.append((name, value))
    return out


def _unknown(name: str, value: Any) -> Refusal:
    bare = {n.rpartition(".")[2]: n for n in reversed(_NAMES)}
    near = get_close_matches(name.rpartition(".")[2], sorted(bare), n=1, cutoff=0.6)
    hint = (
        f"; did you mean {bare[near[0]]}?" if near else "; see `quantum policy show` for the names"
    )
    return Refusal("UNKNOWN_FIELD", f"{name!r:.100} is no field of a policy{hint}", _shown(value),
                   bare[near[0]] if near else None)  # fmt: skip


def _emergency_field(name: str, value: Any) -> Refusal:
    return Refusal(
        "FIELD_NOT_SETTABLE",
        f"{name} is set by emergency commands only; send command.emergency.stop.v1 or "
        "command.emergency.reset.v1",
        _shown(value),
    )


# ---------------------------------------------------------------- values and ranges


def _field_schema(path: tuple[str, ...]) -> dict[str, Any]:
    schema = _RL_SCHEMA if path[0] == SECTION else _TOP_SCHEMA
    found: dict[str, Any] = schema["properties"][path[-1]]
    return found


def _checked(path: tuple[str, ...], value: Any) -> Any:
    """The value as the policy stores it, or why it cannot be that."""
    schema = _field_schema(path)
    model: type[Policy | RlV3Live] = RlV3Live if path[0] == SECTION else Policy
    try:
        coerced = _coerced(schema, value)
        return getattr(model(**{path[-1]: coerced}), path[-1])
    except (ValueError, TypeError, InvalidOperation):
        allowed, name = allowed_values(schema), ".".join(path)
        return Refusal(
            "OUT_OF_RANGE",
            f"{name}: {_shown(value)} is not allowed; give {allowed}",
            _shown(value),
            allowed,
        )


def _coerced(schema: dict[str, Any], value: Any) -> Any:
    if "anyOf" in schema:
        if value is None or value in ("", "null"):
            return None
        return _coerced(schema["anyOf"][0], value)
    kind = schema.get("type")
    if kind == "boolean":
        return (
            _WORDS[value.lower()] if isinstance(value, str) and value.lower() in _WORDS else value
        )
    if kind == "array":
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ValueError("not a list")
        return tuple(p.strip() if isinstance(p, str) else p for p in parts if p != "")
    if kind == "integer":
        number = _number(value)
        if number != number.to_integral_value():
            raise ValueError("not whole")
        return int(number)
    if kind == "string" and _is_number(schema):
        return text(_number(value))
    return value


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("not a number")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value).strip())
    if not number.is_finite() or abs(number.adjusted()) > 40 or "_" in str(value):
        raise ValueError("not a finite number")
    return number


def _is_number(schema: dict[str, Any]) -> bool:
    return "minimum_text" in schema or schema.get("pattern") in _NUMBERS


def allowed_values(schema: dict[str, Any]) -> str:
    """What a field takes, in words, from its JSON Schema."""
    if "anyOf" in schema:
        return f"{allowed_values(schema['anyOf'][0])}, or nothing"
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(str(v) for v in schema.get("enum", [schema.get("const")]))
    if kind == "boolean":
        return "true or false"
    if kind == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        return f"a whole number from {low}" + (f" to {high}" if high is not None else " up")
    if kind == "array":
        return f"at most {schema.get('maxItems', 'any number of')} symbols such as BTCUSDT"
    if "minimum_text" in schema:
        low, high = schema["minimum_text"], schema["maximum_text"]
        return f"a number {'above' if schema.get('exclusive_minimum') else 'from'} {low} to {high}"
    if _is_number(schema):
        return "a number above 0"
    return "a name of letters, digits, '.', '_' and '-', at most 64"


def _plain(value: Any) -> Any:
    """JSON has lists only: a tuple would not come back equal."""
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return value[:100] if isinstance(value, str) else repr(value)[:100]


_TOP_SCHEMA: dict[str, Any] = Policy.model_json_schema()
_RL_SCHEMA: dict[str, Any] = RlV3Live.model_json_schema()
