"""Goal: a log of an older build is read for ever, and means what it meant (LOG-3).

Method: the golden samples of version 1 are bytes that older builds wrote. They are decoded by this
build, alone and as a whole log, and what comes of them is compared with what version 2 says.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.plain_state import plain
from domain.policy_state import ControlState
from schemas import json_schemas
from schemas.codec import RecordError, decode, encode, renewed
from schemas.events import ADAPTER, TYPES
from schemas.policy import Policy
from schemas.policy_v1 import PolicyV1
from schemas.upcasters import POLICY_ADDED_IN_V2, UPCASTERS, newest, upcast

GOLDEN = Path(json_schemas.__file__).parent / "golden"
OLD = sorted(UPCASTERS)
POLICIES = [name for name in OLD if name.startswith(("policy", "emergency"))]


def sample(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()[:-1]


@pytest.mark.parametrize("name", OLD)
def test_bytes_of_an_old_version_are_read_as_the_newest(name: str) -> None:
    event = decode(sample(name))
    assert event.type == newest(name) != name
    assert type(event) is TYPES[newest(name)]
    assert decode(encode(event)) == event, "what it became is canonical itself"
    assert renewed(sample(name)) == encode(event) == renewed(encode(event))


@pytest.mark.parametrize("name", OLD)
def test_nothing_is_lost_and_nothing_but_the_new_fields_is_added(name: str) -> None:
    old, new = json.loads(sample(name)), json.loads(encode(decode(sample(name))))
    assert new.pop("type") == newest(old.pop("type"))
    for before, after in zip(old["data"]["items"], new["data"]["items"], strict=True):
        policy, added = after["policy"], {}
        for field in POLICY_ADDED_IN_V2:
            added[field] = policy.pop(field)
        assert added == POLICY_ADDED_IN_V2
        assert policy == before["policy"]
    assert new == old, "id, time, position and data are as they were"


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b'","', b'", "', 1),
        lambda raw: raw.replace(b'"restricted_symbols":[]', b'"restricted_symbols":[ ]'),
    ],
    ids=["space at the end", "space inside", "space in the policy"],
)
def test_canonical_means_canonical_in_the_version_s_own_schema(name: str, spoil: Any) -> None:
    with pytest.raises(RecordError) as caught:
        decode(spoil(sample(name)))
    assert caught.value.code == "NOT_CANONICAL"


def test_an_old_version_may_not_use_fields_of_the_new_one() -> None:
    raw = sample("policy.changed.v1").replace(
        b'"restricted_symbols":[]', b'"restricted_symbols":[],"paused_symbols":[]'
    )
    with pytest.raises(RecordError) as caught:
        decode(raw)
    assert caught.value.code == "INVALID_FIELD"
    assert "paused_symbols" in str(caught.value)


def test_the_new_version_may_not_leave_out_what_it_added() -> None:
    raw = sample("policy.changed.v1").replace(b"policy.changed.v1", b"policy.changed.v2")
    with pytest.raises(RecordError) as caught:
        decode(raw)
    assert caught.value.code == "NOT_CANONICAL"


def test_every_field_a_policy_gained_has_a_meaning_for_old_policies() -> None:
    """A field added to the policy without an upcaster would make old logs unreadable."""
    assert set(Policy.model_fields) - set(PolicyV1.model_fields) == set(POLICY_ADDED_IN_V2)
    for name, value in POLICY_ADDED_IN_V2.items():
        Policy.model_validate_json(json.dumps({name: value}))


def test_version_1_of_a_policy_is_what_it_was() -> None:
    """The fields of version 1, in their order: it is never edited."""
    fields = json.loads(sample("emergency.activated.v1"))["data"]["items"][0]["policy"]
    assert list(PolicyV1.model_fields) == list(fields)


def test_a_log_of_version_1_folds_to_the_state_that_version_2_folds_to() -> None:
    """What a restart, a rebuild or a verifier sees does not depend on which build wrote the log."""
    old, new = ControlState(), ControlState()
    for name in POLICIES:
        old.fold(decode(sample(name)))
        body = upcast(json.loads(sample(name)))
        new.fold(ADAPTER.validate_json(json.dumps(body)))
    assert old.accounts
    assert plain(old) == plain(new)
    policy = old.accounts["main"]
    assert policy.policy.paused_symbols == ()
    assert policy.policy.operators == (), "everybody may command, as before"


def test_a_chain_of_versions_ends() -> None:
    assert all(newest(name) not in UPCASTERS for name in UPCASTERS)
    assert all(target in TYPES for target, _ in UPCASTERS.values())


@given(st.sampled_from(OLD))
def test_lifting_changes_nothing_in_place_and_is_done_once(name: str) -> None:
    body = json.loads(sample(name))
    kept = json.dumps(body)
    lifted = upcast(body)
    assert json.dumps(body) == kept
    assert upcast(lifted) is lifted
