"""Reading the projections: plain dicts, decimals and times as the canonical text of the log.

Trade state (CORE-6) is saved, closed and deleted by events alone: a position update on the log is
the save, what it leads to here is what :func:`trade` and :func:`open_trades` get and list, and a
person's `trade.deleted` on the log is the delete. Nothing in this package removes a row: closed
trades stay for ever, deleted or not. Every function is one statement, so it
sees one state of the database, also in the moment in which a rebuild swaps generations.

All take an engine of :func:`projections.database.engine`; `account` None means all accounts.
Raises sqlalchemy.exc.OperationalError where Postgres does not answer.
"""

from collections.abc import Iterator
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Engine,
    FromClause,
    Select,
    Table,
    case,
    cast,
    func,
    literal,
    select,
    text,
)

from projections import tables
from projections.digest import plain

Row = dict[str, Any]
View = Literal["recent", "open", "all"]


def trades(
    engine: Engine, account: str | None = None, *, view: View = "recent", limit: int = 1000
) -> list[Row]:
    """Trades, newest first. recent: open ones and those closed within the last 30 days.

    A deleted trade is left out of `recent` once it is closed; while open it stays listed. `all`
    has every trade there ever was, with `deleted_at`, `deleted_by` and `deleted_reason`.
    """
    t = tables.trades
    query = _known(_of(t, account)).order_by(t.c.opened_at.desc(), t.c.trade_id).limit(limit)
    if view == "open":
        query = query.where(t.c.closed_at.is_(None))
    elif view == "recent":
        last = select(func.max(t.c.closed_at)).correlate(None).scalar_subquery()
        month = text("interval '30 days'")
        shown = t.c.deleted_at.is_(None) & (t.c.closed_at >= last - month)
        query = query.where(t.c.closed_at.is_(None) | shown)
    return _rows(engine, query)


def open_trades(engine: Engine, account: str | None = None) -> list[Row]:
    """Trades that are not closed."""
    return trades(engine, account, view="open")


def trade(engine: Engine, trade_id: str) -> Row | None:
    """One trade by its id, open, closed or deleted, or None."""
    wanted = tables.trades.c.trade_id == trade_id
    rows = _rows(engine, _known(select(tables.trades)).where(wanted))
    return rows[0] if rows else None


def positions(engine: Engine, account: str | None = None) -> list[Row]:
    """Open positions with `unrealised` (USDT) at the last mark folded, None without one."""
    p = tables.positions
    unrealised = (p.c.quantity * p.c.mark - p.c.cost).label("unrealised")
    query = _of(p, account).add_columns(unrealised).where(p.c.quantity != 0)
    return _rows(engine, query.order_by(p.c.account, p.c.symbol))


def orders(
    engine: Engine, account: str | None = None, *, state: str | None = None, limit: int = 1000
) -> list[Row]:
    """Orders, newest first. state: decided, working, partly_filled, unknown or ended."""
    o = tables.orders
    query = _of(o, account).order_by(o.c.decided_at.desc(), o.c.order_id).limit(limit)
    if state is not None:
        query = query.where(o.c.state == state)
    return _rows(engine, query)


def fills(engine: Engine, account: str | None = None, *, limit: int = 1000) -> list[Row]:
    """Fills, newest first."""
    f = tables.fills
    return _rows(engine, _of(f, account).order_by(f.c.filled_at.desc(), f.c.id).limit(limit))


def equity(engine: Engine, account: str | None = None, *, limit: int | None = None) -> list[Row]:
    """Observations of equity, oldest first; with `limit` the newest of them."""
    e = tables.equity
    query = _of(e, account).order_by(e.c.time.desc(), e.c.id).limit(limit)
    return _rows(engine, query)[::-1]


def intents(
    engine: Engine,
    account: str | None = None,
    *,
    verdict: Literal["approved", "rejected"] | None = None,
    reason: str | None = None,
    limit: int = 1000,
) -> list[Row]:
    """Verdicts with their failures, limits, figures and plan, newest first."""
    i, sets = tables.intents, tables.limit_sets
    shown = [column for column in i.c if column is not i.c.limits_id]
    query = select(*shown, sets.c.limits).outerjoin(sets, sets.c.id == i.c.limits_id)
    query = query.order_by(i.c.decided_at.desc(), i.c.id).limit(limit)
    if account is not None:
        query = query.where(i.c.account == account)
    if verdict is not None:
        query = query.where(i.c.verdict == verdict)
    if reason is not None:
        query = query.where(i.c.reason == reason)
    return _rows(engine, query)


