"""`status`: addresses, workers, lag and each account's figures."""

import contextlib
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from commands.console import AsJson, add, show
from commands.system import System

TROUBLES = {
    "away": "KAFKA IS AWAY for the gateway: no entry leaves",
    "buffered": "{} record(s) wait in the gateway's buffer on disk",
    "silent": "{} stream(s) are silent for the gateway: no entry leaves; its log says which",
}
"""What `status` says of figures of the gateway that are not 0."""


def register(app: typer.Typer) -> None:
    """Add `status`."""
    add(app, status, "status")


def status(as_json: AsJson = False) -> None:
    """How it goes: workers, lag, accounts, addresses.

    \b
      ./quantum status
      ./quantum status --json
    """
    from commands import figures, lag
    from commands.system import find
    from replay.log import ends
    from replay.summary_json import summary_json

    system = find()
    summary = figures.current(system.kafka)
    progress = lag.board(system.kafka)
    data = summary_json(summary)
    for name in ("buy_and_hold_pct", "always_flat_pct"):  # of whole runs: `demo` says them
        data.pop(name)
    data["lag"] = progress.lag(ends(system.kafka))
    data["kafka"] = system.kafka
    data["postgres"] = system.postgres
    data["workers"] = worker_states(system, progress)
    data["health_ports"] = _health_ports(system)
    data["run"] = str(system.folder) if system.folder else None
    data["halts"] = halts(summary)
    data["gateway"] = gateway_says(system)
    show(data, as_json, lambda: _tables(data))


def halts(summary: Any) -> list[dict[str, Any]]:
    """Halts in force: that of this data folder, and those that gateways elsewhere obey by the log.
    `obeyed`: whether the gateway here says so; None where none answers."""
    from commands.halt import code, current, halt_json, obeys

    here, found = current(), []
    said = obeys()
    if here is not None:
        found.append({**(halt_json(here) or {}), "obeyed": said and said == code(here)})
    elif said:
        signalled = {"mode": "entries", "operator": "signal", "reason": "in the gateway's memory"}
        found.append({**signalled, "at": "", "obeyed": True})
    for key, data in summary.halts.items():
        if said is None and (here is None or here.key != key):
            words = data.model_dump(include={"mode", "operator", "reason", "defect"})
            found.append({**words, "at": data.set_at, "obeyed": True})
    return found


def gateway_says(system: System) -> dict[str, int]:
    """What the gateway says of Kafka, its buffer and its streams; empty where none answers."""
    from commands.live import health

    said = health(system.run.logs / "gateway.port") if system.run else {}
    return {name: int(said[name]) for name in ("away", "buffered", "silent") if name in said}


def worker_states(system: System, progress: Any) -> dict[str, str]:
    """State of each process: as its supervisor says; of clusters elsewhere, as heard of."""
    states: dict[str, str] = {}
    if system.run is not None:
        from runtime.supervisor import read_state

        states = {name: s["state"] for name, s in read_state(system.run.state_file).items()}
    for name, worker in progress.workers.items():
        if name not in states:
            states[name] = "silent" if worker.silent else "running"
    return dict(sorted(states.items()))


def _health_ports(system: System) -> dict[str, int]:
    """Ports of `/health`, as the processes wrote them beside their logs."""
    if system.run is None:
        return {}
    ports: dict[str, int] = {}
    for file in sorted(system.run.logs.glob("*.port")):
        with contextlib.suppress(OSError, ValueError):
            ports[file.stem] = int(file.read_text())
    return ports


def _tables(data: dict[str, Any]) -> list[Any]:
    time = data["time"][:19].replace("T", " ")
    counts = f"[bold]events[/bold] {data['events']:,}   [bold]signals[/bold] {data['signals']:,}"
    head: list[Any] = [
        f"[bold]event time[/bold] {time}   {counts}",
        f"kafka {data['kafka']}   postgres {data['postgres'] or 'unknown'}",
    ]
    if data["run"]:
        head.append(f"run {data['run']}")
    for each in data["halts"]:
        by = f"{each['mode']}, by {each['operator']} {each['at']}: {each['reason']}"
        obeyed = {True: "obeyed", None: "no gateway says"}.get(each["obeyed"], "NOT OBEYED YET")
        line = f"HALTED ({by}), {obeyed}; ./quantum halt --lift"
        head.append(Text(line, style="bold red"))
    for name, what in TROUBLES.items():
        if count := data["gateway"].get(name):
            head.append(Text(what.format(count), style="bold red"))
    workers = Table(box=None, pad_edge=False)
    for name in ("name", "state", "lag", "health"):
        workers.add_column(name, justify="right" if name in ("lag", "health") else "left")
    for name, state in data["workers"].items():
        colour = "green" if state == "running" else "red"
        port = data["health_ports"].get(name)
        behind = data["lag"].get(name)
        workers.add_row(
            name,
            f"[{colour}]{state}[/{colour}]",
            "-" if behind is None else f"{behind:,}",
            f":{port}" if port else "-",
        )
    return [*head, "", workers, "", accounts_table(data["accounts"])]


def accounts_table(accounts: dict[str, Any]) -> Table:
    """One line an account."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("account", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("equity", "dd %", "open", "appr.", "rej.", "orders", "fills", "trades", "emerg."):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in accounts.items():
        colour = {"ACTIVE": "green", "REDUCING": "yellow"}.get(each["trading_state"], "red")
        why = [hold.replace("_", " ") for hold in each["holds"]]
        why += [f"AI-HFOS {each['hfos']}"] if each["hfos"] != "NORMAL" else []
        why += ["governor WARN"] if each["governor"] == "WARN" else []
        held = f" ({', '.join(why)})" if why else ""
        paused = f", [yellow]{' '.join(each['paused'])} paused[/yellow]" if each["paused"] else ""
        table.add_row(
            name,
            f"[{colour}]{each['trading_state']}{held}[/{colour}]{paused}",
            f"{float(each['equity']):,.2f}",
            f"{each['drawdown_pct']:.2f}",
            str(each["open_positions"]),
            str(each["approved"]),
            str(sum(each["rejected"].values())),
            str(each["orders"]),
            str(each["fills"]),
            str(each["trades"]),
            str(each["emergencies"]),
        )
    return table
