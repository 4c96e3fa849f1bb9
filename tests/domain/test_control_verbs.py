"""Given / when / then for what control does beside policies: pause, resume, letters, operators."""

from typing import Any

import pytest

from schemas.control import (
    LetterSettle,
    LetterSettled,
    LetterSettleData,
    SymbolPause,
    SymbolPauseData,
    SymbolResume,
)
from schemas.market import Instrument, InstrumentsData, InstrumentsListed
from tests.domain.risk_world import instrument
from tests.domain.test_control import COMMANDS, World, change, refusal

BTC, ETH = "BTCUSDT", "ETHUSDT"


class Desk(World):
    """A control source with one open account."""

    def __init__(self, **policy: Any) -> None:
        super().__init__()
        self.set(0, **policy)

    def pause(self, symbol: str = BTC, operator: str = "anna", kind: Any = SymbolPause) -> Any:
        data = SymbolPauseData(symbol=symbol, operator=operator, reason="fork")
        return self.give(COMMANDS, kind(**self.fields(), data=data))

    def resume(self, symbol: str = BTC, operator: str = "anna") -> Any:
        return self.pause(symbol, operator, SymbolResume)

    def list(self, *symbols: str) -> None:
        items: tuple[Instrument, ...] = tuple(instrument(symbol) for symbol in symbols)
        fields = {**self.fields(), "source": "/feed"}
        self.give("market/0", InstrumentsListed(**fields, data=InstrumentsData(items=items)))

    def settle(self, offset: int = 4, operator: str = "anna", account: str = "main") -> Any:
        data = LetterSettleData(
            processor="risk", offset=offset, outcome="discarded", place="trade.signal.v5/7/12",
            digest="0" * 64, operator=operator, reason="a test",
        )  # fmt: skip
        return self.give(COMMANDS, LetterSettle(**self.fields(account), data=data))


# ---------------------------------------------------------------- pause, resume


def test_pausing_and_resuming_are_versions_of_the_policy_with_who_and_why() -> None:
    desk = Desk()
    paused = change(desk.pause())
    assert (paused.version, paused.operator, paused.reason) == (2, "anna", "fork")
    assert (paused.before, paused.after) == ({"paused_symbols": []}, {"paused_symbols": [BTC]})
    assert paused.trading_state == "ACTIVE"
    assert change(desk.pause(ETH)).policy.paused_symbols == (BTC, ETH)
    assert change(desk.resume()).policy.paused_symbols == (ETH,)
    assert desk.policy().paused_symbols == (ETH,)


def test_what_is_so_already_is_refused_and_says_so() -> None:
    desk = Desk()
    assert "not paused" in refusal(desk.resume(), "NO_CHANGE").sentence
    desk.pause()
    assert refusal(desk.pause(), "NO_CHANGE").limit == BTC


def test_a_symbol_that_the_market_does_not_list_is_refused_with_the_nearest() -> None:
    desk = Desk()
    change(desk.pause("NOSUCHUSDT"))  # nothing is listed yet: nobody can know
    desk.list(BTC, ETH)
    said = refusal(desk.pause("BTCUSD"), "UNKNOWN_SYMBOL")
    assert "did you mean BTCUSDT?" in said.sentence
    change(desk.resume("NOSUCHUSDT"))


def test_pausing_works_in_an_emergency_and_an_unknown_account_is_unknown() -> None:
    desk = Desk()
    desk.stop()
    assert change(desk.pause()).trading_state == "HALTED"
    world = World()
    data = SymbolPauseData(symbol=BTC, operator="anna", reason="x")
    refusal(world.give(COMMANDS, SymbolPause(**world.fields(), data=data)), "UNKNOWN_ACCOUNT")


# ---------------------------------------------------------------- operators


def test_only_listed_operators_command_the_account() -> None:
    desk = Desk(operators=["anna"])
    said = refusal(desk.pause(operator="eve"), "UNKNOWN_OPERATOR")
    assert (said.operator, said.value, said.limit) == ("eve", "eve", "anna")
    refusal(desk.reset(), "UNKNOWN_OPERATOR")
    assert change(desk.pause()).version == 2
    assert desk.policy().paused_symbols == (BTC,)


def test_nobody_listed_means_that_everybody_commands() -> None:
    assert change(Desk().pause(operator="eve")).operator == "eve"


def test_a_list_is_of_one_account_only() -> None:
    desk = Desk(operators=["anna"])
    desk.set(0, account="other")
    assert change(desk.set(1, account="other", cooldown_s=1)).account == "other"


@pytest.mark.parametrize("opening", [True, False])
def test_whoever_sets_the_list_must_be_on_it(*, opening: bool) -> None:
    if opening:
        said = refusal(World().set(0, operators=["bert"]), "OUT_OF_RANGE")
    else:
        said = refusal(Desk().set(1, operators=["bert"]), "OUT_OF_RANGE")
    assert "leaves out anna" in said.sentence


def test_a_list_can_be_emptied_again_by_one_of_them() -> None:
    desk = Desk(operators=["anna", "bert"])
    assert change(desk.set(1, operators=[])).policy.operators == ()


# ---------------------------------------------------------------- dead letters


def test_a_letter_is_settled_once_by_who_and_why() -> None:
    desk = Desk()
    event = desk.settle()
    assert isinstance(event, LetterSettled)
    assert (event.data.operator, event.data.outcome) == ("anna", "discarded")
    said = refusal(desk.settle(operator="bert"), "NO_CHANGE")
    assert "discarded by anna already" in said.sentence
    assert isinstance(desk.settle(offset=5), LetterSettled)


def test_a_letter_of_no_account_is_settled_too() -> None:
    assert isinstance(Desk().settle(account="risk"), LetterSettled)


def test_a_letter_about_an_account_is_settled_by_its_operators() -> None:
    desk = Desk(operators=["anna"])
    refusal(desk.settle(operator="eve"), "UNKNOWN_OPERATOR")
