"""What happens in a week at the demo plant, drawn from a seed: 54 orders, and what people and the ERP do with them.

The plan says when something is meant to happen, and to what kind of order; which order that is, is seen when its time
has come (``week_run.py``).
"""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.core.model import Operation, ProductionOrder
from gateway.core.orders import order_image_fields

S = 1_000_000_000
MIN = 60 * S
HOUR = 60 * MIN
BERLIN = ZoneInfo("Europe/Berlin")
#: The Monday of each week, whose Sunday is the one on which the clocks change, and how long the week is.
WEEKS = {"spring": (dt.date(2027, 3, 22), 167), "autumn": (dt.date(2026, 10, 19), 169)}
#: Machine: its work center, product, pieces of a cycle, and how many pieces an order asks for (a multiple of a cycle).
PRODUCTS = {
    "ASM-01": ("WC-ASM", "ASSY-D20", 1, 2200),
    "TST-01": ("WC-TST", "ASSY-D20T", 1, 2200),
    "IMM-01": ("WC-IMM", "CAP-8", 8, 8000),
    "FIL-02": ("WC-FIL", "BOTTLE-05", 1, 2600),
    "PCK-01": ("WC-PCK", "CASE-24", 24, 24000),
    "HND-01": ("WC-HND", "SET-2", 1, 600),
    "PRS-01": ("WC-PRS", "PLATE-3", 1, 120),
}
#: Machine: the one on whose orders it works, too.
LEADS = {"PRS-02": "PRS-01"}
COMPONENTS = {
    "ASM-01": (("RING-20", "1", True), ("GREASE", "0.0025", False)),
    "TST-01": (("LABEL", "1", False),),
    "IMM-01": (("PP-BLUE", "0.0124", True),),
    "FIL-02": (("SYRUP", "0.05", True), ("CAP-8", "1", False)),
    "PCK-01": (("BOX", "0.041666", False),),
    "HND-01": (("BOTTLE-05", "2", False), ("BOX", "1", False)),
    "PRS-01": (("SHEET", "0.25", True),),
}
#: Machine: the feeder whose lots are followed, and what belongs there.
FEEDERS = {"ASM-01": ("bowl", "RING-20"), "IMM-01": ("hopper", "PP-BLUE"), "FIL-02": ("tank", "SYRUP")}
FEEDERS["PRS-01"] = ("stack", "SHEET")
#: Where people count, and say so: what the machine counts there are cycles.
PEOPLE_COUNT = frozenset({"HND-01"})
NORMAL, RUSH, LATE, WITHDRAWN = "normal", "rush", "late", "withdrawn"
#: What is asked for on each machine, in the order of its numbers.
KINDS = (NORMAL, NORMAL, WITHDRAWN, NORMAL, LATE, RUSH, NORMAL, NORMAL)
#: The same of what two machines make together: the kind of each order, and the day on which it is released.
TOGETHER = ((NORMAL, 0), (NORMAL, 0), (WITHDRAWN, 1), (RUSH, 1.5), (NORMAL, 2.5), (NORMAL, 5.4))

#: The day on which each is released, by its number; the rush order on any.
DAYS = {0: 0, 1: 0, 2: 3, 3: 0.3, 4: 0, 6: 0.4, 7: 5.6}
#: Days between the machines' orders that the ERP takes back: something is made on each day.
APART = {2: 0.6}
#: Orders are split and merged while several of them wait.
EARLY_HOURS = 14


class Wanted(NamedTuple):
    """One order of the plan: when the ERP releases it, and what kind it is."""

    at_ns: int
    machine: str
    kind: str
    number: str
    quantity: int


class Deed(NamedTuple):
    """Something that somebody does at a machine, or the ERP says of one of its orders, from then on."""

    at_ns: int
    machine: str
    what: str
    number: int


class Plan(NamedTuple):
    """The week: times in nanoseconds UTC; ``ticks`` are the instants at which people look."""

    season: str
    from_ns: int
    to_ns: int
    hours: int
    orders: tuple[Wanted, ...]
    deeds: tuple[Deed, ...]
    ticks: tuple[int, ...]


#: How often each happens on a machine in a week.
DEEDS = {
    "scrap": 6,
    "rework": 2,
    "hold": 2,
    "interrupt": 2,
    "more": 2,
    "less": 1,
    "setup": 2,
    "reason": 3,
    "strays": 1,
    "fault": 3,
    "slip": 2,
    "correct": 3,
    "amend": 2,
    "loss": 4,
    "split": 1,
    "merge": 1,
    "allocate": 1,
    "lot": 4,
}
#: The same where two machines work on one operation: at the lead, where their orders are decided, and at the other one.
DEEDS_TOGETHER = {
    "PRS-01": {
        "scrap": 4,
        "rework": 2,
        "hold": 2,
        "interrupt": 2,
        "more": 2,
        "less": 1,
        "setup": 2,
        "reason": 2,
        "fault": 2,
        "slip": 2,
        "correct": 1,
        "amend": 1,
        "loss": 3,
        "lot": 12,
    },
    "PRS-02": {"setup": 2, "reason": 2, "fault": 3, "loss": 3},
}
#: So often somebody logs in at each machine, for some hours.
LOG_INS = 8
#: How often in a week the gateway gets new software, while some machines go on.
UPDATES = 3
TICK_NS = 10 * MIN


