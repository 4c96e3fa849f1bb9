"""The independent checker: recomputes a run from its topics alone, with no code of ours.
``python tests/checker.py BOOTSTRAP`` prints figures as JSON, and what breaks a rule (then exit 1):
DESIGN.md "The record" and "Tests". For a system that is quiet."""
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
import json
import sys
from collections import Counter, defaultdict, deque
from decimal import Decimal, localcontext
from types import SimpleNamespace
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

TOPICS = ("control", "market", "clock", "commands.", "trade.", "venue.")
APPROVED_AS = {"entry": "entry", "exit_signal": "exit"}  # purpose of an order: kind of its verdict
MONEY = ("transfers", "fees", "funding", "gross", "equity")

def valid(records, need):
    """Valid records: of their source's latest fence's epoch, next in sequence; outside events."""
    parsed, skipped, heads, seen = [], set(), {}, set()
    for *at, raw in sorted(records, key=lambda r: r[:3]):
        try:
            e = json.loads(raw)
            parsed.append((tuple(at), e, e["type"].removesuffix(".v1"), e["id"]))
            if e["type"] == "source.skipped.v1":
                skipped.add(tuple(e["data"][k] for k in ("topic", "partition", "offset")))
        except (ValueError, TypeError, KeyError):
            parsed.append((tuple(at), None, "", ""))
    for at, e, kind, name in parsed:
        if at in skipped or not need(e, at, "no event, no source skipped it"):
            continue
        place, epoch, number = (at[:2], e["source"]), e.get("epoch"), e.get("sequence", 0)
        if epoch is not None:
            current, last = heads.get(place, (0, 0))
            if kind == "source.fenced":
                heads[place] = (max(epoch, current), last)
                continue
            if epoch < current or (epoch == current and number <= last):
                continue  # a zombie's, or seen before
            heads[place] = (epoch, number)
            need((epoch, number) == (current, last + 1), at, f"{number} follows {last}")
            need(name not in seen, at, f"record id {name} twice")
        items = () if name in seen else e["data"].get("items", ())  # people may send twice
        seen.add(name)
        of = e.get("partitionkey") or e["subject"].split("/")[0]
        yield SimpleNamespace(e=e, id=name, offset=at[2], kind=kind, of=of, items=items)

class Account:
    """One account: its orders, what became of them, and its money."""
    def __init__(self):
        self.orders, self.results, self.accepted, self.ended = {}, deque(), set(), set()
        self.n, self.sums, self.filled, self.open = (Counter() for _ in range(4))
        self.modes, self.stops = [(-1, False)], True

    def calm(self, r):
        return not [on for at, on in self.modes if at < r.e["basis"]["control/0"]][-1]

    def fold(self, upto, need):
        """Fold the results below offset `upto`."""
        while self.results and self.results[0][0] < upto:
            i = self.results.popleft()[1]
            of, kind, order = i.get("order_id"), i["kind"], self.orders.get(i.get("order_id"))
            same = order and all(i.get(k, order[k]) == order[k] for k in ("symbol", "side"))
            need(not of or (same and of not in self.ended), i["id"], f"{kind} of no open order")
            self.n[kind] += 1
            self.sums[kind] += Decimal(i.get("amount", 0))  # transferred, funded
            if kind == "filled":
                signed = Decimal(i["quantity"]) * (1 if i["side"] == "BUY" else -1)
                self.sums.update(cash=-signed * Decimal(i["price"]), fees=Decimal(i["fee"]))
                self.open[i["symbol"]] += signed
                self.filled[of] += abs(signed)
                fits = not same or self.filled[of] <= Decimal(order["quantity"])
                need(fits or order["close_position"], i["id"], "filled too much")
            elif kind == "ended":
                need(Decimal(i["filled_quantity"]) == self.filled[of], of, "filled otherwise")
            {"accepted": self.accepted, "ended": self.ended}.get(kind, set()).add(of)

    def money(self, marks):
        """MONEY at these marks; a quantity counts with its sign."""
        worth = [q * Decimal(marks.get(symbol, 0)) for symbol, q in self.open.items() if q]
        own, cash, fees, funding = (self.sums[k] for k in ("transferred", "cash", "fees", "funded"))
        return own, fees, funding, sum(map(abs, worth)), own + cash - fees + funding + sum(worth)

def check(records: Any) -> Any:
    """Figures and violations of a log of (topic, partition, offset, bytes), in any order."""
    with localcontext(prec=60):
        return judged(records)

