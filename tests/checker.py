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

OWN = ("trade.signal.judged", "trade.order.", "trade.pos", "venue.rep", "policy.", "emergency.")
TOPICS = ("control", "market", "clock", "commands.", "trade.", "venue.")
APPROVED_AS = {"entry": "entry", "exit_signal": "exit"}  # purpose of an order: kind of its verdict
MONEY = ("transfers", "fees", "funding", "gross", "equity")


def valid(records, need):
    """Valid records: of their source's latest fence's epoch, next in sequence; outside events."""
    parsed, skipped, heads, seen = [], set(), {}, set()
    for *at, raw in sorted(records, key=lambda r: r[:3]):
        try:
            e = json.loads(raw)
            parsed.append((tuple(at), e, e["type"].removesuffix(".v1")))
            if e["type"] == "source.skipped.v1":
                skipped.add(tuple(e["data"][k] for k in ("topic", "partition", "offset")))
        except (ValueError, TypeError, KeyError):
            parsed.append((tuple(at), None, ""))
    for at, e, kind in parsed:
        if at in skipped or not need(e, at, "no event, no source skipped it"):
            continue
        place, epoch, number = (at[:2], e["source"]), e.get("epoch"), e.get("sequence", 0)
        need(epoch is not None or not kind.startswith(OWN), at, f"{kind} of no source")
        if epoch is not None:
            current, last = heads.get(place, (0, 0))
            if kind == "source.fenced":
                heads[place] = (max(epoch, current), last)
                continue
            if epoch < current or (epoch == current and number <= last):
                continue  # a zombie's, or seen before
            heads[place] = (epoch, number)
            need((epoch, number) == (current, last + 1), at, f"{number} follows {last}")
            need(e["id"] not in seen, at, f"record id {e['id']} twice")
        items = () if e["id"] in seen else e["data"].get("items", ())  # people may send twice
        seen.add(e["id"])
        name = e.get("partitionkey") or e["subject"].split("/")[0]
        yield SimpleNamespace(id=e["id"], offset=at[2], kind=kind, name=name, items=items, e=e)


class Account:
    """One account: its orders, and the fold of its execution results."""

    def __init__(self):
        self.orders, self.results, self.accepted, self.ended = {}, deque(), set(), set()
        self.n, self.sums, self.filled, self.open = (Counter() for _ in range(4))
        self.modes, self.stops_required = [(-1, False)], True

    def calm(self, r):
        """Whether a decision knew of no emergency."""
        return not [on for at, on in self.modes if at < r.e["basis"]["control/0"]][-1]

    def fold(self, upto, need):
        """Fold the results below offset `upto`."""
        while self.results and self.results[0][0] < upto:
            i = self.results.popleft()[1]
            of, kind, order = i.get("order_id"), i["kind"], self.orders.get(i.get("order_id"))
            same = order and all(i.get(k, order[k]) == order[k] for k in ("symbol", "side"))
            need(not of or (same and of not in self.ended), i["id"], f"{kind} of no open order")
            self.n[kind] += 1
            if kind == "filled":
                quantity, signed = Decimal(i["quantity"]), Decimal(i["quantity"])
                signed = quantity if i["side"] == "BUY" else -quantity
                self.sums.update(cash=-signed * Decimal(i["price"]), fees=Decimal(i["fee"]))
                self.open[i["symbol"]] += signed
                self.filled[of] += quantity
                fits = not same or self.filled[of] <= Decimal(order["quantity"])
                need(fits or order["close_position"], i["id"], "filled more than ordered")
            elif kind == "ended":
                need(Decimal(i["filled_quantity"]) == self.filled[of], of, "filled otherwise")
                self.ended.add(of)
            elif kind == "accepted":
                self.accepted.add(of)
            self.sums[kind] += Decimal(i.get("amount", 0))  # transferred, funded

    def money(self, marks):
        """MONEY at these marks: equity is transfers - sum of q p - fees + funding + sum of q m."""
        worth = [q * Decimal(marks.get(symbol, 0)) for symbol, q in self.open.items() if q]
        paid_in, cash, fees, funding = map(self.sums.get, ("transferred", "cash", "fees", "funded"))
        return paid_in, fees, funding, sum(map(abs, worth)), paid_in + cash - fees + funding + sum(worth)


def check(records: Any) -> Any:
    with localcontext(prec=60):
        return judged(records)
