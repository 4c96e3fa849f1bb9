"""A person's commands on positions and orders (CORE-9), and the one record that answers each.

They stand on `commands.trade`, one record an account, and are judged by risk on
`trade.signal.safe`, beside verdicts; execution carries out what was approved. Exits are exempt from
every entry limit (RISK-7): a command is refused for who sent it or because there is nothing to do.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.control import CommandRejection, Operator
from schemas.envelope import Count, Envelope, Model
from schemas.policy_v1 import PercentAbove
from schemas.scalars import Id, Line, Name, Positive, Symbol


class PositionCloseData(Model):
    """Close the position in a symbol at market, and cancel the entry orders in it."""

    symbol: Symbol
    operator: Operator
    reason: Line


class PositionClose(Envelope):
    type: Literal["command.position.close.v1"] = "command.position.close.v1"
    data: PositionCloseData


class PositionReduceData(Model):
    """Sell `percent` of each open quantity at market, floored to the step; one symbol or all."""

    percent: PercentAbove
    symbol: Symbol | None = None
    operator: Operator
    reason: Line


class PositionReduce(Envelope):
    type: Literal["command.position.reduce.v1"] = "command.position.reduce.v1"
    data: PositionReduceData


class AccountFlattenData(Model):
    """Close every position and cancel every entry order of the account, once: nothing is latched,
    entries stay allowed."""

    operator: Operator
    reason: Line


class AccountFlatten(Envelope):
    type: Literal["command.account.flatten.v1"] = "command.account.flatten.v1"
    data: AccountFlattenData


class OrderCancelData(Model):
    """Cancel the entry orders of the account, of one symbol, or one order (its id or client order
    id). A stop or target is cancelled only by its id and with `force`."""

    symbol: Symbol | None = None
    order: Name | None = None
    force: bool = False
    operator: Operator
    reason: Line

    @model_validator(mode="after")
    def _one_of_them(self) -> "OrderCancelData":
        if self.symbol is not None and self.order is not None:
            raise ValueError("give a symbol or an order, not both")
        return self


class OrderCancel(Envelope):
    type: Literal["command.order.cancel.v1"] = "command.order.cancel.v1"
    data: OrderCancelData


class Instruction(Model):
    """One thing that execution is to do. `quantity`: of a reduction. `order_id`: the one order to
    cancel; without it `cancel` means the entry orders in the symbol."""

    id: Id
    action: Literal["close", "reduce", "cancel"]
    symbol: Symbol
    quantity: Positive | None = None
    order_id: Id | None = None


class CommandJudgedData(Model):
    """The answer to one command. Approved: `items` in the order in which they are carried out, and
    `notes` on what a person should know (dust, what was left out). Rejected: why, as in
    `command.rejected`. `figures`: every number the decision was made with."""

    command_id: Id
    command_type: str
    operator: Operator
    reason: Line
    verdict: Literal["approved", "rejected"]
    code: CommandRejection | None = None
    sentence: str | None = None
    value: str | None = None
    limit: str | None = None
    items: tuple[Instruction, ...] = ()
    notes: tuple[Line, ...] = ()
    figures: Annotated[dict[str, str], Field(default_factory=dict)]
    policy_version: Count


class CommandJudged(Envelope):
    type: Literal["trade.command.judged.v1"] = "trade.command.judged.v1"
    data: CommandJudgedData
