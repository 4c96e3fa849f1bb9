"""The control decider: commands in, exactly one answer each."""

import itertools
from typing import Any

import pytest

from domain.control import Control
from domain.control_emergency import (
    can_open_new_trades,
    is_emergency_mode,
    set_emergency_mode,
)
from domain.decider import OWN
from domain.policy_state import ControlState
from domain.source import Source
from schemas.codec import decode, encode
from schemas.control import (
    AccountResume,
    AccountResumed,
    AccountResumeData,
    CommandRejected,
    EmergencyActivated,
    EmergencyReset,
    EmergencyResetData,
    EmergencyStop,
    EmergencyStopData,
    EmergencyWasReset,
    PolicyChange,
    PolicyChanged,
    PolicySet,
    PolicySetData,
    TradeDelete,
    TradeDeleted,
    TradeDeleteData,
)
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.market import ClockTicked, TickData
from schemas.policy import Policy, profile_policy
from schemas.scalars import time_text
from schemas.topics import PARTITIONS_EMBEDDED, partition_of
from schemas.trade import Flat, OrderData, OrderDecided, SignalData, SignalPublished
from schemas.trade import Signal as TradeSignal

COMMANDS = "commands.control/0"


class World:
    """A control source; commands are sent as a person sends them."""

    def __init__(self) -> None:
        self.source = Source(Control(0, PARTITIONS_EMBEDDED), 0, PARTITIONS_EMBEDDED)
        self.source.epoch = 1
        self.offsets: dict[str, int] = {}
        self.numbers = itertools.count()
        self.answers: list[Envelope] = []
        self.inputs: list[tuple[str, int, Envelope]] = []
        self.tick(0)

    def give(self, key: str, event: Envelope) -> Envelope | None:
        offset = self.offsets.get(key, 0)
        self.offsets[key] = offset + 1
        self.inputs.append((key, offset, event))
        if not self.source.fold(key, offset, event):
            return None
        answers = list(self.source.decide(key, event))
        for answer in answers:
            assert decode(encode(answer)) == answer
        self.answers += answers
        return answers[-1] if answers else None

    def fields(self, account: str = "main") -> dict[str, Any]:
        number = next(self.numbers)
        return {"id": natural_id("test", str(number)), "source": "/hand", "subject": account,
                "time": "1970-01-01T00:00:00.000000Z", "partitionkey": account}  # fmt: skip

    def tick(self, seconds: int) -> None:
        fields = {
            **self.fields(),
            "source": "/feed",
            "time": time_text(1_600_000_000_000_000 + seconds * 1_000_000),
        }
        self.give("clock/0", ClockTicked(**fields, data=TickData(candle_s=60)))

    def set(
        self, version: int, *, account: str = "main", profile: Any = None, **changes: Any
    ) -> Any:
        data = PolicySetData(
            expected_version=version, operator="anna", reason="because", profile=profile,
            changes={k.replace("__", "."): v for k, v in changes.items()},
        )  # fmt: skip
        return self.give(COMMANDS, PolicySet(**self.fields(account), data=data))

    def stop(self, account: str = "main") -> Any:
        data = EmergencyStopData(operator="anna", reason="smoke")
        return self.give(COMMANDS, EmergencyStop(**self.fields(account), data=data))

    def reset(self, reason: str = "checked by hand") -> Any:
        data = EmergencyResetData(operator="bert", reason=reason)
        return self.give(COMMANDS, EmergencyReset(**self.fields(), data=data))

    def flat(self, emergency_id: str) -> str:
        flat = Flat(id=natural_id("flat", emergency_id), emergency_id=emergency_id)
        key = f"trade.order/{partition_of('main', PARTITIONS_EMBEDDED)}"
        self.give(key, OrderDecided(**self.fields(), data=OrderData(items=(flat,))))
        return flat.id

    def policy(self) -> Policy:
        policy: Policy = self.source.slices[OWN].policies.accounts["main"].policy
        return policy


def change(answer: Any) -> PolicyChange:
    assert isinstance(answer, PolicyChanged | EmergencyActivated | EmergencyWasReset), answer
    return answer.data.items[0]


def refusal(answer: Any, code: str) -> Any:
    assert isinstance(answer, CommandRejected), answer
    assert answer.data.code == code, answer.data
    assert len(answer.data.sentence) > 20
    return answer.data


# ---------------------------------------------------------------- policy


def test_version_0_opens_an_account_with_a_profile_and_changes() -> None:
    world = World()
    opened = change(world.set(0, profile="testnet", cooldown_s=60))
    assert (opened.version, opened.policy.profile, opened.policy.cooldown_s) == (1, "testnet", 60)
    assert opened.policy.max_leverage == 30
    assert opened.before == {"cooldown_s": 120}
    assert opened.after == {"profile": "testnet", "cooldown_s": 60}
    assert opened.origins == {"cooldown_s": 1}
    assert opened.trading_state == "ACTIVE"


