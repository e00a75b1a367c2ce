"""The rules of the order book of a work unit, exactly as the configuration file writes them.

Plain frozen dataclasses like those of ``rules.py``. What the guards ask stands in ``orders/guards.py``; which order is
next in ``orders/queue.py``; what an ERP may change in ``orders/order_changes.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
PARALLEL_ORDERS_MAX: Final = 16  # running at once on one machine
READ_AT_CHANGE_MAX: Final = Duration("5 s")  # who decides waits as long, and has half of a request's time left

GuardMode = Literal["off", "warn", "block"]
AutoAdvance = Literal["auto", "propose", "off"]
Distribution = Literal["by_open_qty", "sequential_by_due_date", "fixed_ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRule:
    """What each guard of a start does when it finds something: nothing, a warning, or it keeps the order from starting.

    Attributes:
        hold: G1, an active hold is on the order, its material or the machine.
        predecessor: G2, the operation before has not got far enough.
        material: G3, material is not there, or a lot that is required is not mounted.
        tool: G4, tool or recipe in the machine is not the order's.
        skill: G5, nobody who is logged in has the skill that the operation asks for.
        machine: G6, the machine is taken.
        documents: G7, a document that must be read has not been acknowledged.
        sequence: G8, orders before it in the queue could be started.
        first_article: the first piece must be approved before production.
        signature: the release of a hold here must be signed, also where ``gateway.profile`` does not ask for it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    hold: GuardMode = "block"
    predecessor: GuardMode = "block"
    material: GuardMode = "block"
    tool: GuardMode = "block"
    skill: GuardMode = "block"
    machine: GuardMode = "block"
    documents: GuardMode = "block"
    sequence: GuardMode = "warn"
    first_article: GuardMode = "block"
    signature: GuardMode = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBookRule:
    """How the orders of a work unit live: guards, queue, parallel orders, changes by the ERP.

    Attributes:
        guards: what each guard does.
        auto_advance: ``auto``: the next order starts by itself when the one before is complete; ``propose``: a person
            is asked; ``off``: neither.
        when_running: what the start of an order does to the one that runs: ``interrupt`` or ``complete`` it, or
            ``refuse`` to start.
        max_parallel_orders: so many orders run at once, each with its own part (a family tool).
        parts: signal of a counting rule to the product that it counts, where each counter has its own.
        first_article: ``as_ordered``: the first piece of an operation waits for its approval where the order says so;
            ``always``: of every order.
        cancel_in_progress: what a cancellation by the ERP does to an order that was started: ``stop_and_confirm`` what
            was made and cancel it, or ``reject``.
        dispatch: ``automatic``: a released order is in the queue at once; ``by_hand``: a supervisor, a planner or the
            ERP puts it there.
        close_after: so long after the ERP has acknowledged all of a complete operation it can be reopened; then it is
            closed.
        distribution: how the pieces of a merged order are shared by its originals, unless a person says otherwise.
        counting_source: who counts pieces, never both: the ``machine``, or the ``operator`` by what he reports; then
            the machine's counts are cycles only.
        read_at_change: how long a change of orders waits for the counters to be read, so that each piece is the order's
            that made it: 0 s never; 5 s at most. Before a shift ends they are read too, and nothing waits.
        exceeds_predecessor: ``warn``: an operation that has more good pieces than the one before it, and the tolerance
            for over-delivery, is told and its confirmations are flagged; ``off``: it is not compared.
        at_shift_end: what the end of a shift does to what runs: it may ``go_on``, or is interrupted (``interrupt``)
            until somebody, or the job signal, starts it again; until then, and outside of shifts, no other order starts
            by itself.
        held_pieces: what pieces are that the machine makes while its order is on hold: the order's, and the good ones
            wait for a verdict (``wait_for_verdict``), or of no order (``unallocated``), and no policy gives them away.
        shares_with: the machine on whose orders this one works, too: one operation on several machines.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    guards: GuardRule = GuardRule()
    auto_advance: AutoAdvance = "auto"
    when_running: Literal["interrupt", "complete", "refuse"] = "interrupt"
    max_parallel_orders: int = 1
    parts: dict[str, str] = field(default_factory=dict)
    first_article: Literal["as_ordered", "always"] = "as_ordered"
    cancel_in_progress: Literal["stop_and_confirm", "reject"] = "stop_and_confirm"
    dispatch: Literal["automatic", "by_hand"] = "automatic"
    close_after: Duration = Duration("1 d")
    distribution: Distribution = "by_open_qty"
    counting_source: Literal["machine", "operator"] = "machine"
    read_at_change: Duration = Duration("1 s")
    exceeds_predecessor: Literal["off", "warn"] = "warn"
    at_shift_end: Literal["go_on", "interrupt"] = "go_on"
    held_pieces: Literal["wait_for_verdict", "unallocated"] = "wait_for_verdict"
    shares_with: str | None = None

    def __post_init__(self) -> None:
        """A number of orders that a machine can run."""
        if not 1 <= self.max_parallel_orders <= PARALLEL_ORDERS_MAX:
            raise ValueError(
                f"max_parallel_orders: found {self.max_parallel_orders}, allowed 1 to {PARALLEL_ORDERS_MAX}"
            )
        if not 0 <= self.read_at_change <= READ_AT_CHANGE_MAX:
            raise ValueError(f"read_at_change: found {self.read_at_change}, allowed 0 s to {READ_AT_CHANGE_MAX}")
