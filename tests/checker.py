"""The independent checker: recomputes a run from its topics alone, with no code of ours.
``python tests/checker.py BOOTSTRAP`` prints figures as JSON, and what breaks a rule (then exit 1):
DESIGN.md "The record" and "Tests", DEFINITIONS 3 and 8. For a system that is quiet."""
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# fmt: off
import json
import sys
from collections import Counter, defaultdict, deque
from decimal import Decimal, localcontext
from types import SimpleNamespace
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

OWN = ("trade.signal.judged", "trade.order.", "trade.pos", "venue.rep", "policy.", "emergency.")
TOPICS = ("control", "market", "clock", "commands.", "trade.", "venue.")
TERMS = ("client_order_id", "symbol", "side")
SUMS = ("transfers", "fees", "funding", "gross", "equity")

def valid(records, need):
    """Valid records: of their source's latest fence's epoch, next in sequence; outside events."""
    parsed, skipped, heads, home, ids, broken = [], set(), {}, {}, set(), set()
    for *at, raw in sorted(records, key=lambda r: r[:3]):
        try:
            e = json.loads(raw)
            parsed.append((tuple(at), e, e["type"].rpartition(".v")[0], e["data"].get("items", ())))
            if e["type"] == "source.skipped.v1":
                skipped.add(tuple(e["data"][k] for k in ("topic", "partition", "offset")))
        except (ValueError, TypeError, KeyError, AttributeError):
            parsed.append((tuple(at), None, "", ()))
    for at, e, kind, items in parsed:
        if at in skipped or at[:2] in broken or not need(e, at, "no event, no source skipped it"):
            continue
        place, epoch, number = (at[:2], e.get("source")), e.get("epoch"), e.get("sequence", 0)
        need(epoch is not None or not kind.startswith(OWN), at, f"{kind} of no source")
        if epoch is not None:
            current, last = heads.get(place, (0, 0))
            if kind == "source.fenced":
                heads[place] = (max(epoch, current), last)
                continue
            if epoch < current or (epoch == current and number <= last):
                continue  # a zombie's, or seen before
            heads[place] = (epoch, number)
            if not need((epoch, number) == (current, last + 1), at, f"{number} follows {last}"):
                broken.add(at[:2])
                continue
            once = home.setdefault(place[1], place) == place and e["id"] not in ids
            need(once, at, f"record id {e['id']} twice, or its source writes two partitions")
        name, twice = e.get("partitionkey") or e["subject"].split("/")[0], e.get("id") in ids
        ids.add(e.get("id") or at)
        yield SimpleNamespace(e=e, at=at, kind=kind, name=name, items=() if twice else items)

def fold(a, upto, orders, need):
    """Fold results below offset `upto`; `open` is symbol -> (quantity, id of the opening fill)."""
    while a.queue and a.queue[0][0] < upto:
        i = a.queue.popleft()[1]
        of, kind, symbol = i.get("order_id"), i["kind"], i.get("symbol")
        owner, order, _ = orders.get(of, (None, {}, None))
        same = owner is a and all(i.get(k, order[k]) == order[k] for k in TERMS)
        need((same and of not in a.ends) or not of, i["id"], f"{kind} of no open order: {of}")
        need(i["id"] not in a.items, i["id"], "result told twice")
        a.items |= {i["id"], of if kind == "accepted" else ""}
        held, trade = a.open.get(symbol, (0, i["id"]))
        if kind == "filled":
            signed = Decimal(i["quantity"]) * (1 if i["side"] == "BUY" else -1)
            a.filled[of] += abs(signed)
            fits = not same or order["close_position"] or a.filled[of] <= Decimal(order["quantity"])
            reduces = held * signed < 0 and abs(signed) <= abs(held)
            need(fits and (reduces or not order.get("reduce_only")), i["id"], "filled too much")
            a.open[symbol], a.trades[trade] = (held + signed, trade), symbol
            a.sums.update(cash=-signed * Decimal(i["price"]), fees=Decimal(i["fee"]))
            if held + signed == 0:
                del a.open[symbol]
        elif kind == "funded":
            paid = -held * Decimal(i["mark"]) * Decimal(i["rate"])
            need(Decimal(i["amount"]) == paid, i["id"], f"funding is {paid}")
        elif kind == "ended":
            need(Decimal(i["filled_quantity"]) == a.filled[of], of, f"filled {a.filled[of]}")
            a.ends.add(of)
        a.sums[kind] += Decimal(i.get("amount", 1))
        a.told = a.told and kind not in ("filled", "funded", "transferred")