def plan_of_week(season, seed):
    """The plan of one week."""
    dice = random.Random(f"week/{season}/{seed}")
    monday, hours = WEEKS[season]
    from_ns = _utc_ns(dt.datetime.combine(monday, dt.time()))
    to_ns = from_ns + hours * HOUR
    assert _utc_ns(dt.datetime.combine(monday + dt.timedelta(days=7), dt.time())) == to_ns
    orders, deeds = [], []
    for at, (machine, (_, _, cycle, usual)) in enumerate(PRODUCTS.items()):
        if machine in LEADS.values():
            continue
        for number, kind in enumerate(KINDS):
            share = 0.25 if kind in (RUSH, LATE) else dice.uniform(0.7, 1.3)
            quantity = int(usual * share) // cycle * cycle
            # The first ones are there on Monday, the last one is made in the night in which the clocks change.
            day = DAYS.get(number, dice.uniform(1, 6)) + at * APART.get(number, 0)
            at_ns = from_ns + MIN + max(int(day * 24 * HOUR), 0) + dice.randrange(S)
            orders.append(Wanted(at_ns, machine, kind, f"{100240 + 100 * at + number}", quantity))
        for what, times in DEEDS.items():
            if what == "lot" and machine not in FEEDERS:
                continue
            for number in range(times):
                span = EARLY_HOURS if what in ("split", "merge") else hours - 20
                after_ns = (2 * HOUR + int(span * HOUR * (number + dice.random()) / times)) // S * S
                deeds.append(Deed(from_ns + after_ns + dice.randrange(S), machine, what, dice.randrange(1, 10_000)))
    for number in range(UPDATES):
        after_ns = int((hours - 40) * HOUR * (number + dice.random()) / UPDATES) + 8 * HOUR
        deeds.append(Deed(from_ns + after_ns, "", "update", dice.randrange(1, 10_000)))
    together = random.Random(f"together/{season}/{seed}")
    orders += _orders_together(together, from_ns)
    deeds += _deeds_together(together, from_ns, hours)
    people = random.Random(f"people/{season}/{seed}")
    for machine in (*PRODUCTS, *LEADS):
        for number in range(LOG_INS):
            after_ns = int((hours - 12) * HOUR * (number + people.random()) / LOG_INS) // S * S
            deeds.append(Deed(from_ns + after_ns, machine, "present", people.randrange(1, 10_000)))
    ticks = [from_ns + at * TICK_NS + dice.randrange(TICK_NS - MIN) for at in range(hours * HOUR // TICK_NS)]
    return Plan(season, from_ns, to_ns, hours, tuple(sorted(orders)), tuple(sorted(deeds)), (*ticks, to_ns))


def _orders_together(dice, from_ns):
    """What two machines make together."""
    (machine,) = LEADS.values()
    usual, first = PRODUCTS[machine][3], 100240 + 100 * list(PRODUCTS).index(machine)
    for number, (kind, day) in enumerate(TOGETHER):
        quantity = int(usual * (0.25 if kind == RUSH else dice.uniform(0.8, 1.2)))
        at_ns = from_ns + MIN + int(day * 24 * HOUR) + dice.randrange(S)
        yield Wanted(at_ns, machine, kind, f"{first + number}", quantity)


def _deeds_together(dice, from_ns, hours):
    for machine, deeds in DEEDS_TOGETHER.items():
        for what, times in deeds.items():
            for number in range(times):
                after_ns = (2 * HOUR + int((hours - 20) * HOUR * (number + dice.random()) / times)) // S * S
                yield Deed(from_ns + after_ns + dice.randrange(S), machine, what, dice.randrange(1, 10_000))


def released(wanted, *, revision=1, quantity=None, **over):
    """The order as the ERP says it."""
    work_center, product, _, _ = PRODUCTS[wanted.machine]
    number = str(quantity or wanted.quantity)
    document = {
        "order_id": wanted.number,
        "revision": revision,
        "qty": number,
        "product": {"id": product, "revision": "A", "uom": "PC"},
        "operations": [{"op": "0010", "work_center": work_center, "qty": number}],
        "components": [
            {"item": item, "qty_per": per, "uom": "PC", "op": "0010", "lot_required": lot}
            for item, per, lot in COMPONENTS[wanted.machine]
        ],
        "under_tolerance_pct": "5",
        "over_tolerance_pct": "10",
        "sequence_no": int(wanted.number),
        **over,
    }
    image = order_image_fields.read(document, "erp")
    assert not hasattr(image, "errors"), image
    return ProductionOrder(
        order=wanted.number,
        revision=revision,
        product=product,
        product_revision="A",
        quantity=Decimal(number),
        operations=(Operation(operation="0010", work_center=work_center, quantity=Decimal(number)),),
        sequence_no=int(wanted.number),
        cancelled=bool(over.get("cancelled")),
        image=image,
    )


def _utc_ns(local):
    return int(local.replace(tzinfo=BERLIN).timestamp()) * S
