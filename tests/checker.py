# mypy: ignore-errors
# fmt: off
"""The independent checker: recomputes a run from its topics alone, with no code of ours.
``python tests/checker.py BOOTSTRAP`` prints figures and broken rules (exit 1) of a quiet system."""
import json
import sys
from collections import Counter, defaultdict, deque
from decimal import Decimal, localcontext

from confluent_kafka import Consumer, KafkaError, TopicPartition

TOPICS = ("control", "market", "clock", "commands.", "trade.", "venue.")
WAYS = {"entry": "entry", "exit_signal": "exit"}  # purpose of an order: kind of its verdict
MONEY = ("transfers", "fees", "funding", "gross", "equity")

def valid(records, need):
    """Valid records: of their source's latest fence's epoch, next in sequence; outside events."""
    parsed, skipped, heads, seen = [], set(), {}, set()
    for *at, raw in sorted(records, key=lambda r: r[:3]):
        try:
            e = json.loads(raw)
            parsed.append((tuple(at), e, e["type"].rpartition(".v")[0], e["id"]))
            if e["type"] == "source.skipped.v1":
                skipped.add(tuple(e["data"][k] for k in ("topic", "partition", "offset")))
        except (ValueError, TypeError, KeyError):
            parsed.append((tuple(at), None, "", ""))
    for at, e, kind, name in parsed:
        if at in skipped or not need(e, at, "no event, no source skipped it"):
            continue
        place, epoch, number = (at[:2], e["source"]), e.get("epoch"), e.get("sequence", 0)
        if epoch is not None:
            (current, last), fence = heads.get(place, (0, 0)), kind == "source.fenced"
            if fence or (epoch, number) <= (current, last):  # or a zombie's, or seen before
                heads[place] = (max(epoch, current) if fence else current, last)
                continue
            heads[place] = (epoch, number)
            need((epoch, number) == (current, last + 1), at, f"{number} follows {last}")
            need(name not in seen, at, f"record id {name} twice")
        items = () if name in seen else e["data"].get("items", ())  # people may send twice
        seen.add(name)
        yield {"partitionkey": e["subject"], **e, "offset": at[2], "kind": kind, "items": items}

class Account:  # its orders, and the fold of its execution results
    def __init__(self):
        self.orders, self.results, self.policies, self.told = {}, deque(), [], defaultdict(set)
        self.n, self.filled, self.open = Counter(), Counter(), Counter()
    def fold(self, upto, need):
        while self.results and self.results[0][0] < upto:
            i = self.results.popleft()[1]
            of, kind, order = i.get("order_id"), i["kind"], self.orders.get(i.get("order_id"))
            same = order and all(i.get(k, order[k]) == order[k] for k in ("symbol", "side"))
            need(not of or (same and of not in self.told["ended"]), i["id"], "of no open order")
            self.n[kind] += Decimal(i.get("amount", 0))  # transferred, funded
            if kind == "filled":
                signed = Decimal(i["quantity"]) * (1 if i["side"] == "BUY" else -1)
                self.n.update(fills=1, fees=Decimal(i["fee"]), cash=-signed * Decimal(i["price"]))
                self.open[i["symbol"]] += signed
                self.filled[of] += abs(signed)
            most = Decimal(order["quantity"] if order and not order["close_position"] else "inf")
            right = Decimal(i.get("filled_quantity", self.filled[of])) == self.filled[of]
            need(right and self.filled[of] <= most, i["id"], f"filled {self.filled[of]}")
            self.told[kind].add(of)
    def money(self, marks):
        worth = [q * Decimal(marks.get(symbol, 0)) for symbol, q in self.open.items() if q]
        own, cash, fees, funding = (self.n[k] for k in ("transferred", "cash", "fees", "funded"))
        return own, fees, funding, sum(map(abs, worth)), own + cash - fees + funding + sum(worth)

