"""`policy diff` and `policy rollback`: versions of a policy, compared and taken back."""

from typing import Annotated, Any

import typer

from commands.console import (
    Account,
    AsJson,
    CommandError,
    ExitCode,
    Operator,
    Reason,
    show,
)

Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="See policy history.")]


def diff(
    account: Account = "main",
    since: Annotated[
        int | None, typer.Option("--from", min=1, help="Version (default: the one before).")
    ] = None,
    until: Annotated[
        int | None, typer.Option("--to", min=1, help="Version (default: now).")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Against the account's profile.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What differs between two versions of a policy, or from its profile.

    \b
      ./quantum policy diff --account main
      ./quantum policy diff --account main --from 2 --to 5
      ./quantum policy diff --account main --profile

    Without options: the last change.
    """
    from commands.system import find
    from domain.policy_changes import difference
    from schemas.policy import profile_policy

    if profile and since is not None:
        raise CommandError("give --from or --profile, not both", ExitCode.MISUSE)
    known = versions(find().kafka, account)
    last = max(known) if until is None else until
    new = _version(known, last, account)
    if profile:
        old, name = profile_policy(new.profile), f"profile {new.profile}"
    else:
        first = max(1, last - 1) if since is None else since
        old, name = _version(known, first, account), str(first)
    found = difference(old, new)
    data = {
        "account": account, "from": name, "to": last, "before": found.before, "after": found.after,
    }  # fmt: skip
    head = f"{account}, {name if profile else 'version ' + name} -> version {last}:"
    show(data, as_json, lambda: _lines(head, found))


def rollback(
    *,
    version: Version,
    operator: Operator,
    reason: Reason,
    account: Account = "main",
    expect: Annotated[
        int | None,
        typer.Option(min=1, help="The version you saw; refused if it is another by now."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a policy the values of an earlier version again, as a new version.

    \b
      ./quantum policy rollback 2 --account main --operator ann --reason "was better"
      ./quantum policy rollback 2 --account main --expect 5 --operator ann --reason "was better"

    Nothing is taken out of the history. What emergency commands hold stays as it is. Refused (exit
    code 4): a stale version, with both versions; a rollback that changes nothing.
    """
    from commands.policy import change_json, change_line, send_change
    from commands.system import find
    from domain import policy_changes

    bootstrap = find().kafka
    known = versions(bootstrap, account)
    now = max(known)
    target = _version(known, version, account)
    changes, stays = policy_changes.rollback(known[now], target)
    if not changes:
        kept = f" but {', '.join(stays)}, which emergency commands change" if stays else ""
        raise CommandError(
            f"refused: NO_CHANGE: {account} has the values of version {version} already{kept}",
            ExitCode.REFUSED,
        )
    data = {
        "expected_version": now if expect is None else expect,
        "operator": operator,
        "reason": f"rollback to version {version}: {reason}"[:500],
        "changes": changes,
    }
    change, waited_ms = send_change(bootstrap, account, data)
    result = {**change_json(change, waited_ms), "rolled_back_to": version, "left_out": stays}
    show(result, as_json, lambda: [change_line(change), *_left(stays)])


def versions(bootstrap: str, account: str) -> dict[int, Any]:
    """Every version of an account's policy that the log has. CommandError if there is none."""
    from replay.log import read_kafka
    from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
    from schemas.topics import CONTROL

    found: dict[int, Any] = {}
    for record in read_kafka(bootstrap, (CONTROL,)):
        event = record.event
        if record.valid and isinstance(
            event, PolicyChanged | EmergencyActivated | EmergencyWasReset
        ):
            found.update((c.version, c.policy) for c in event.data.items if c.account == account)
    if not found:
        raise CommandError(f"there is no account {account}; ./quantum policy show lists them")
    return found


def _version(known: dict[int, Any], version: int, account: str) -> Any:
    if version not in known:
        raise CommandError(
            f"{account} has no version {version}; there are 1 to {max(known)}", ExitCode.MISUSE
        )
    return known[version]


def _lines(head: str, found: Any) -> list[Any]:
    from rich.text import Text

    if not found.after:
        return [Text(f"{head} no difference")]
    changes = [f"  {name} {found.before[name]} -> {value}" for name, value in found.after.items()]
    return [Text(head), *(Text(line) for line in changes)]


def _left(stays: list[str]) -> list[Any]:
    from rich.text import Text

    return (
        [Text(f"left as it is: {', '.join(stays)} (emergency commands change it)")] if stays else []
    )