def test_an_account_opens_with_production_when_no_profile_is_named() -> None:
    world = World()
    assert change(world.set(0)).policy == profile_policy("production")
    assert change(world.set(0, account="x", profile="testnet")).policy.profile == "testnet"


def test_a_change_says_who_why_before_after_version_and_origin() -> None:
    world = World()
    world.set(0)
    done = change(world.set(1, max_position_usd="2000", max_size_pct=20))
    assert (done.operator, done.reason, done.version) == ("anna", "because", 2)
    assert done.before == {"max_position_usd": "1500", "rl_v3_live.max_size_pct": "15"}
    assert done.after == {"max_position_usd": "2000", "rl_v3_live.max_size_pct": "20"}
    assert done.origins == {"max_position_usd": 2, "rl_v3_live.max_size_pct": 2}
    later = change(world.set(2, max_position_usd="1800"))
    assert later.origins == {"max_position_usd": 3, "rl_v3_live.max_size_pct": 2}


def test_a_stale_version_is_refused_with_both_versions() -> None:
    world = World()
    world.set(0)
    world.set(1, cooldown_s=1)
    said = refusal(world.set(1, cooldown_s=2), "STALE_VERSION")
    assert (said.value, said.limit) == ("1", "2")
    assert "1" in said.sentence
    assert "2" in said.sentence
    assert world.policy().cooldown_s == 1


def test_an_open_account_is_not_opened_again() -> None:
    world = World()
    world.set(0)
    refusal(world.set(0, profile="testnet"), "ACCOUNT_EXISTS")


def test_what_was_never_opened_is_unknown() -> None:
    world = World()
    assert "expected_version 0" in refusal(world.set(3, cooldown_s=1), "UNKNOWN_ACCOUNT").sentence
    refusal(world.stop("nobody"), "UNKNOWN_ACCOUNT")


def test_setting_what_is_set_changes_nothing() -> None:
    world = World()
    world.set(0)
    refusal(world.set(1, max_position_usd=1500), "NO_CHANGE")
    refusal(world.set(1), "NO_CHANGE")


@pytest.mark.parametrize("field", ["profile", "margin_mode"])
def test_profile_and_margin_mode_do_not_change_after_opening(field: str) -> None:
    world = World()
    world.set(0)
    value = {"profile": "testnet", "margin_mode": "cross"}[field]
    said = refusal(world.set(1, **{field: value}), "OPEN_POSITIONS")
    assert "opened" in said.sentence
    if field == "profile":
        refusal(world.give(COMMANDS, _profile_command(world)), "OPEN_POSITIONS")
    assert change(world.set(0, account="other", **{field: value})).version == 1


def _profile_command(world: World) -> PolicySet:
    data = PolicySetData(
        expected_version=1,
        operator="anna",
        reason="r",
        profile="testnet",
        changes={"cooldown_s": 1},
    )
    return PolicySet(**world.fields(), data=data)


def test_one_faulty_field_refuses_the_whole_command() -> None:
    world = World()
    world.set(0)
    refusal(world.set(1, cooldown_s=5, max_leverage=500), "OUT_OF_RANGE")
    assert world.policy().cooldown_s == 180


def test_trading_state_follows_allow_new_trades() -> None:
    world = World()
    world.set(0)
    assert change(world.set(1, allow_new_trades="false")).trading_state == "REDUCING"
    assert change(world.set(2, allow_new_trades=True)).trading_state == "ACTIVE"


def test_a_command_sent_twice_is_answered_once() -> None:
    world = World()
    data = PolicySetData(expected_version=0, operator="anna", reason="r", changes={})
    command = PolicySet(**world.fields(), data=data)
    assert world.give(COMMANDS, command) is not None
    assert world.give(COMMANDS, command) is None


def test_a_record_that_is_no_command_is_answered_by_a_refusal() -> None:
    world = World()
    item = TradeSignal(
        id=natural_id("s"), symbol="BTCUSDT", side="BUY", confidence="0.9", origin="probe"
    )
    answer = world.give(COMMANDS, SignalPublished(**world.fields(), data=SignalData(items=(item,))))
    said = refusal(answer, "UNKNOWN_COMMAND")
    assert said.operator == "unknown"


# ---------------------------------------------------------------- emergency


def test_an_emergency_stop_blocks_new_trades_and_says_so() -> None:
    world = World()
    world.set(0)
    world.tick(60)
    answer = world.stop()
    assert isinstance(answer, EmergencyActivated)
    assert answer.data.emergency_id == answer.id
    assert answer.data.activated_at == answer.time == time_text(1_600_000_060_000_000)
    policy = change(answer).policy
    assert (policy.emergency_mode, policy.allow_new_trades) == (True, False)
    assert (policy.emergency_reason, policy.emergency_id) == ("smoke", answer.id)
    assert policy.emergency_activated_at == answer.time
    assert change(answer).trading_state == "HALTED"
    assert change(answer).version == 2
    assert change(answer).after["emergency_mode"] is True