def terms(r, i):
    return r.name, i["symbol"], i["side"]

def equity(a, marks):
    """SUMS at `marks`: equity is transfers - sum of q p - fees + funding + sum of q m."""
    worth = [q * Decimal(marks.get(symbol, 0)) for symbol, (q, _) in a.open.items()]
    money, cash, fees, funding = (a.sums[k] for k in ("transferred", "cash", "fees", "funded"))
    return money, fees, funding, sum(map(abs, worth)), money + cash - fees + funding + sum(worth)

def check(records: Any) -> Any:
    """Figures and violations of a log of (topic, partition, offset, bytes), in any order."""
    with localcontext(prec=60):
        return judged(records)

def judged(records):  # noqa: C901
    bad, by, orders, parts, verdicts, marks, used = [], defaultdict(list), {}, {}, {}, {}, Counter()
    accounts = defaultdict(lambda: SimpleNamespace(
        open={}, trades={}, ends=set(), items=set(), queue=deque(), control=[(-1, False)],
        told=True, sums=Counter(), filled=Counter(), stops=True, covered=set()))  # fmt: skip
    def need(ok, what, why):
        return bool(ok) or bad.append(f"{what}: {why}")
    def calm(r, a):
        return not [on for at, on in a.control if at < r.e["basis"]["control/0"]][-1]
    for r in valid(records, need):
        used["events"] += not r.kind.startswith(("source.", "worker."))
        for i in r.items:
            by[r.kind].append((r, i, accounts[i.get("account", r.name)]))
            if "policy" in i:
                a, policy = accounts[i["account"]], i["policy"]
                a.control.append((r.at[2], policy["emergency_mode"]))
                a.stops, a.sums[r.kind] = policy["stops_required"], a.sums[r.kind] + 1
            elif i.get("kind") == "order":
                once = not used[i["client_order_id"]] and i["id"] not in orders
                need(once, i["id"], "ordered twice")
                orders[i["id"]], used[i["client_order_id"]] = (accounts[r.name], i, r), 1
            elif r.kind == "trade.execution.reported":
                accounts[r.name].queue.append((r.at[2], i))
            elif r.kind in ("trade.signal.published", "trade.intent.published"):
                parts[i.get("id", terms(r, i))] = (terms(r, i), r)  # made by hand: without id
        if r.kind == "source.halted":
            verdicts[r.e["data"]["cause_id"]] = ((), {})
    prices = deque(by["market.prices.observed"])
    updates = sorted(by["trade.position.updated"], key=lambda u: u[0].e["basis"]["market/0"])
    for r, i, a in [*updates, *((None, {}, a) for a in accounts.values())]:
        while prices and (r is None or prices[0][0].at[2] < r.e["basis"]["market/0"]):
            price = prices.popleft()[1]
            marks[price["symbol"]] = price.get("mark", price["last"])
        fold(a, r.e["basis"][f"trade.execution.res/{r.at[1]}"] if r else float("inf"), orders, need)
        if i.get("kind") == "position":
            held = a.open.get(i["symbol"], (0,))[0]
            need(Decimal(i["quantity"]) == held, i["id"], f"position is {held}")
        elif i.get("kind") == "equity":
            a.told, right = True, equity(a, i["marks"])
            need(tuple(Decimal(i[k]) for k in SUMS) == right, i["id"], f"{SUMS} are {right}")
            known = {s: marks.get(s, i["marks"].get(s)) for s in a.open}
            need(i["marks"] == known, i["id"], f"marks are {known}")
    for r, i, a in by["trade.signal.judged"]:
        of = i["request_id"] if i["request_id"] in parts else terms(r, i)
        need(of in parts and parts[of][0] == terms(r, i), i["id"], "answers no request")
        need(of not in verdicts or of == terms(r, i), i["id"], "answers a second time")
        entry = i["verdict"] == "approved" and i["kind"] == "entry"
        need(not entry or calm(r, a), i["id"], "approved in an emergency")
        verdicts[of] = verdicts[i["id"]] = (terms(r, i), i)
        a.sums[i.get("reason", "approved")] += 1
    for of, (_, r) in parts.items():
        need(of in verdicts or r.e.get("id") in verdicts, of, "has no verdict")
    for of, (a, i, r) in orders.items():
        way = {"entry": "entry", "exit_signal": "exit"}.get(i["purpose"])
        a.sums["orders"] += 1
        if way:
            approved, v = verdicts.get(i.get("request_id"), ((), {}))
            used[v.get("id")] += Decimal(i["quantity"])
            right = approved == terms(r, i) and v["kind"] == way and v.get("plan")
            need(right and used[v["id"]] <= Decimal(v["plan"]["quantity"]), of, "not approved so")
            need(way == "exit" or calm(r, a), of, "ordered in an emergency")
        if way != "entry":
            owned = i["reduce_only"] and a.trades.get(i.get("owner_id")) == i["symbol"]
            need(owned, of, "protects or closes no position")
        rests = of in a.items and of not in a.ends and i["order_type"] != "MARKET"
        need(rests or of in a.ends, of, "neither ends nor rests")
        a.covered |= {i.get("owner_id")} if rests and i["purpose"] == "stop" else set()
    for name, a in accounts.items():
        need(a.told, name, "results that no equity tells")
        for symbol, (quantity, trade) in a.open.items():
            need(trade in a.covered or not a.stops, name, f"no stop rests for {quantity} {symbol}")
    return {"signals": len(by["trade.signal.published"]), "events": used["events"], "accounts": {
        name: {
            "approved": a.sums["approved"], "orders": a.sums["orders"],
            "fills": int(a.sums["filled"]),
            "rejected": {reason: n for reason, n in sorted(a.sums.items()) if reason.isupper()},
            "emergencies": a.sums["emergency.activated"], "open_positions": len(a.open),
            "equity": f"{equity(a, marks)[-1].normalize():f}",
        } for name, a in sorted(accounts.items()) if a.sums}}, bad  # fmt: skip

