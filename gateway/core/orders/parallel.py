"""Several orders at once on one machine (a family tool), and one operation on several machines.

Values and decisions only: from which counter or cavity a part comes is the counting rules' business.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINES_MAX: Final = 32  # that make one operation at the same time

_ZERO: Final = Decimal(0)


class ParallelRun(NamedTuple):
    """An order that runs beside others. ``part`` is the product that its counts are told apart by, "" if by none."""

    order: str
    operation: str
    part: str


class ParallelRefused(NamedTuple):
    """Why an order does not run beside the others."""

    code: str
    found: str
    allowed: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: found {self.found}, allowed: {self.allowed}; {self.what_to_do}"


class ParallelRuns(NamedTuple):
    """What runs on one machine, the first started first."""

    max_parallel_orders: int = 1
    runs: tuple[ParallelRun, ...] = ()

    def started(self, run: ParallelRun) -> ParallelRuns | ParallelRefused:
        """With one more. Codes: ALREADY_RUNNING, PARALLEL_FULL, PARALLEL_UNMAPPED, PART_TAKEN."""
        names = ", ".join(f"{one.order}/{one.operation}" for one in self.runs)
        for one in self.runs:
            if one[:2] == run[:2]:
                found = f"{run.order}/{run.operation} running"
                return ParallelRefused("ALREADY_RUNNING", found, "an order that does not run", "go on with it")
        if len(self.runs) >= self.max_parallel_orders:
            allowed = f"{self.max_parallel_orders} at once (max_parallel_orders)"
            return ParallelRefused(
                "PARALLEL_FULL", f"{names} running", allowed, "interrupt or finish one of them first"
            )
        if self.runs and not all(one.part for one in (*self.runs, run)):
            # Counts of orders without parts of their own cannot be told apart: nobody could say whose they are.
            allowed = "a part of its own for each order"
            what = "map each part to a counter or cavity, or run them one after the other"
            return ParallelRefused("PARALLEL_UNMAPPED", f"{names} running, and no part for each", allowed, what)
        holder = self.order_of(run.part) if run.part else None
        if holder is not None:
            found = f"part {run.part} made for {holder.order}/{holder.operation}"
            return ParallelRefused("PART_TAKEN", found, "a part that no other order makes", "finish that order first")
        return self._replace(runs=(*self.runs, run))

    def stopped(self, order: str, operation: str) -> ParallelRuns:
        """Without that one; its part is nobody's from now on."""
        return self._replace(runs=tuple(one for one in self.runs if one[:2] != (order, operation)))

    def order_of(self, part: str) -> ParallelRun | None:
        """Whose the pieces of a part are; None: nobody's.

        A single order without a part takes whatever is made.
        """
        if len(self.runs) == 1 and not self.runs[0].part:
            return self.runs[0]
        return next((one for one in self.runs if one.part == part), None)


class MachineTotals(NamedTuple):
    """What one machine made of an operation. ``in_flight`` pieces are in it and not counted yet."""

    machine: str
    good: int = 0
    scrap: int = 0
    rework: int = 0
    in_flight: int = 0


class OperationTotals(NamedTuple):
    """One operation on several machines: it is complete by the sum of what they made.

    ``target_counts`` as in the rules of orders: ``good_plus_scrap`` or ``good``.
    """

    quantity: Decimal
    target_counts: str = "good_plus_scrap"
    machines: tuple[MachineTotals, ...] = ()

    def booked(
        self, machine: str, *, good: int = 0, scrap: int = 0, rework: int = 0, in_flight: int = 0
    ) -> OperationTotals:
        """With what a machine made besides, and what is in it now.

        Raises ValueError for numbers below 0 and for more than MACHINES_MAX machines.
        """
        if min(good, scrap, rework, in_flight) < 0:
            raise ValueError(
                f"{machine}: found a number below 0, allowed 0 and above; a correction is an entry of its own"
            )
        old = next((one for one in self.machines if one.machine == machine), None)
        if old is None and len(self.machines) >= MACHINES_MAX:
            raise ValueError(f"{machine}: found {MACHINES_MAX} machines on one operation, allowed no more")
        before = old or MachineTotals(machine)
        new = MachineTotals(machine, before.good + good, before.scrap + scrap, before.rework + rework, in_flight)
        kept = [new if one.machine == machine else one for one in self.machines]
        return self._replace(machines=tuple(kept if old else [*kept, new]))

    @property
    def good(self) -> int:
        """Good pieces of all machines."""
        return sum(one.good for one in self.machines)

    @property
    def counted(self) -> int:
        """What counts against the quantity."""
        scrap = 0 if self.target_counts == "good" else sum(one.scrap for one in self.machines)
        return self.good + scrap

    @property
    def complete(self) -> bool:
        """Whether the sum has reached the quantity."""
        return self.counted >= self.quantity

    @property
    def over_delivery(self) -> Decimal:
        """What was made beyond the quantity."""
        return max(self.counted - self.quantity, _ZERO)

    @property
    def over_run_max(self) -> int:
        """What may still come when all machines are stopped now: each finishes what is in it."""
        return sum(one.in_flight for one in self.machines)


def runs_from(document: Mapping[str, Any]) -> ParallelRuns:
    """What ``_asdict`` and JSON made of ``ParallelRuns``."""
    return ParallelRuns(document["max_parallel_orders"], tuple(ParallelRun(*one) for one in document["runs"]))


def totals_document(totals: OperationTotals) -> dict[str, Any]:
    """The totals as JSON data."""
    return totals._asdict() | {"quantity": str(totals.quantity)}


def totals_from(document: Mapping[str, Any]) -> OperationTotals:
    """What ``totals_document`` made."""
    machines = tuple(MachineTotals(*one) for one in document["machines"])
    return OperationTotals(Decimal(document["quantity"]), document["target_counts"], machines)