def check(records: object) -> tuple[dict, list]:  # noqa: C901
    """Figures and violations of a log of (topic, partition, offset, bytes), in any order."""
    bad, by, accounts, used = [], defaultdict(list), defaultdict(Account), Counter()
    def need(ok, what, why):
        return bool(ok) or bad.append(f"{what}: {why}")
    for r in valid(records, need):
        used["events"] += not r["kind"].startswith(("source.", "worker."))
        for i in [r["data"]] if r["kind"] == "source.halted" else r["items"]:
            a = accounts[name := i.get("account", r["partitionkey"])]
            by[r["kind"]].append((r, i, a, (name, i.get("symbol"), i.get("side"))))
            if "policy" in i:
                a.policies.append((r["offset"], i["policy"]))
                a.n["emergencies"] += r["kind"] == "emergency.activated"
            elif r["kind"] == "trade.execution.reported":
                a.results.append((r["offset"], i))
    signals, answered, verdicts, figures = by["trade.signal.published"], set(), {}, {}
    marks = {i["symbol"]: i.get("mark", i["last"]) for _, i, *_ in by["market.prices.observed"]}
    asked = {i["id"]: (r, terms) for r, i, _, terms in signals + by["trade.intent.published"]}
    for r, i, a, terms in by["trade.signal.judged"]:
        of, verdicts[i["id"]] = i["request_id"], (i, terms)
        need(asked.get(of, "  ")[1] == terms and of not in answered, of, "no open request")
        calm = [not p["emergency_mode"] for at, p in a.policies if at < r["basis"]["control/0"]]
        entry = i["verdict"] == "approved" and i["kind"] == "entry"
        need(not entry or calm[-1:] == [True], of, "approved in an emergency")
        answered.add(of)
        a.n[i.get("reason", "approved")] += 1
    answered |= {i["cause_id"] for _, i, *_ in by["source.halted"]}
    for of, (r, _) in asked.items():
        need({of, r["id"]} & answered, of, "has no verdict")
    for _, i, a, terms in (order for order in by["trade.order.decided"] if "purpose" in order[1]):
        of, a.orders[i["id"]], way = i["id"], i, WAYS.get(i["purpose"])
        need(not used[of] and not used[i["client_order_id"]], of, "ordered twice")
        used.update((of, i["client_order_id"]))
        v, approved = verdicts.get(i.get("request_id"), ({}, ()))
        used[v.get("id")] += Decimal(i["quantity"])
        fits = v.get("plan") and used[v["id"]] <= Decimal(v["plan"]["quantity"])
        right = fits and approved == terms and v["kind"] == way
        need(right or (not way and i["reduce_only"]), of, "not approved so")
    with localcontext(prec=60):
        for r, i, a, _ in by["trade.position.updated"]:
            a.fold(*(n for k, n in r["basis"].items() if k.startswith("trade.execution.")), need)
            if i["kind"] == "position":
                need(Decimal(i["quantity"]) == a.open[i["symbol"]], i["id"], "position is another")
            elif i["kind"] == "equity":
                right = a.money(i["marks"])
                need(tuple(Decimal(i[k]) for k in MONEY) == right, i["id"], f"{MONEY} are {right}")
        for name, a in sorted(accounts.items()):
            a.fold(float("inf"), need)
            rests = {of: i for of, i in a.orders.items() if of not in a.told["ended"]}
            for of, i in rests.items():
                need(of in a.told["accepted"] and i["order_type"] != "MARKET", of, "has no end")
            stops = {(i["symbol"], i["side"]) for i in rests.values() if i["purpose"] == "stop"}
            held = {(symbol, "SELL" if q > 0 else "BUY") for symbol, q in a.open.items() if q}
            bare = held - stops if all(p["stops_required"] for _, p in a.policies[-1:]) else ()
            need(not bare, name, f"no stop rests: {bare}")
            if a.policies:
                figures[name] = {k: a.n[k] for k in ("approved", "fills", "emergencies")} | {
                    "rejected": {k: n for k, n in sorted(a.n.items()) if k.isupper()},
                    "orders": len(a.orders), "open_positions": len(held),
                    "equity": f"{Decimal(a.money(marks)[-1]).normalize():f}"}
    return {"signals": len(signals), "events": used["events"], "accounts": figures}, bad

def read(bootstrap: str) -> object:  # every record, from the starts to the ends as of now
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
                left.discard((m.topic(), m.partition()))

if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(f"{__doc__}\nBOOTSTRAP is host:port of a broker.", file=sys.stderr)
        sys.exit(2)
    found, violations = check(read(sys.argv[1]))
    print(json.dumps(found | {"violations": violations}, indent=1))
    sys.exit(1 if violations else 0)