def read(bootstrap):
    """Every record of the topics of events, from their starts to their ends now."""
    quiet = {"bootstrap.servers": bootstrap, "group.id": "checker", "enable.auto.commit": False}
    consumer = Consumer(quiet | {"enable.partition.eof": True, "auto.offset.reset": "earliest"})
    known = [t for n, t in consumer.list_topics(timeout=10).topics.items() if n.startswith(TOPICS)]
    places = [TopicPartition(topic.topic, p, 0) for topic in known for p in topic.partitions]
    consumer.assign(places)
    left = {(place.topic, place.partition) for place in places}
    while left and (batch := consumer.consume(500, 10)):
        told = [m for m in batch if not m.error()]
        yield from ((m.topic(), m.partition(), m.offset(), m.value()) for m in told)
        ends = [m for m in batch if m.error() and m.error().code() == KafkaError._PARTITION_EOF]
        left -= {(m.topic(), m.partition()) for m in ends}
    if left or not places:
        sys.exit(f"not read to the end, or no topics there: {sorted(left)}")

if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(f"{__doc__}\nBOOTSTRAP is host:port of a broker.", file=sys.stderr)
        sys.exit(2)
    found, violations = check(read(sys.argv[1]))
    print(json.dumps(found | {"violations": violations}, indent=1))
    sys.exit(1 if violations else 0)
