"""Whole trading days for tests of projections."""

from tests.projections.builders import Log


def day(trades: int = 3, accounts: tuple[str, ...] = ("main", "hot")) -> Log:
    """A log with everything projections fold: about 25 records a trade and account."""
    log = Log()
    for account in accounts:
        log.open_account(account)
    for _ in range(trades):
        for account in accounts:
            log.trade(account)
    for account in accounts:
        log.trade(account, close=False)
        log.refuse_command(account)
        log.emergency(account)
    return log
