"""The reconciliation: what the machines made against where every piece is now. Pure arithmetic over four outside views.

made = booked at the ERP + waiting + counted but not yet confirmed + unallocated + under review + unknown

``made`` is the simulators' own ground truth. Unknown may only be pulses that fell while nobody looked: the difference
must lie inside an interval that the gateway itself declared, within the bound it named, and the ground truth must show
so many pieces there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.demo.bookings import not_booked

#: The simulators date a piece a moment before the gateway can see it.
KEY_PARTS: Final = 5  # plant, epoch, order, operation, number
INTERVAL_TOLERANCE_NS: Final = 150_000_000


@dataclass(frozen=True, kw_only=True)
class OrderRow:
    """One operation of one order on one machine; ``booked`` and the rest as [good, scrap]."""

    order: str
    operation: str
    booked: tuple[int, int]
    waiting: tuple[int, int]
    unconfirmed: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class MachineRow:
    """One machine: the sum of its orders and what has no order, against its ground truth."""

    machine: str
    made: tuple[int, int]
    booked: tuple[int, int]
    waiting: tuple[int, int]
    unconfirmed: tuple[int, int]
    unallocated: tuple[int, int]
    review: int
    unknown: int
    unknown_intervals: tuple[dict[str, Any], ...]
    orders: tuple[OrderRow, ...]
    balanced: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """The whole table, and the ERP's own witness: no key twice, no gap in any sequence."""

    machines: tuple[MachineRow, ...]
    duplicate_keys: tuple[str, ...]
    gaps: tuple[str, ...]
    faults: tuple[str, ...] = field(default=())

    @property
    def balanced(self) -> bool:
        """True only if every machine balances and the ERP holds no duplicate and no gap."""
        return all(row.balanced for row in self.machines) and not self.duplicate_keys and not self.gaps

    def to_json(self) -> dict[str, Any]:
        """The table for programs."""
        return {"balanced": self.balanced, **asdict(self)}


def reconcile(
    truth: dict[str, list[dict[str, Any]]],
    ledger: list[dict[str, Any]],
    open_postings: list[dict[str, Any]],
    work_units: list[dict[str, Any]],
    faults: tuple[str, ...] = (),
) -> Reconciliation:
    """Make the table.

    Args:
        truth: pieces by machine, each with t_ns, good, scrap.
        ledger: the ERP's bookings.
        open_postings: the outbox's rows that are not posted, with machine, order, operation, good, scrap.
        work_units: the gateway's status of its machines.
        faults: what was planted.
    """
    booked_keys = [entry["key"] for entry in ledger]
    # A posting whose answer was lost is booked: the ERP says so, whatever the outbox still believes.
    waiting = not_booked(open_postings, ledger)
    machines = tuple(_machine_row(unit, truth.get(unit["id"], []), ledger, waiting) for unit in work_units)
    duplicates = tuple(sorted({key for key in booked_keys if booked_keys.count(key) > 1}))
    return Reconciliation(machines=machines, duplicate_keys=duplicates, gaps=_gaps(ledger), faults=faults)


def _machine_row(
    unit: dict[str, Any], pieces: list[dict[str, Any]], ledger: list[dict[str, Any]], waiting: list[dict[str, Any]]
) -> MachineRow:
    machine = unit["id"]
    made = _sum(pieces)
    booked_here = [entry for entry in ledger if entry["machine"] == machine]
    waiting_here = [posting for posting in waiting if posting["machine"] == machine]
    booked, still_waiting = _sum(booked_here), _sum(waiting_here)
    unconfirmed = (unit["unconfirmed_good"], unit["unconfirmed_scrap"])
    unallocated = (unit["unallocated_good"], unit["unallocated_scrap"])
    review = unit["review_pieces"]
    known = [sum(column) for column in zip(booked, still_waiting, unconfirmed, unallocated, strict=True)]
    missing = sum(made) - sum(known) - review
    reason = _why_not(made, known, review, missing, unit["unknown"], pieces)
    orders = {(entry["order"], entry["operation"]) for entry in (*booked_here, *waiting_here)}
    if unit["order"]:
        orders.add((unit["order"], unit["operation"]))
    rows = tuple(
        OrderRow(
            order=order,
            operation=operation,
            booked=_sum(_of(booked_here, order, operation)),
            waiting=_sum(_of(waiting_here, order, operation)),
            unconfirmed=unconfirmed if (order, operation) == (unit["order"], unit["operation"]) else (0, 0),
        )
        for order, operation in sorted(orders)
    )
    return MachineRow(
        machine=machine,
        made=made,
        booked=booked,
        waiting=still_waiting,
        unconfirmed=unconfirmed,
        unallocated=unallocated,
        review=review,
        unknown=missing,
        unknown_intervals=tuple(unit["unknown"]),
        orders=rows,
        balanced=not reason,
        reason=reason,
    )