def intent_counts(engine: Engine) -> dict[str, Row]:
    """`{account: {"approved": n, "rejected": {reason: n}}}`."""
    i = tables.intents
    query = (
        select(i.c.account, i.c.verdict, i.c.reason, func.count().label("n"))
        .group_by(i.c.account, i.c.verdict, i.c.reason)
        .order_by(i.c.account, i.c.reason)
    )
    counts: dict[str, Row] = {}
    for row in _rows(engine, query):
        of = counts.setdefault(row["account"], {"approved": 0, "rejected": {}})
        if row["verdict"] == "approved":
            of["approved"] += row["n"]
        else:
            of["rejected"][row["reason"]] = row["n"]
    return counts


def policy_history(engine: Engine, account: str | None = None) -> list[Row]:
    """Every version of the policy, whole, oldest first."""
    p = tables.policy_snapshots
    return _rows(engine, _of(p, account).order_by(p.c.account, p.c.version))


def emergencies(engine: Engine, account: str | None = None) -> list[Row]:
    """Emergencies with their steps, flat and reset, oldest first."""
    e = tables.emergencies
    return _rows(engine, _of(e, account).order_by(e.c.activated_at, e.c.emergency_id))


def commands_rejected(
    engine: Engine, account: str | None = None, *, limit: int = 1000
) -> list[Row]:
    """Refused commands and why, newest first."""
    c = tables.commands_rejected
    return _rows(engine, _of(c, account).order_by(c.c.time.desc(), c.c.id).limit(limit))


def events(
    engine: Engine,
    *,
    topic: str | None = None,
    type: str | None = None,
    account: str | None = None,
    since: str | None = None,
    limit: int = 1000,
) -> list[Row]:
    """The index: where each event of the log stands, oldest first, the newest `limit` of them.

    type: a type, or its beginning up to a dot (`trade.`), or `undecodable`. since: event time,
    inclusive. Market and clock are not in it: :func:`offsets` has how far they were read.
    """
    e = tables.events
    query = _of(e, account)
    if topic is not None:
        query = query.where(e.c.topic == topic)
    if type is not None and type.endswith("."):
        query = query.where(e.c.type.startswith(type, autoescape=True))
    elif type is not None:
        query = query.where(e.c.type == type)
    if since is not None:
        query = query.where(e.c.time >= cast(since, e.c.time.type))
    newest = (e.c.time.desc().nulls_last(), e.c.topic, e.c.partition, e.c.offset.desc())
    return _rows(engine, query.order_by(*newest).limit(limit))[::-1]


def offsets(engine: Engine) -> dict[str, int]:
    """Next offset of each partition, `{"topic/partition": next}`: what the tables cover."""
    o = tables.offsets
    rows = _rows(engine, select(o.c.topic, o.c.partition, o.c.next_offset))
    return {f"{row['topic']}/{row['partition']}": row["next_offset"] for row in rows}


def totals(engine: Engine) -> dict[str, int]:
    """`events`: valid records of all topics; `undecodable`: bytes that were none."""
    o = tables.offsets
    query = select(
        func.coalesce(func.sum(o.c.events), 0).label("events"),
        func.coalesce(func.sum(o.c.undecodable), 0).label("undecodable"),
    )
    return {name: int(value) for name, value in _rows(engine, query)[0].items()}


def activity(engine: Engine) -> dict[str, Row]:
    """`{account: {"orders", "ended", "fills", "emergencies", "open_trades"}}` as counts."""
    found: dict[str, Row] = {}
    parts: list[tuple[str, FromClause, ColumnElement[bool] | None]] = [
        ("orders", tables.orders, None),
        ("ended", tables.orders, tables.orders.c.status.is_not(None)),
        ("fills", tables.fills, None),
        ("emergencies", tables.emergencies, None),
        ("open_trades", tables.trades, tables.trades.c.closed_at.is_(None)),
    ]
    queries = [
        select(
            source.c.account,
            func.sum(1 if condition is None else case((condition, 1), else_=0)).label("n"),
            literal(name).label("what"),
        )
        .where(source.c.account.is_not(None))
        .group_by(source.c.account)
        for name, source, condition in parts
    ]
    rows = _rows(engine, queries[0].union_all(*queries[1:]))
    for row in rows:
        of = found.setdefault(row["account"], {name: 0 for name, _, _ in parts})
        of[row["what"]] = int(row["n"])
    return dict(sorted(found.items()))


def _of(table: Table, account: str | None) -> Select[Any]:
    query = select(table)
    return query if account is None else query.where(table.c.account == account)


def _known(query: Select[Any]) -> Select[Any]:
    """Without rows that hold nothing but the deletion of a trade nobody opened (a wrong id)."""
    return query.where(tables.trades.c.opened_at.is_not(None))


def _rows(engine: Engine, query: Any) -> list[Row]:
    with engine.connect() as connection:
        return [dict(_plain(row)) for row in connection.execute(query).mappings()]


def _plain(row: Any) -> Iterator[tuple[str, Any]]:
    """Decimals and times as canonical text; JSON columns stay lists and objects."""
    for name, value in row.items():
        yield name, value if isinstance(value, dict | list) else plain(value)
