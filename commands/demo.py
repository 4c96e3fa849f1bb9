"""`demo`: the main job. The crash of 19 May 2021 through Kafka, Faust and Postgres, live."""

import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from commands import halt
from commands.console import AsJson, CommandError, ExitCode, print_json, say, stderr
from commands.lag import lag
from commands.live import FeedPlan, LiveSystem, own_system
from commands.report import print_report, report_json, settings_table
from commands.up import speed_arguments, tell_cut_off
from commands.values import moment
from commands.view import LiveView
from domain.policy_changes import Refusal, change_policy
from gateways.probes import ACCOUNTS
from projections.digest import equals_replay
from replay.log import read_kafka
from replay.sources import KafkaLog
from replay.summary import Summary
from replay.verify import verify
from runtime import logs
from runtime.settings import ROOT
from schemas.policy import Policy, profile_policy
from schemas.trade import Order, OrderDecided, SignalJudged, SignalPublished

MARKET = ROOT / "data" / "market"
FUNDING = MARKET / "BTCUSDT_PERP-funding-20210501-20210531.parquet"
FIRST, END = datetime(2021, 5, 17, tzinfo=UTC), datetime(2021, 5, 20, tzinfo=UTC)
SHIPPED = (datetime(2021, 5, 16, tzinfo=UTC), datetime(2021, 5, 23, tzinfo=UTC))
WARM_UP = timedelta(hours=24)
POLL_S = 0.05


