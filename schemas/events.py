"""Every type there is, as one discriminated union, and a table from type to class."""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from schemas import (
    control,
    control_v1,
    halting,
    market,
    positions,
    safety,
    sources,
    trade,
    trade_commands,
    venue,
)
from schemas.envelope import Envelope

Event = Annotated[
    market.PricesObserved
    | market.CandlesClosed
    | market.FundingSettled
    | market.InstrumentsListed
    | market.ClockTicked
    | control.PolicySet
    | control.EmergencyStop
    | control.EmergencyReset
    | control.AccountResume
    | control.TradeDelete
    | control.SymbolPause
    | control.SymbolResume
    | control.LetterSettle
    | safety.HfosSet
    | trade_commands.PositionClose
    | trade_commands.PositionReduce
    | trade_commands.AccountFlatten
    | trade_commands.OrderCancel
    | control.PolicyChanged
    | control.EmergencyActivated
    | control.EmergencyWasReset
    | control.AccountResumed
    | control.TradeDeleted
    | control.LetterSettled
    | control.CommandRejected
    | control.WorkerStarted
    | control.WorkerNotice
    | safety.EquityMarked
    | safety.GovernorLevelChanged
    | safety.FlashCrashDetected
    | safety.HfosModeChanged
    | safety.DrawdownEpochOpened
    | halting.HaltNoted
    | halting.HaltClosed
    | trade.SignalPublished
    | trade.IntentPublished
    | trade.SignalJudged
    | trade_commands.CommandJudged
    | trade.OrderDecided
    | trade.ExecutionReported
    | positions.PositionUpdated
    | venue.VenueRequested
    | venue.VenueReported
    | sources.SourceFenced
    | sources.SourceCheckpointed
    | sources.SourceSkipped
    | sources.SourceHalted
    | control_v1.PolicyChangedV1
    | control_v1.EmergencyActivatedV1
    | control_v1.EmergencyWasResetV1,
    Field(discriminator="type"),
]

ADAPTER: TypeAdapter[Envelope] = TypeAdapter(Event)
TYPES: dict[str, type[Envelope]] = {
    cls.model_fields["type"].default: cls for cls in get_args(get_args(Event)[0])
}
COMMANDS = {name: cls for name, cls in TYPES.items() if name.startswith("command.")}
