"""Policies side by side as a table: what `policy show` and the demo print."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from schemas.policy import Policy, profile_policy


def settings_table(
    policies: Mapping[str, Policy],
    *,
    versions: Mapping[str, int] | None = None,
    origins: Mapping[str, Mapping[str, int]] | None = None,
    only_changed: bool = False,
) -> Table:
    """One line a setting, one column an account; what differs from the production profile is bold.

    `origins`: policy version that set a field, by account. `only_changed`: leave out lines that
    are the production profile's in every account.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("setting")
    for name in policies:
        version = f" (version {versions[name]})" if versions and name in versions else ""
        table.add_column(f"{name}{version}")
    production = flat(profile_policy("production"))
    values = {name: flat(policy) for name, policy in policies.items()}
    for field, default in production.items():
        if only_changed and all(values[name][field] == default for name in policies):
            continue
        cells = []
        for name in policies:
            value = _shown(values[name][field])
            came = (origins or {}).get(name, {}).get(field)
            origin = f" [dim](policy {came})[/dim]" if came is not None else ""
            bold = values[name][field] != default
            cells.append(f"[bold]{value}[/bold]{origin}" if bold else f"{value}{origin}")
        table.add_row(field, *cells)
    return table


def flat(policy: Policy) -> dict[str, Any]:
    """Field paths and values of a policy, sections flattened."""
    out: dict[str, Any] = {}
    for name, value in policy.model_dump(mode="json").items():
        if isinstance(value, dict):
            out.update({f"{name}.{inner}": deep for inner, deep in value.items()})
        else:
            out[name] = value
    return out


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or "-"
    return "-" if value is None else str(value).replace("[", "\\[")