def demo(
    start: Annotated[
        str | None, typer.Option("--from", help="First day or minute (UTC); default 2021-05-17.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="End, exclusive; default 2021-05-20.")
    ] = None,
    speed: Annotated[str, typer.Option(help="Event seconds a second, or max.")] = "max",
    as_json: AsJson = False,
) -> None:
    """Trade the crash of 17-19 May 2021 on a real Kafka and a real Postgres, and report.

    \b
    Examples:
      ./quantum demo                                     three days, as fast as it goes
      ./quantum demo --from 2021-05-19T11:00 --to 2021-05-19T15:00
      ./quantum demo --speed 600                         ten event minutes a second
    """
    began = time.monotonic()
    first, last = span(start, end)
    plan = demo_plan(first, last, speed)
    if not as_json:
        _settings()
    tell_cut_off()
    details = {"command": "demo", "from": first.isoformat(), "to": last.isoformat()}
    with own_system(details) as system:
        logs.configure("supervisor", system.run.logs)
        system.start(plan)
        started_s = time.monotonic() - began
        halt.warn()
        say(f"started after {started_s:.1f} s; run {system.run.name}, Kafka {system.kafka}")
        fed = _watch(
            system, (canonical(first), canonical(last)), plain=as_json or not sys.stderr.isatty()
        )
        say("comparing Postgres with a replay of all topics")
        equal, differences = equals_replay(system.kafka, system.postgres, timeout_s=60)
        say("deciding everything again from the log")
        verified = verify(KafkaLog(system.kafka))
        summary, latencies = read_run(system.kafka)
        figures = {
            "run": system.run.name,
            "seconds": round(time.monotonic() - began, 1),
            "start_seconds": round(started_s, 1),
            "feed": fed,
            "projections_equal_replay": equal,
            "differences": differences[:10],
            "verify_different": verified.different,
            "verify": {k: v for k, v in verified.as_json().items() if k != "details"},
            "verify_details": verified.as_json()["details"][:10],
            "signal_to_order_ms": percentiles(latencies),
            "lag": lag(system.kafka),
        }
        result = report_json(summary, **figures)
        (system.run.folder / "report.json").write_text(json.dumps(result, indent=1, default=str))
    if as_json:
        print_json(result)
    else:
        print_report(summary)
        _closing(figures, system.run.folder)
    if not equal:
        raise CommandError("the projections differ from a replay of the log: see `differences`")
    if verified.different:
        raise CommandError(
            f"{verified.different} recorded decisions differ when they are decided again: "
            "./quantum verify --run last shows them"
        )


def span(start: str | None, end: str | None) -> tuple[datetime, datetime]:
    """The demo's days. CommandError where the shipped candles do not reach."""
    first = moment("--from", start) if start else FIRST
    last = moment("--to", end) if end else END
    for name, asked in (("--from", first), ("--to", last)):
        if asked.second or asked.microsecond:
            raise CommandError(
                f"{name} {asked:%Y-%m-%dT%H:%M:%S}: whole minutes only", ExitCode.MISUSE
            )
    if not SHIPPED[0] + WARM_UP <= first < last <= SHIPPED[1]:
        raise CommandError(
            f"--from {first:%Y-%m-%dT%H:%M} --to {last:%Y-%m-%dT%H:%M}: the shipped candles allow "
            f"{SHIPPED[0] + WARM_UP:%Y-%m-%d} (a day of warm-up before) to {SHIPPED[1]:%Y-%m-%d}",
            ExitCode.MISUSE,
        )
    return first, last


def demo_plan(first: datetime, last: datetime, speed: str) -> FeedPlan:
    """The feed's command line for the demo."""
    files = [str(MARKET / f"{s}-1m-20210516-20210522.parquet") for s in ("BTCUSDT", "ETHUSDT")]
    days = ["--from", f"{first:%Y-%m-%dT%H:%M}", "--to", f"{last:%Y-%m-%dT%H:%M}"]
    return FeedPlan((*files, *days, "--demo", "--funding", str(FUNDING), *speed_arguments(speed)))


def demo_policies() -> dict[str, Policy]:
    """The three accounts' policies as their opening commands will make them."""
    policies = {}
    for account in ACCOUNTS:
        made = change_policy(profile_policy(account.profile), account.changes, opening=True)
        assert not isinstance(made, Refusal), made
        policies[account.name] = made.policy
    return policies


def _settings() -> None:
    stderr.print("Settings (what differs from the production profile is bold)", style="bold")
    stderr.print(settings_table(demo_policies(), only_changed=True))


def canonical(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _watch(system: LiveSystem, span: tuple[str, str], *, plain: bool) -> dict[str, Any]:
    """Show the run until the feed has published everything; what the feed says at its end."""
    with LiveView(system.kafka, plain=plain, span=span, run=system.run.name):
        while True:
            system.check()
            if system.interrupted:
                raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)
            if error := system.feed_error():
                raise CommandError(f"the feed stopped: {error}")
            if done := system.feed_done():
                return {k: done[k] for k in ("records", "seconds", "barriers")}
            time.sleep(POLL_S)


def read_run(kafka: str) -> tuple[Summary, list[int]]:
    """Summary of all valid records, and broker milliseconds from each signal to its order."""
    summary = Summary(walked=True)
    signals: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    latencies: list[int] = []
    for record in read_kafka(kafka):
        event = record.event
        if event is None or not record.valid:
            continue
        summary.fold(event)
        if isinstance(event, SignalPublished):
            signals.update((item.id, record.timestamp_ms) for item in event.data.items)
        elif isinstance(event, SignalJudged):
            for verdict in event.data.items:
                if verdict.request_id in signals:
                    verdicts[verdict.id] = signals[verdict.request_id]
        elif isinstance(event, OrderDecided):
            at = record.timestamp_ms
            orders = [item for item in event.data.items if isinstance(item, Order)]
            latencies += [at - verdicts[o.request_id] for o in orders if o.request_id in verdicts]
    return summary, latencies


def percentiles(values: list[int]) -> dict[str, float | None]:
    """p50 and p99 in milliseconds; None without values."""
    if not values:
        return {"p50": None, "p99": None}
    ordered = sorted(values)
    return {
        "p50": float(statistics.median(ordered)),
        "p99": float(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]),
    }


def _closing(figures: dict[str, Any], folder: Path) -> None:
    say("")
    fed, latency = figures["feed"], figures["signal_to_order_ms"]
    say(
        f"{fed['records']:,} records fed in {fed['seconds']} s, {fed['barriers']:,} barriers; "
        f"signal to order p50 {latency['p50']} ms, p99 {latency['p99']} ms (broker's clock)"
    )
    same = "equal" if figures["projections_equal_replay"] else "DIFFER FROM"
    say(f"Postgres projections {same} a replay of all topics; {figures['seconds']} s in all")
    again = figures["verify"]
    say(
        f"verify: {again['decisions']:,} decisions decided again, {again['identical']:,} identical "
        f"byte for byte, {again['different']:,} different ({again['seconds']:.1f} s)"
    )
    say(f"look into it: ./quantum up --run last; report: {os.path.relpath(folder)}/report.json")