def test_an_emergency_stop_is_idempotent() -> None:
    world = World()
    world.set(0)
    first = world.stop()
    assert refusal(world.stop(), "ALREADY_ACTIVE").value == first.id
    assert world.policy().emergency_id == first.id


def test_a_reset_needs_the_flat_of_that_very_emergency() -> None:
    world = World()
    world.set(0)
    refusal(world.reset(), "NO_EMERGENCY")
    first = world.stop()
    refusal(world.reset(), "NOT_FLAT")
    world.flat(natural_id("another emergency"))
    refusal(world.reset(), "NOT_FLAT")
    flat_id = world.flat(first.id)
    answer = world.reset()
    assert isinstance(answer, EmergencyWasReset)
    assert (answer.data.flat_id, answer.data.drawdown_epoch) == (flat_id, 1)
    policy = change(answer).policy
    assert policy == profile_policy("production")
    assert change(answer).operator == "bert"
    second = world.stop()
    said = refusal(world.reset(), "NOT_FLAT")
    assert second.id in said.sentence
    world.flat(second.id)
    assert world.reset().data.drawdown_epoch == 2


def test_a_reset_needs_a_reason_in_words() -> None:
    world = World()
    world.set(0)
    world.flat(world.stop().id)
    assert "reason" in refusal(world.reset("  "), "OUT_OF_RANGE").sentence


def test_an_emergency_is_latched_against_policy_commands() -> None:
    world = World()
    world.set(0)
    world.stop()
    refusal(world.set(2, emergency_mode=False), "FIELD_NOT_SETTABLE")
    refusal(world.set(2, allow_new_trades=True), "FIELD_NOT_SETTABLE")
    assert change(world.set(2, cooldown_s=9)).trading_state == "HALTED"


def test_operations_of_the_policy() -> None:
    policy = Policy()
    stopped = set_emergency_mode(policy, active=True, reason="r")
    assert is_emergency_mode(stopped)
    assert not can_open_new_trades(stopped)
    assert can_open_new_trades(policy)
    assert not can_open_new_trades(policy.model_copy(update={"allow_new_trades": False}))
    assert set_emergency_mode(stopped, active=False) == policy


# ---------------------------------------------------------------- deleted trades


def delete(world: World, trade: str, account: str = "main") -> Any:
    data = TradeDeleteData(trade_id=trade, operator="anna", reason="a drill")
    return world.give(COMMANDS, TradeDelete(**world.fields(account), data=data))


def test_a_trade_is_deleted_by_an_event_that_says_which_who_and_why() -> None:
    world = World()
    world.set(0)
    world.tick(60)
    trade = natural_id("trade")
    answer = delete(world, trade)
    assert isinstance(answer, TradeDeleted)
    assert answer.time == time_text(1_600_000_060_000_000)
    (item,) = answer.data.items
    assert (item.trade_id, item.operator, item.reason) == (trade, "anna", "a drill")
    assert item.id == part_id(answer.id, 0)


def test_deleting_a_trade_changes_no_policy_and_nothing_that_trades_sees_it() -> None:
    world = World()
    world.set(0)
    before = world.policy()
    answer = delete(world, natural_id("trade"))
    assert world.policy() is before
    assert not ControlState().fold(answer)


def test_a_trade_of_an_account_that_was_never_opened_is_not_deleted() -> None:
    said = refusal(delete(World(), natural_id("trade"), "nobody"), "UNKNOWN_ACCOUNT")
    assert (said.value, said.operator) == ("nobody", "anna")
    assert said.command_type == "command.trade.delete.v1"


# ---------------------------------------------------------------- resume, restart


def test_an_account_is_resumed_for_a_processor_that_exists() -> None:
    world = World()
    world.set(0)
    data = AccountResumeData(processor="risk", operator="anna", reason="fixed")
    answer = world.give(COMMANDS, AccountResume(**world.fields(), data=data))
    assert isinstance(answer, AccountResumed)
    wrong = data.model_copy(update={"processor": "rsik"})
    said = refusal(
        world.give(COMMANDS, AccountResume(**world.fields(), data=wrong)), "NOTHING_HALTED"
    )
    assert "risk" in said.sentence


def test_state_after_a_restart_is_the_state_before_it() -> None:
    world = World()
    world.set(0)
    world.set(1, cooldown_s=3)
    emergency = world.stop()
    world.flat(emergency.id)
    world.reset()
    delete(world, natural_id("trade"))
    again = World()
    again.source.epoch = 1
    for key, offset, event in world.inputs:
        if offset >= again.offsets.get(key, 0):
            again.source.fold(key, offset, event)
    for answer in world.answers:
        again.source.fold_own(answer)
    assert again.source.digest() == world.source.digest()
