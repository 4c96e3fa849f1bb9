"""Another policy over recorded commands: overrides are merged into the commands that set policies,
and set by a command of its own wherever a policy still says otherwise.

A recorded command that was accepted is accepted again, at whatever version the account has by then;
one that was refused as stale stays so.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from domain.policy_changes import Change, Refusal, change_policy, difference
from domain.policy_state import AccountPolicy, ControlState
from schemas.control import CommandRejected, PolicyChanged, PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.policy import PROFILES, Policy, profile_policy

SOURCE = "/whatif"
OPERATOR = "whatif"


class PolicyFileError(ValueError):
    """A policy file that cannot be used: the text names field, value and what is allowed."""


def read_policy(path: Path) -> dict[str, Any]:
    """Overrides by field path of a JSON or TOML file; sections may be nested. Raises
    PolicyFileError for what is no such file, an unknown field, a value out of its range."""
    try:
        raw = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyFileError(f"{path} cannot be read: {error}") from None
    try:
        found = tomllib.loads(raw) if path.suffix == ".toml" else json.loads(raw)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise PolicyFileError(
            f"{path} is not {kind}: {error}; write fields as `policy show --json` names them"
        ) from None
    if not isinstance(found, dict) or not found:
        raise PolicyFileError(
            f'{path} holds no fields: write an object such as {{"max_size_pct": "20"}}'
        )
    try:
        check_fields(found)
    except PolicyFileError as error:
        raise PolicyFileError(f"{path}: {error}") from None
    return found


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raises PolicyFileError for a field no policy has, or a value out of its range."""
    if "profile" in fields:
        raise PolicyFileError(
            f"profile: {fields['profile']!r:.60} cannot be replaced, an account is opened with it; "
            "give the fields that it would change (docs/policy.md lists them)"
        )
    checked = change_policy(profile_policy("production"), dict(fields), opening=True)
    if isinstance(checked, Refusal):
        raise PolicyFileError(checked.sentence)


class OtherPolicy:
    """`fields` for `account` (None: all of `accounts`), from event time `start` (None: from the
    opening of each account) to the end. `answers`: recorded answers by id of the command."""

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        accounts: Iterable[str],
        account: str | None,
        start: str | None,
        answers: Mapping[str, Envelope],
    ) -> None:
        check_fields(fields)
        known = sorted(set(accounts))
        if account is not None and account not in known:
            there = ", ".join(known) or "none"
            raise PolicyFileError(f"there is no account {account} in this log; there are: {there}")
        self._fields = dict(fields)
        self._account = account
        self._start = start
        self._answers = answers
        self._on = start is None

    def reach(self, time: str) -> bool:
        """Event time has come to `time`; True if the overrides hold from now on."""
        begun = not self._on and self._start is not None and time >= self._start
        self._on = self._on or begun
        return begun

    def reached(self) -> None:
        """Raises PolicyFileError if the run ended before the overrides began to hold."""
        if not self._on:
            raise PolicyFileError(
                f"the run ended before {self._start}: choose an earlier --from, or leave it out"
            )

    def _applies(self, account: str) -> bool:
        return self._on and self._account in (None, account)

    def command(self, event: PolicySet, control: ControlState) -> PolicySet:
        """The recorded command as it is to be fed: with the overrides in it where they hold, at the
        version the account is at. The very same where nothing is to be changed."""
        current = control.accounts.get(event.partitionkey)
        changes = self._merged(event, current)
        expected = self._version(event, current)
        if changes is None and expected == event.data.expected_version:
            return event
        update: dict[str, Any] = {"expected_version": expected}
        if changes is not None:
            update["changes"] = changes
        return event.model_copy(update={"data": event.data.model_copy(update=update)})

    def _merged(self, event: PolicySet, current: AccountPolicy | None) -> dict[str, Any] | None:
        """Changes of the command with the overrides; None: they make no difference."""
        if not self._applies(event.partitionkey):
            return None
        changes = dict(event.data.changes)
        if current is None:
            profile = changes.pop("profile", event.data.profile or "production")
            if profile not in PROFILES:
                return None
            base = profile_policy(profile)
        else:
            base = current.policy
        asked = change_policy(base, changes, opening=current is None)
        if isinstance(asked, Refusal):
            return None
        held = self._held(asked.policy, opening=current is None)
        if held is None or not held.after:
            return None
        named = {k: v for k, v in event.data.changes.items() if k == "profile"}
        return named | difference(base, held.policy).after

    def _held(self, policy: Policy, *, opening: bool) -> Change | None:
        """What the overrides change in a policy. In an emergency new trades stay blocked."""
        fields = dict(self._fields)
        if policy.emergency_mode:
            fields.pop("allow_new_trades", None)
        held = change_policy(policy, fields, opening=opening)
        if isinstance(held, Refusal):
            raise PolicyFileError(held.sentence)
        return held

    def _version(self, event: PolicySet, current: AccountPolicy | None) -> int:
        """The version to expect: refused as stale once, refused as stale again."""
        if current is None or event.data.expected_version == 0:
            return event.data.expected_version
        answer = self._answers.get(event.id)
        stale = isinstance(answer, CommandRejected) and answer.data.code == "STALE_VERSION"
        if stale:
            expected = event.data.expected_version
            return current.version + 1 if expected == current.version else expected
        return current.version

    def due(self, control: ControlState, time: str) -> Iterator[PolicySet]:
        """Commands for accounts whose policy is not as the overrides say."""
        for name, account in sorted(control.accounts.items()):
            if not self._applies(name):
                continue
            held = self._held(account.policy, opening=False)
            if held is not None and held.after:
                yield _command(account, held, time)

    def check(self, command: Envelope, answer: Envelope | None) -> None:
        """Raises PolicyFileError when a command with overrides in it was refused for them."""
        recorded = self._answers.get(command.id)
        if not (recorded is None or isinstance(recorded, PolicyChanged)):
            return
        refused = isinstance(answer, CommandRejected) and answer.data.command_id == command.id
        if refused and isinstance(answer, CommandRejected) and answer.data.code != "NO_CHANGE":
            raise PolicyFileError(answer.data.sentence)


def _command(account: AccountPolicy, held: Change, time: str) -> PolicySet:
    before, after = account.policy.operators, held.policy.operators
    operator = next((name for name in before or after if not after or name in after), OPERATOR)
    return PolicySet(
        id=natural_id("whatif", account.account, str(account.version)),
        source=SOURCE,
        subject=account.account,
        time=time,
        partitionkey=account.account,
        data=PolicySetData(
            expected_version=account.version,
            operator=operator,
            reason="the policy asked about",
            changes=held.after,
        ),
    )