def judged(records):  # noqa: C901
    bad, by, accounts, marks, used = [], defaultdict(list), defaultdict(Account), {}, Counter()
    def need(ok, what, why):
        return bool(ok) or bad.append(f"{what}: {why}")
    for r in valid(records, need):
        used["events"] += not r.kind.startswith(("source.", "worker."))
        for i in [r.e["data"]] if r.kind == "source.halted" else r.items:
            a, terms = accounts[i.get("account", r.of)], (r.of, i.get("symbol"), i.get("side"))
            by[r.kind].append((r, i, a, terms))
            if "policy" in i:
                a.modes.append((r.offset, i["policy"]["emergency_mode"]))
                a.stops, a.n[r.kind] = i["policy"]["stops_required"], a.n[r.kind] + 1
            elif r.kind == "trade.execution.reported":
                a.results.append((r.offset, i))
            elif r.kind == "market.prices.observed":
                marks[i["symbol"]] = i.get("mark", i["last"])
    signals, answered, verdicts = by["trade.signal.published"], set(), {}
    asked = {i["id"]: (r, terms) for r, i, _, terms in signals + by["trade.intent.published"]}
    for r, i, a, terms in by["trade.signal.judged"]:
        of, verdicts[i["id"]] = i["request_id"], (i, terms)
        need(of in asked and asked[of][1] == terms, i["id"], "answers no request")
        need(of not in answered, i["id"], "answers a second time")
        need(i["verdict"] != "approved" or i["kind"] != "entry" or a.calm(r), of, "in an emergency")
        answered.add(of)
        a.n[i.get("reason", "approved")] += 1
    answered |= {i["cause_id"] for _, i, *_ in by["source.halted"]}
    for of, (r, _) in asked.items():
        need({of, r.id} & answered, of, "has no verdict")
    for _, i, a, terms in (order for order in by["trade.order.decided"] if "purpose" in order[1]):
        need(not used[i["id"]] and not used[i["client_order_id"]], i["id"], "ordered twice")
        used.update((i["id"], i["client_order_id"]))
        a.orders[i["id"]], a.n["orders"] = i, a.n["orders"] + 1
        v, approved = verdicts.get(i.get("request_id"), ({}, ()))
        used[v.get("id")] += Decimal(i["quantity"])
        fits = v.get("plan") and used[v["id"]] <= Decimal(v["plan"]["quantity"])
        right = fits and approved == terms and v["kind"] == APPROVED_AS.get(i["purpose"])
        need(right or i["purpose"] not in APPROVED_AS, i["id"], "not approved so")
        need(right or i["reduce_only"], i["id"], "neither approved nor reduce-only")
    for r, i, a, _ in by["trade.position.updated"]:
        a.fold(*(n for k, n in r.e["basis"].items() if k.startswith("trade.execution.res")), need)
        if i["kind"] == "position":
            need(Decimal(i["quantity"]) == a.open[i["symbol"]], i["id"], "position is another")
        elif i["kind"] == "equity":
            told, right = tuple(Decimal(i[k]) for k in MONEY), a.money(i["marks"])
            need(told == right, i["id"], f"{MONEY} are {right}")
    for name, a in accounts.items():
        a.fold(float("inf"), need)
        rests = [i for of, i in a.orders.items() if of in a.accepted - a.ended]
        for of in a.orders.keys() - a.ended - {i["id"] for i in rests if i["order_type"] != "MARKET"}:
            need(False, of, "neither ends nor rests")
        stops = {(i["symbol"], i["side"]) for i in rests if i["purpose"] == "stop"}
        for symbol, q in a.open.items():
            safe = not q or not a.stops or (symbol, "SELL" if q > 0 else "BUY") in stops
            need(safe, name, f"no stop rests for {q} {symbol}")
    return {"signals": len(signals), "events": used["events"], "accounts": {
        name: {
            "approved": a.n["approved"], "orders": a.n["orders"], "fills": a.n["filled"],
            "rejected": {reason: n for reason, n in sorted(a.n.items()) if reason.isupper()},
            "emergencies": a.n["emergency.activated"],
            "open_positions": sum(map(bool, a.open.values())),
            "equity": f"{a.money(marks)[-1].normalize():f}",
        } for name, a in sorted(accounts.items()) if a.n}}, bad

def read(bootstrap):
    """Every record of the topics of events, from their starts to their ends now."""
    quiet = {"bootstrap.servers": bootstrap, "group.id": "checker", "enable.auto.commit": False}
    consumer = Consumer(quiet | {"enable.partition.eof": True, "auto.offset.reset": "earliest"})
    topics = consumer.list_topics(timeout=10).topics.items()
    left = {(n, p) for n, t in topics if n.startswith(TOPICS) for p in t.partitions}
    consumer.assign([TopicPartition(*place, 0) for place in left])
    while left:
        for m in consumer.consume(500, 10) or sys.exit(f"not read to the end: {sorted(left)}"):
            if not m.error():
                yield m.topic(), m.partition(), m.offset(), m.value()
            elif m.error().code() == KafkaError._PARTITION_EOF:
                left.remove((m.topic(), m.partition()))

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}\nBOOTSTRAP is host:port of a broker.")
    found, violations = check(read(sys.argv[1]))
    print(json.dumps(found | {"violations": violations}, indent=1))
    sys.exit(1 if violations else 0)