def _why_not(
    made: tuple[int, int],
    known: list[int],
    review: int,
    missing: int,
    intervals: list[dict[str, Any]],
    pieces: list[dict[str, Any]],
) -> str:
    if missing < 0:
        return f"{-missing} pieces more than were made"
    # What nobody saw can only be missing: more good or more scrap than was made is never explained by it.
    if not review and (known[0] > made[0] or known[1] > made[1]):
        return f"good and scrap are exchanged: made {list(made)}, accounted for {known}"
    if missing == 0:
        return ""
    bounds = [interval["max_pieces"] for interval in intervals]
    if not bounds:
        return f"{missing} pieces are missing and no unknown interval was declared"
    if None not in bounds and missing > sum(bounds):
        return f"{missing} pieces are missing, the declared intervals allow {sum(bounds)}"
    dark = sum(
        piece["good"] + piece["scrap"] for piece in pieces if any(_inside(piece["t_ns"], one) for one in intervals)
    )
    if missing > dark:
        return f"{missing} pieces are missing, only {dark} fell into the declared intervals"
    return ""


def _inside(t_ns: int, interval: dict[str, Any]) -> bool:
    first_ns, last_ns = int(interval["from_ns"]), int(interval["to_ns"])
    return first_ns - INTERVAL_TOLERANCE_NS <= t_ns <= last_ns + INTERVAL_TOLERANCE_NS


def _sum(rows: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(int(row["good"]) for row in rows), sum(int(row["scrap"]) for row in rows)


def _of(rows: list[dict[str, Any]], order: str, operation: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["order"], row["operation"]) == (order, operation)]


def _gaps(ledger: list[dict[str, Any]]) -> tuple[str, ...]:
    numbers: dict[tuple[str, str], list[int]] = {}
    for entry in ledger:
        numbers.setdefault(_numbered_as(entry), []).append(int(entry["seq"]))
    return tuple(
        f"{order}/{operation}: booked in the order {seqs}"
        for (order, operation), seqs in sorted(numbers.items())
        if seqs != list(range(1, len(seqs) + 1))
    )


def _numbered_as(entry: dict[str, Any]) -> tuple[str, str]:
    """Order and operation in the key: a child of a split has its own numbers, booked under the order it is from."""
    parts = str(entry["key"]).split("/")
    return (parts[2], parts[3]) if len(parts) == KEY_PARTS else (entry["order"], entry["operation"])


def table(result: Reconciliation) -> list[str]:
    """The table as a person reads it; pieces as good+scrap."""
    columns = ("MADE", "BOOKED", "WAITING", "UNCONFIRMED", "UNALLOCATED", "REVIEW", "UNKNOWN")
    lines = [f"{'MACHINE / ORDER':<20}" + "".join(f"{name:>13}" for name in columns)]
    for row in result.machines:
        cells = [_pair(row.made), _pair(row.booked), _pair(row.waiting), _pair(row.unconfirmed), _pair(row.unallocated)]
        cells += [str(row.review), str(row.unknown)]
        lines.append(
            f"{row.machine:<20}" + "".join(f"{cell:>13}" for cell in cells) + ("  ok" if row.balanced else "  WRONG")
        )
        if row.reason:
            lines.append(f"  !! {row.reason}")
        for order in row.orders:
            cells = ["", _pair(order.booked), _pair(order.waiting), _pair(order.unconfirmed)]
            lines.append(f"  {order.order + '/' + order.operation:<18}" + "".join(f"{cell:>13}" for cell in cells))
        if row.unknown:
            lines += [_interval(interval) for interval in row.unknown_intervals]
    lines += [f"!! booked twice: {key}" for key in result.duplicate_keys]
    lines += [f"!! sequence {gap}" for gap in result.gaps]
    lines += [f"fault planted: {fault}" for fault in result.faults]
    return lines


def _pair(pieces: tuple[int, int]) -> str:
    return f"{pieces[0]}+{pieces[1]}"


def _interval(interval: dict[str, Any]) -> str:
    length_s = (interval["to_ns"] - interval["from_ns"]) / 1e9
    return f"    unknown: {interval['signal']} for {length_s:.2f} s, at most {interval['max_pieces']} pieces"
