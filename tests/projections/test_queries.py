"""Goal: what the command line shows is what the log says."""

import json

import psycopg

from projections import queries
from projections.database import engine
from projections.digest import equals_replay
from schemas.ids import natural_id
from tests.projections.builders import Log
from tests.projections.conftest import project_all
from tests.projections.days import day
from tests.projections.publishing import publish


def test_everything_a_person_asks_for_is_answered_from_the_log(broker: str, migrated: str) -> None:
    log = day(2)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    db = engine(migrated)
    assert queries.intent_counts(db) == {
        account: {"approved": 3, "rejected": {"COOLDOWN": 3}} for account in ("hot", "main")
    }
    position = queries.positions(db, "main")
    assert [row["quantity"] for row in position] == ["0.02"]
    assert position[0]["unrealised"] == "0.11"  # 0.02 x 40010.5 - 800.10
    assert len(queries.trades(db)) == 6
    still = queries.open_trades(db, "main")
    assert [row["closed_at"] for row in still] == [None]
    assert queries.trade(db, still[0]["trade_id"]) == still[0]
    assert queries.trade(db, log.change("x", 1).id) is None
    orders = queries.orders(db, "main")
    assert {row["state"] for row in orders} == {"ended", "working"}
    assert {row["order_id"] for row in queries.orders(db, "main", state="working")} == {
        row["order_id"] for row in orders if row["status"] is None
    }
    assert queries.activity(db)["main"] == {
        "orders": 6, "ended": 5, "fills": 8, "emergencies": 1, "open_trades": 1,
    }  # fmt: skip
    assert [row["version"] for row in queries.policy_history(db, "hot")] == [1, 2, 3]
    emergency = queries.emergencies(db, "main")[0]
    assert [step["step"] for step in emergency["steps"]] == [1, 2, 3, 4, 5]
    assert emergency["flat_at"] <= emergency["reset_at"]
    assert queries.commands_rejected(db, "main")[0]["code"] == "STALE_VERSION"
    assert len(queries.fills(db)) == 16
    assert len(queries.intents(db, verdict="rejected", reason="COOLDOWN")) == 6
    series = queries.equity(db, "main")
    assert [row["time"] for row in series] == sorted(row["time"] for row in series)
    assert queries.equity(db, "main", limit=1) == series[-1:]
    assert sum(queries.offsets(db).values()) == len(log.messages)
    json.dumps([orders, series, emergency])


def test_events_are_found_by_topic_type_account_and_time(broker: str, migrated: str) -> None:
    log = day(1)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    db = engine(migrated)
    every = queries.events(db)
    assert {"market", "clock"}.isdisjoint(row["topic"] for row in every)
    assert {row["account"] for row in queries.events(db, account="hot")} == {"hot"}
    orders = queries.events(db, type="trade.order.decided.v1")
    assert {row["topic"] for row in orders} == {"trade.order"}
    assert queries.events(db, topic="trade.order") == orders
    dotted = queries.events(db, type="trade.")
    assert {row["type"].split(".")[0] for row in dotted} == {"trade"}
    assert len(queries.events(db, limit=3)) == 3
    late = every[-1]["time"]
    assert {row["time"] for row in queries.events(db, since=late)} == {late}


def test_trades_closed_more_than_30_days_before_the_last_are_shown_on_demand(
    broker: str, migrated: str
) -> None:
    log = Log()
    old = log.trade("main")
    log.later(31 * 86_400)
    new = log.trade("main")
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    db = engine(migrated)
    assert [row["trade_id"] for row in queries.trades(db)] == [new]
    assert [row["trade_id"] for row in queries.trades(db, view="all")] == [new, old]
    assert queries.trade(db, old) is not None


def test_deleted_trades_leave_the_default_view_once_closed_and_are_never_lost(
    broker: str, migrated: str
) -> None:
    log = Log()
    kept, deleted = log.trade("main"), log.trade("main")
    still = log.trade("main", close=False)
    log.later()
    log.delete("main", deleted)
    log.delete("main", still)
    log.delete("main", natural_id("no trade"))
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    db = engine(migrated)
    with psycopg.connect(migrated) as connection:
        rows = connection.execute("SELECT trade_id::text FROM live.trades_recent").fetchall()
    assert {row[0] for row in rows} == {kept, still}
    assert [row["trade_id"] for row in queries.trades(db)] == [still, kept]
    assert [row["trade_id"] for row in queries.open_trades(db)] == [still]
    assert queries.activity(db)["main"]["open_trades"] == 1
    every = {row["trade_id"]: row for row in queries.trades(db, view="all")}
    assert list(every) == [still, deleted, kept]
    named = ("deleted_at", "deleted_by", "deleted_reason")
    assert [every[kept][name] for name in named] == [None, None, None]
    assert [every[deleted][name] for name in named] == [log.time, "ana", "a drill"]
    assert every[deleted]["net"] == "1.247"
    assert queries.trade(db, deleted) == every[deleted]
    assert queries.trade(db, natural_id("no trade")) is None
    assert equals_replay(broker, migrated) == (True, [])
