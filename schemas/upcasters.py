"""Old versions of records, lifted to what this build works with (LOG-3).

A record is decoded by the class of its own version, its bytes are held against that class, and only
then is it lifted, one step at a time, so everything behind the codec knows the newest version only.
An upcaster works on the record's JSON body: it is pure, adds what the older form could not say with
the value that leaves its meaning as it was, and changes neither id, time nor position.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from schemas.envelope import Envelope

Body = dict[str, Any]

POLICY_ADDED_IN_V2: Body = {
    "paused_symbols": [],
    "operators": [],
    "governor_warn_pct": "100",
    "governor_reducing_pct": "100",
    "drawdown_stop_pct": "100",
    "daily_loss_pct": "100",
    "flash_fall_pct": "100",
    "flash_move_pct": "100",
    "flash_rearm_pct": "100",
    "hfos_cautious_pct": "100",
}
"""Fields that policies have since version 2, with what they mean for a policy without them. These
values are not the defaults of today: they stay when a default changes."""


def _policies_v2(body: Body) -> Body:
    """Version 2 of a record with policy changes: each policy has the fields of version 2."""
    items = [
        {**item, "policy": {**item["policy"], **deepcopy(POLICY_ADDED_IN_V2)}}
        for item in body["data"]["items"]
    ]
    return {**body, "data": {**body["data"], "items": items}}


UPCASTERS: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "policy.changed.v1": ("policy.changed.v2", _policies_v2),
    "emergency.activated.v1": ("emergency.activated.v2", _policies_v2),
    "emergency.reset.v1": ("emergency.reset.v2", _policies_v2),
}
"""Each old type: the next version of it, and the step there."""


def upcast(body: Body) -> Body:
    """The body of a valid record in the newest version of its type; the same object if it is."""
    while (step := UPCASTERS.get(body["type"])) is not None:
        body = {**step[1](body), "type": step[0]}
    return body


def newest(name: str) -> str:
    """The newest version of a type."""
    while name in UPCASTERS:
        name = UPCASTERS[name][0]
    return name


def names_of(kinds: Iterable[type[Envelope]]) -> frozenset[str]:
    """Names of the types of these classes, and of the older versions that are lifted to them."""
    names = {kind.model_fields["type"].default for kind in kinds}
    return frozenset(names | {old for old in UPCASTERS if newest(old) in names})
