"""The rules of a work unit, exactly as the configuration file writes them.

Plain frozen dataclasses: the loader validates the YAML against these very classes, so there is no mapping in between.
Checks across fields stand in ``__post_init__`` and raise ValueError in the words of the file. The rules of each
counting mode stand in ``rules_inputs.py``, ``rules_counting.py``, ``rules_packml.py``, ``rules_pieces.py`` and
``rules_weighing.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.rule_signals import is_counted, is_evidence, named
from gateway.core.rules_confirming import ChecklistRule, ConfirmingRule, DeliveryRule, UnallocatedRule
from gateway.core.rules_counting import AnalogRule, PartResultRule, RolesRule, StartEndRule
from gateway.core.rules_inputs import (
    FORBID_UNKNOWN_KEYS,
    MODULUS_MAX,
    PIECES_PER_COUNT_MAX,
    CounterRule,
    CountingRule,
    PulseRule,
)
from gateway.core.rules_material import BackflushRule, LotRule, WorkRule
from gateway.core.rules_orders import OrderBookRule
from gateway.core.rules_packml import PackmlRule
from gateway.core.rules_pieces import CavityRule, UnitsRule
from gateway.core.rules_reasons import OfferedReasonsRule
from gateway.core.rules_state import StateRule
from gateway.core.rules_weighing import WeighingRule
from gateway.core.tagged import TaggedBy

__all__ = [
    "FORBID_UNKNOWN_KEYS",
    "MODULUS_MAX",
    "PIECES_PER_COUNT_MAX",
    "AnyCountingRule",
    "ConfirmRule",
    "CounterRule",
    "CountingRule",
    "OrderRule",
    "PulseRule",
    "Role",
    "StateRule",
    "WorkUnitRules",
]

COUNTERS_PER_WORK_UNIT_MAX: Final = 16
TRANSPORT_PIECES_MAX: Final = 100_000
TRANSPORT_TIME_MAX: Final = Duration("1 h")  # a longer way is a store, not a conveyor

#: One entry of a work unit's ``counters``, of whatever mode.
AnyCountingRule = Annotated[
    CounterRule
    | PulseRule
    | StartEndRule
    | AnalogRule
    | PartResultRule
    | RolesRule
    | PackmlRule
    | CavityRule
    | UnitsRule
    | WeighingRule,
    TaggedBy("mode"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule(OrderBookRule):
    """How the running job order of a machine is chosen, and when it is complete.

    Attributes:
        choose: ``sequence``: the next dispatched order starts by itself; ``job_signal``: the PLC names it; ``command``:
            a person starts it.
        job_signal: ``source.name`` of the text that names the running job (only with ``choose: job_signal``).
        cycle_job_signal: ``source.name`` of a text in the record of a cycle that names its job (JobName of EUROMAP 83):
            what is counted behind it is that job's, whoever runs and whenever it began; "" leaves it to the time. What
            names no order that has begun, or is dispatched, is unallocated.
        job_format: how that text is built from order and operation.
        at_target: ``complete``: the order ends at its target, further pieces belong to the next one; ``continue``: it
            runs on until someone ends it.
        target_counts: ``good_plus_scrap`` (default) or ``good`` (SAP counts yield).
        transport_delay_pieces: pieces between the machine and the sensor that counts them: after a change of order so
            many still belong to the one before. Where an order ends at its target the number decides, not the place.
        transport_delay: the same as time from the machine to that sensor: what is counted belongs to the order that
            ran so long before. For a machine whose conveyor runs at one speed; not with ``transport_delay_pieces``.
        guards: what each guard does that an order must pass before it starts.
        auto_advance: with ``choose: sequence``, ``auto``: the next order starts by itself when the one before is
            complete; ``propose``: a person is asked; ``off``: neither.
        when_running: what the start of an order does to the one that runs: ``interrupt`` or ``complete`` it, or
            ``refuse`` to start.
        max_parallel_orders: so many orders run at once, each with a part of its own: a cavity rule with ``parts``, or
            ``parts`` here, tells whose a piece is. The next order of a part starts when that part is free. Their times
            are shared by the cavity rule's ``machine_time``, else in equal parts. Not with
            ``choose: job_signal``, and not with ``transport_delay_pieces``.
        parts: signal of a counter to the product that it counts; a piece is only booked to an order for that product.
        first_article: ``as_ordered``: the first piece of an operation waits for its approval where the order says so
            (``control.first_article``); ``always``: of every order. Until then it is in setup and its pieces are held.
        cancel_in_progress: what a cancellation by the ERP does to an order that was started: ``stop_and_confirm`` what
            was made and cancel it, or ``reject``.
        distribution: how the pieces of a merged order are shared by its originals, unless a person says otherwise.
        counting_source: who counts pieces, never both: the ``machine``, or the ``operator`` by what he reports; then
            the machine's counts are cycles only.
        read_at_change: how long a decision that changes whose the next piece is waits for the counters to be read right
            then; ``0 s``: not at all, ``5 s`` at most. What a counter that was not read in time moved by is shared by
            time between the orders, and called estimated.
        shares_with: the work unit whose orders this one works on, too, at the same work center. That one holds,
            completes (by the sum) and confirms them; nothing else of ``orders`` is set here, and of ``confirm`` only
            how this machine is asked to stop (``delivery``).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    choose: Literal["sequence", "job_signal", "command"] = "sequence"
    job_signal: str | None = None
    cycle_job_signal: str | None = None
    job_format: str = "{order}-{operation}"
    at_target: Literal["complete", "continue"] = "complete"
    target_counts: Literal["good_plus_scrap", "good"] = "good_plus_scrap"
    transport_delay_pieces: int = 0
    transport_delay: Duration = Duration("0 s")

    def __post_init__(self) -> None:
        """The signal goes with the choice."""
        OrderBookRule.__post_init__(self)
        if self.max_parallel_orders > 1 and self.choose == "job_signal":
            raise ValueError(
                f"max_parallel_orders: found {self.max_parallel_orders}, allowed 1 with choose: job_signal, "
                "which names one order"
            )
        if self.max_parallel_orders > 1 and self.transport_delay_pieces:
            raise ValueError(
                f"transport_delay_pieces: found {self.transport_delay_pieces}, allowed 0 with several orders at once"
            )
        if not 0 <= self.transport_delay <= TRANSPORT_TIME_MAX:
            raise ValueError(f"transport_delay: found {self.transport_delay}, allowed 0 s to {TRANSPORT_TIME_MAX}")
        if self.transport_delay and self.transport_delay_pieces:
            raise ValueError("transport_delay: found besides transport_delay_pieces, allowed one of the two")
        if (self.choose == "job_signal") != (self.job_signal is not None):
            raise ValueError("job_signal is needed with choose: job_signal, and only then")
        if self.cycle_job_signal is not None and (self.transport_delay or self.transport_delay_pieces):
            raise ValueError("cycle_job_signal: found besides a transport delay, allowed one of the two")
        if self.cycle_job_signal is not None and self.cycle_job_signal == self.job_signal:
            raise ValueError(
                "cycle_job_signal: found the job_signal, allowed another signal, or none: it names what runs"
            )
        if "{order}" not in self.job_format:
            raise ValueError(f"job_format: found {self.job_format!r}, it must contain {{order}}")
        if not 0 <= self.transport_delay_pieces <= TRANSPORT_PIECES_MAX:
            raise ValueError(
                f"transport_delay_pieces: found {self.transport_delay_pieces}, allowed 0 to {TRANSPORT_PIECES_MAX}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRule(ConfirmingRule):
    """When a confirmation is made; the end of an order always makes the final one, a shift's end a partial one.

    Attributes:
        every_pieces: as soon as this many pieces are unconfirmed.
        every: this long after the last confirmation, if anything was made since.
        min_interval: pieces, timer and full handling units do not confirm sooner than this after the last; 1 min, or
            ``every`` where that is shorter.
        handling_unit_signal: ``source.name`` of the number or name of the handling unit (pallet, box) that is filled:
            when it changes, what went into the one before is confirmed.
        hold_back: every confirmation waits so long before it is sent; what a person changes meanwhile replaces it.
        undo_window: a confirmation that a person caused waits at least so long.
        clear_reservations: the final confirmation tells the ERP to clear what is still reserved for the order.
        also_to: further connectors that get a copy of every confirmation, besides the one the order came from.
        delivery: what happens at the target, beyond it and short of it.
        checklist: what must be settled before the final confirmation.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    also_to: tuple[str, ...] = ()
    delivery: DeliveryRule = field(default_factory=DeliveryRule)
    checklist: ChecklistRule = field(default_factory=ChecklistRule)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnitRules:
    """One machine (ISA-95 work unit): what counts, how orders are chosen, when to confirm.

    Attributes:
        work_center: the ERP's name of it; orders for this work center run here.
        ideal_cycle: shortest sensible time of one cycle (one count); rate limits and stop detection follow from it.
        counters: what is counted.
        orders: how the running order is chosen.
        confirm: when to confirm.
        unallocated: what becomes of pieces that were made while no order ran.
        state: how the machine's states, stops and setups are told.
        work: times of machine and people, material and lots that a confirmation tells.
        reasons: why it stands and why pieces are bad, as a person is offered it.
        calendar: which of the calendars says when it is meant to work; without one it always is.
        max_source_skew: a device's time stamp further from the gateway's than this is not used.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    work_center: str
    ideal_cycle: Duration | None = None
    counters: tuple[AnyCountingRule, ...]
    orders: OrderRule = OrderRule()
    confirm: ConfirmRule = ConfirmRule()
    unallocated: UnallocatedRule = field(default_factory=UnallocatedRule)
    state: StateRule = field(default_factory=StateRule)
    work: WorkRule = field(default_factory=WorkRule)
    reasons: OfferedReasonsRule = field(default_factory=OfferedReasonsRule)
    calendar: str | None = None
    max_source_skew: Duration = Duration("5 s")

    def __post_init__(self) -> None:
        """Something must be counted, each signal once."""
        if not 1 <= len(self.counters) <= COUNTERS_PER_WORK_UNIT_MAX:
            raise ValueError(f"counters: found {len(self.counters)}, allowed 1 to {COUNTERS_PER_WORK_UNIT_MAX}")
        if self.ideal_cycle is not None and self.ideal_cycle <= 0:
            raise ValueError("ideal_cycle: found 0 s, allowed more than that")
        self._check_parts()
        self._check_shares()
        if self.confirm.delivery.at_target == "stop_booking" and self.orders.at_target == "complete":
            raise ValueError(
                "confirm.delivery.at_target: found stop_booking, allowed with orders.at_target: continue only; an "
                "order that is complete at its target takes no further piece anyway"
            )
        uses = [use for rule in self.counters for use in named(rule)]
        # A rule itself may read one signal twice: its start and its end.
        counted = [{signal for keys, signal in named(rule) if is_counted(keys)} for rule in self.counters]
        doubled = sorted({signal for one in counted for signal in one if sum(signal in two for two in counted) > 1})
        if doubled:
            raise ValueError(f"counters: {', '.join(doubled)} is counted twice")
        changing = {signal for keys, signal in uses if is_evidence(keys) and "restart_uptime" not in keys}
        both = sorted(changing & {signal for keys, signal in uses if "restart_uptime" in keys})
        if both:
            raise ValueError(f"counters: {', '.join(both)} is in restart_evidence and in restart_uptime; choose one")

    def parts_told(self) -> tuple[str, ...]:
        """The products that counts are told apart by: those of family tools, and of counters with one of their own."""
        family = (part for rule in self.counters if isinstance(rule, CavityRule) for part in rule.parts)
        return tuple(dict.fromkeys((*family, *self.orders.parts.values())))

    def in_effect(self) -> WorkUnitRules:
        """The rules as they work: a machine that shares another one's orders neither starts nor ends any."""
        if self.orders.shares_with is None:
            return self
        return replace(self, orders=replace(self.orders, choose="command", at_target="continue"))

    def _check_shares(self) -> None:
        """What a machine that works on another one's orders has no use for."""
        lead = self.orders.shares_with
        if lead is None:
            return
        others = replace(self.orders, shares_with=None, choose="sequence", at_target="complete")
        idle = {
            "orders": others
            != OrderRule(
                transport_delay_pieces=self.orders.transport_delay_pieces,
                transport_delay=self.orders.transport_delay,
                read_at_change=self.orders.read_at_change,
            ),
            "confirm": replace(self.confirm, delivery=DeliveryRule()) != ConfirmRule(),
            "confirm.delivery": self.confirm.delivery not in (DeliveryRule(), self.confirm.delivery.of_member),
            "work.backflush": self.work.backflush != BackflushRule(),
            "work.lots": self.work.lots != LotRule(),
        }
        if any(idle.values()):
            names = ", ".join(name for name, found in idle.items() if found)
            raise ValueError(f"orders.shares_with: found settings of {names}, allowed none: set them at {lead}")

    def _check_parts(self) -> None:
        """Counters that there are; and of several orders at once each piece must be told by its part."""
        signals = [rule.signal for rule in self.counters]
        unknown = sorted(set(self.orders.parts) - set(signals))
        if unknown:
            raise ValueError(
                f"orders.parts: found {', '.join(unknown)}, allowed signals of counters: {', '.join(signals)}"
            )
        blind = [
            rule.signal
            for rule in self.counters
            if rule.signal not in self.orders.parts and not (isinstance(rule, CavityRule) and rule.parts)
        ]
        if self.orders.max_parallel_orders > 1 and blind:
            raise ValueError(
                f"max_parallel_orders: found {self.orders.max_parallel_orders} and no part for {', '.join(blind)}, "
                "allowed 1, or a part for each counter: name its product in orders.parts, or parts of its cavities"
            )
