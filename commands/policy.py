"""`policy`: show, set, history, diff, rollback."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from commands.console import (
    Account,
    AsJson,
    CommandError,
    ExitCode,
    OneAccount,
    Operator,
    Reason,
    add,
    show,
)
from commands.values import pairs, policy_values

HELP = """\b
  ./quantum policy show --account main
  ./quantum policy set max_leverage=10 cooldown_s=300 --operator ann --reason "calmer"
  ./quantum policy history --account main
  ./quantum policy diff --account main --from 2 --to 5
  ./quantum policy rollback 2 --account main --operator ann --reason "was better"

Policies: the only place where limits are kept.
"""


def register(app: typer.Typer) -> None:
    """Add `policy` with `show`, `set`, `history`, `diff`, `rollback`."""
    from commands import policy_versions

    group = typer.Typer(
        help=HELP, short_help="Policies: show, set, history, diff, rollback.", no_args_is_help=True
    )
    add(group, show_policy, "show")
    add(group, set_policy, "set")
    add(group, history, "history")
    add(group, policy_versions.diff, "diff")
    add(group, policy_versions.rollback, "rollback")
    app.add_typer(group, name="policy")


def show_policy(account: OneAccount = None, as_json: AsJson = False) -> None:
    """Each account's policy, and for each value where it came from.

    \b
      ./quantum policy show
      ./quantum policy show --account main --json
    """
    from commands.system import find

    accounts = read(find().kafka).accounts
    chosen = {n: a for n, a in sorted(accounts.items()) if account in (None, n)}
    if account and not chosen:
        raise CommandError(f"there is no account {account}; there are: {_names(accounts)}")
    data = {n: policy_json(a) for n, a in chosen.items()}
    show(data, as_json, lambda: _table(chosen) if chosen else "no account has a policy yet")


def _table(accounts: dict[str, Any]) -> Any:
    from commands.policy_table import settings_table

    return settings_table(
        {n: a.policy for n, a in accounts.items()},
        versions={n: a.version for n, a in accounts.items()},
        origins={n: a.origins for n, a in accounts.items()},
    )


def read(bootstrap: str) -> Any:
    """The policies as of now: the same fold as every processor's."""
    from domain.policy_state import ControlState
    from replay.log import read_kafka
    from schemas.topics import CONTROL

    state = ControlState()
    for record in read_kafka(bootstrap, (CONTROL,)):
        if record.valid and record.event is not None:
            state.fold(record.event)
    return state


def policy_json(account: Any) -> dict[str, Any]:
    """One account's policy with version, trading state and origins."""
    return {
        "version": account.version,
        "trading_state": account.trading_state(),
        "policy": account.policy.model_dump(mode="json"),
        "origins": dict(sorted(account.origins.items())),
    }


def set_policy(
    *,
    fields: Annotated[list[str], typer.Argument(metavar="field=value...", help="What to set.")],
    operator: Operator,
    reason: Reason,
    account: Account = "main",
    expect: Annotated[
        int | None,
        typer.Option(min=0, help="The version you saw; refused if it is another by now."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="production or testnet; for an account that is new.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change values of an account's policy; every change is an event with who and why.

    \b
      ./quantum policy set max_leverage=10 --operator ann --reason "calmer"
      ./quantum policy set max_size_pct=20 --account hot --expect 3 --operator ann --reason test
      ./quantum policy set cooldown_s=60 --account new --profile testnet --operator ann --reason x

    Refused (exit code 4): a stale version, an unknown field, a value out of its range.
    """
    from commands.system import find

    bootstrap = find().kafka
    if expect is None:
        known = read(bootstrap).accounts.get(account)
        expect = known.version if known else 0
    data: dict[str, Any] = {
        "expected_version": expect,
        "operator": operator,
        "reason": reason,
        "changes": policy_values(pairs(fields)),
    }
    if profile is not None:
        data["profile"] = profile
    change, waited_ms = send_change(bootstrap, account, data)
    show(change_json(change, waited_ms), as_json, lambda: [change_line(change)])


def send_change(bootstrap: str, account: str, data: dict[str, Any]) -> tuple[Any, float]:
    """Send `command.policy.set` and wait: the change that answers it, and milliseconds. Raises
    CommandError for what is refused."""
    from commands.asking import ask, checked
    from commands.publish import PublishError, build

    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        command = build("policy.set", account, data, time=time)
    except PublishError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    answer = checked(ask(bootstrap, command))
    event: Any = answer.event
    return event.data.items[0], answer.waited_ms


def change_json(change: Any, waited_ms: float) -> dict[str, Any]:
    """A change as `policy set` and `policy rollback` print it."""
    return {
        "account": change.account,
        "version": change.version,
        "before": change.before,
        "after": change.after,
        "trading_state": change.trading_state,
        "waited_ms": round(waited_ms, 1),
    }


def history(account: OneAccount = None, as_json: AsJson = False) -> None:
    """Every change: version, when, who, why, before and after.

    \b
      ./quantum policy history --account main
    """
    from commands.system import find

    rows = changes(find().kafka)
    known = {row["account"] for row in rows}
    if account is not None and account not in known:
        names = ", ".join(sorted(known)) or "none"
        raise CommandError(f"there is no account {account}; there are: {names}")
    rows = [row for row in rows if account in (None, row["account"])]
    show(rows, as_json, lambda: [_row(row) for row in rows] or "no changes yet")


def changes(bootstrap: str) -> list[dict[str, Any]]:
    """Policy changes in log order."""
    from replay.log import read_kafka
    from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
    from schemas.topics import CONTROL

    rows: list[dict[str, Any]] = []
    for record in read_kafka(bootstrap, (CONTROL,)):
        event = record.event
        if not record.valid or not isinstance(
            event, PolicyChanged | EmergencyActivated | EmergencyWasReset
        ):
            continue
        rows += [
            {
                "account": change.account,
                "version": change.version,
                "time": event.time,
                "type": event.type,
                "operator": change.operator,
                "reason": change.reason,
                "before": change.before,
                "after": change.after,
                "trading_state": change.trading_state,
                "id": event.id,
            }
            for change in event.data.items
        ]
    return rows


def change_line(change: Any) -> Any:
    """A change in one line."""
    from rich.text import Text

    fields = ", ".join(f"{n} {change.before.get(n)} -> {v}" for n, v in change.after.items())
    return Text(f"{change.account} policy {change.version}: {fields}; {change.trading_state}")


def _row(row: dict[str, Any]) -> Any:
    from rich.text import Text

    fields = ", ".join(f"{n} {row['before'].get(n)} -> {v}" for n, v in row["after"].items())
    return Text(
        f"{row['time'][:19].replace('T', ' ')}  {row['account']} {row['version']}  "
        f"{row['operator']}: {row['reason']}\n    {fields}"
    )


def _names(accounts: dict[str, Any]) -> str:
    return ", ".join(sorted(accounts)) or "none"
