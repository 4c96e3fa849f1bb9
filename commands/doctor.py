"""`doctor`: checks every link of the loop and says which does not hold, and why (CORE-7)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from commands.console import AsJson, CommandError, ExitCode, add, data_console, show
from commands.system import System, event_time, find

Outcome = Literal["ok", "warning", "failed", "not checked"]
ACCOUNT = "doctor"
LAG_ALARM = 1_000


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, what came of it, and the figures or the remedy."""

    name: str
    outcome: Outcome
    detail: str


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    add(app, doctor, "doctor")


def doctor(
    loop: Annotated[
        bool,
        typer.Option(
            "--loop", help=f"Send a probe to account {ACCOUNT} and follow it to its verdict."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check each link: broker, topics, Postgres, workers, lag, dead letters; the loop with --loop.

    \b
      ./quantum doctor
      ./quantum doctor --loop --json

    The probe has confidence 0.10 and is refused by any policy: nothing is traded.
    """
    checks: list[Check] = []
    for check in run_checks(loop=loop):
        checks.append(check)
        if not as_json:
            _print(check)
    failed = [check.name for check in checks if check.outcome == "failed"]
    data = {
        "ok": not failed,
        "failed": failed,
        "checks": [{"name": c.name, "outcome": c.outcome, "detail": c.detail} for c in checks],
    }
    if as_json:
        show(data, True, str)
    if any(c.name == "system" and c.outcome == "failed" for c in checks):
        raise typer.Exit(ExitCode.NOT_RUNNING)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _print(check: Check) -> None:
    from rich.text import Text

    colour = {"ok": "green", "warning": "yellow", "failed": "red"}.get(check.outcome, "dim")
    line = Text(f"{check.outcome:>11}  ", style=colour)
    line.append(f"{check.name}  ", style="bold")
    line.append(check.detail, style="default")
    data_console().print(line, soft_wrap=True)


def run_checks(*, loop: bool) -> Iterator[Check]:
    """All checks in the order of the links. After a broken broker the rest cannot be checked."""
    try:
        system = find()
    except CommandError as error:
        yield Check("system", "failed", str(error))
        return
    yield Check("system", "ok", f"run {system.run.name}" if system.run else "from the environment")
    yield _guarded("halt", _halt)
    broker = _guarded("broker", lambda: _broker(system))
    yield broker
    yield _guarded("postgres", lambda: _postgres(system))
    if broker.outcome == "failed":
        for name in ("topics", "workers", "lag", "fleet", "dead letters", "loop"):
            yield Check(name, "not checked", "the broker does not answer")
        return
    yield _guarded("topics", lambda: _topics(system))
    yield _guarded("workers", lambda: _workers(system))
    yield _guarded("lag", lambda: _lag(system))
    yield _guarded("fleet", lambda: _fleet(system))
    yield _guarded("dead letters", lambda: _letters(system))
    if loop:
        yield _guarded("loop: account", lambda: _account(system))
        yield _guarded("loop: probe", lambda: _probe(system))


def _guarded(name: str, check: Callable[[], tuple[Outcome, str]]) -> Check:
    """A check that cannot be made has failed, with the reason in one line."""
    try:
        outcome, detail = check()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Check(name, "failed", lines[0])
    return Check(name, outcome, detail)


def _halt() -> tuple[Outcome, str]:
    from commands.halt import code, current, obeys

    found, said = current(), obeys()
    if found is None:
        return ("warning", "the gateway obeys a signal") if said else ("ok", "none in force")
    if said is not None and said != code(found):
        return "failed", f"{found.sentence()}; but the gateway does not say that it obeys"
    return "warning", f"{found.sentence()}; ./quantum halt --lift ends it"


def _broker(system: System) -> tuple[Outcome, str]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from replay.log import REQUEST_TIMEOUT_S, KafkaUnreachableError, client_settings
    from runtime.logs import confluent_logger

    started = time.monotonic()
    admin = AdminClient(client_settings(system.kafka), logger=confluent_logger())
    try:
        found = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise KafkaUnreachableError(system.kafka, error.args[0].str()) from None
    took_ms = (time.monotonic() - started) * 1000
    return "ok", f"{system.kafka}, {len(found.brokers)} node(s), answered in {took_ms:.0f} ms"


def _topics(system: System) -> tuple[Outcome, str]:
    from commands.topics_apply import diff
    from replay.log import ends
    from schemas.topics import ORDER, PARTITIONS_EMBEDDED, TOPICS

    there = len(ends(system.kafka, (ORDER,))) or PARTITIONS_EMBEDDED
    found = diff(system.kafka, there)
    if not found:
        return "ok", f"{len(TOPICS)} topics agree with the code, {there} account partitions"
    first = found[0]
    return "failed", (
        f"{len(found)} differences, first {first.topic}: {first.what} is "
        f"{first.found or 'nothing'}, wanted {first.wanted}; run ./quantum topics apply"
    )


def _postgres(system: System) -> tuple[Outcome, str]:
    import psycopg

    from projections.database import connect, exists
    from projections.tables import LIVE

    try:
        with connect(system.database()) as connection:
            if not exists(connection, LIVE):
                return "failed", "answers, but has no tables: the projector has not migrated it yet"
            row = connection.execute("SELECT count(*) FROM live.offsets").fetchone()
    except psycopg.OperationalError as error:
        return "failed", f"does not answer: {str(error).strip().splitlines()[0]}"
    assert row is not None
    return "ok", f"answers, {row[0]} partitions are projected"


def _workers(system: System) -> tuple[Outcome, str]:
    from commands.lag import board
    from commands.live import readiness
    from commands.status import worker_states
    from schemas.topics import WORKERS

    progress = board(system.kafka)
    states = worker_states(system, progress)
    bad = [
        f"{name} is {state}" for name, state in states.items() if state not in ("running", "ended")
    ]
    bad += [f"{name} is missing" for name in WORKERS if name not in states]
    silent = [n for n in WORKERS if n in progress.workers and progress.workers[n].silent]
    bad += [
        f"{name} has reported nothing for 5 s" for name in silent if states.get(name) == "running"
    ]
    if system.run is not None:
        for name in WORKERS:
            ready, why = readiness(system.run.logs / f"{name}.port")
            if not ready and states.get(name) == "running":
                bad.append(f"{name} is not ready: {why}")
    if bad:
        return "failed", "; ".join(bad) + "; their logs are in the run's folder"
    return "ok", ", ".join(sorted(states))


def _lag(system: System) -> tuple[Outcome, str]:
    from commands.lag import lag

    behind = lag(system.kafka)
    if not behind:
        return "failed", "no worker has ever reported progress"
    worst = max(behind, key=lambda name: behind[name])
    text = ", ".join(f"{name} {records:,}" for name, records in behind.items())
    if behind[worst] > LAG_ALARM:
        return "warning", f"{text}: {worst} is {behind[worst]:,} records behind"
    return "ok", text


def _fleet(system: System) -> tuple[Outcome, str]:
    from replay.log import read_kafka
    from schemas.control import WorkerNotice, WorkerStarted
    from schemas.topics import CONTROL

    builds: dict[str, tuple[str, str]] = {}
    notices: list[str] = []
    for record in read_kafka(system.kafka, (CONTROL,)):
        event = record.event
        if isinstance(event, WorkerStarted):
            builds[event.data.worker] = (event.data.build, event.data.configuration)
        elif isinstance(event, WorkerNotice):
            notices.append(
                f"{event.data.worker} failed for {event.data.account}: {event.data.error}"
            )
    if len(set(builds.values())) > 1:
        each = ", ".join(f"{name} {b[:12]}/{c[:12]}" for name, (b, c) in sorted(builds.items()))
        return "failed", f"MIXED FLEET, workers of different builds or configurations: {each}"
    if notices:
        return "warning", f"{len(notices)} failed decision(s), last: {notices[-1]}"
    build = next(iter(builds.values()), ("unknown", ""))[0]
    return "ok", f"{len(builds)} workers of build {build[:12]}"


def _letters(system: System) -> tuple[Outcome, str]:
    from collections import Counter

    from commands.letters import letters
    from schemas.topics import DEAD_LETTERS

    rows = letters(system.kafka, [topic.name for topic in DEAD_LETTERS])
    left = Counter(row["processor"] for row in rows if row["state"] == "open")
    if not left:
        return "ok", f"none open, {len(rows)} settled" if rows else "none"
    text = ", ".join(f"{name} {count}" for name, count in left.items())
    return "warning", f"{text}; ./quantum dlq list shows them"


def _account(system: System) -> tuple[Outcome, str]:
    """The probe's account, opened when it is not there."""
    from commands.asking import ask
    from commands.policy import read
    from commands.publish import build

    if ACCOUNT in read(system.kafka).accounts:
        return "ok", f"{ACCOUNT} is open"
    data = {
        "expected_version": 0,
        "operator": "doctor",
        "reason": "account for probes of ./quantum doctor --loop",
        "profile": "production",
        "changes": {},
    }
    time_ = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    answer = ask(system.kafka, build("policy.set", ACCOUNT, data, time=time_))
    if answer.refusal is not None:
        return "failed", f"the control processor refused to open {ACCOUNT}: {answer.refusal}"
    return "ok", f"{ACCOUNT} was opened in {answer.waited_ms:.0f} ms"


def _probe(system: System) -> tuple[Outcome, str]:
    """A signal that every policy refuses, followed to its verdict through Kafka."""
    from commands.asking import ask
    from commands.publish import build

    item = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "confidence": "0.1",
        "origin": "probe",
        "label": "doctor --loop",
    }
    event = build("signal", ACCOUNT, {"items": [item]}, time=event_time(system.kafka))
    answer = ask(system.kafka, event)
    if answer.event.type != "trade.signal.judged.v1":
        return "failed", f"the probe was answered by {answer.event.type}: {answer.refusal}"
    verdict: Any = answer.event.data.items[0]  # type: ignore[attr-defined]
    codes = [str(failure.code) for failure in verdict.failures]
    if "LOW_CONFIDENCE" not in codes:
        return "failed", f"a probe of confidence 0.1 was {verdict.verdict} ({', '.join(codes)})"
    return "ok", f"signal to verdict in {answer.waited_ms:.0f} ms: {verdict.verdict}, {codes[0]}"
