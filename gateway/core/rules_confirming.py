"""The rules of confirmations, unallocated pieces and retention, exactly as the configuration file writes them.

Plain frozen dataclasses like those of ``rules.py``. What they mean is decided in ``confirming/``,
``orders/unallocated.py`` and ``retention.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.ratio import decimal_of
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS

if TYPE_CHECKING:
    from decimal import Decimal

PERCENT_MAX: Final = 100
#: Confirmations by amount come no closer than this where nothing is said.
MIN_INTERVAL: Final = Duration("60 s")
HOLD_BACK_MAX: Final = Duration("24 h")
UNDO_WINDOW_MAX: Final = Duration("5 min")
ENTRIES_MIN: Final = 8  # above the number of roles, so that two of one role are always found to merge
ENTRIES_MAX: Final = 1000
AGE_MIN: Final = Duration("1 d")

CheckMode = Literal["off", "warn", "block"]
AtTarget = Literal["continue", "stop_booking", "request_plc_stop"]
AllocationPolicy = Literal[
    "ask", "to_next_order_if_same_product_within", "to_previous_if_within_tolerance", "scrap_as_setup"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmingRule:
    """When a confirmation is made, and how long it waits before it is sent.

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
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    every_pieces: int | None = None
    every: Duration | None = None
    min_interval: Duration | None = None
    handling_unit_signal: str | None = None
    hold_back: Duration = Duration("0 s")
    undo_window: Duration = Duration("5 s")
    clear_reservations: bool = False

    def __post_init__(self) -> None:
        """Lengths that go together."""
        if self.every_pieces is not None and self.every_pieces < 1:
            raise ValueError(f"every_pieces: found {self.every_pieces}, allowed 1 and above")
        if self.every is not None and self.every < max(self.spacing_ns, 1):
            least = Duration(self.spacing_ns)
            raise ValueError(f"every: found {self.every}, allowed more than 0 s and min_interval ({least})")
        for key, most in (("hold_back", HOLD_BACK_MAX), ("undo_window", UNDO_WINDOW_MAX)):
            if getattr(self, key) > most:
                raise ValueError(f"{key}: found {getattr(self, key)}, allowed 0 s to {most}")

    @property
    def spacing_ns(self) -> int:
        """What ``min_interval`` says, or what holds where it is left out."""
        if self.min_interval is not None:
            return self.min_interval
        return MIN_INTERVAL if self.every is None else min(self.every, MIN_INTERVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistRule:
    """What each point of the final confirmation does while it is open: ``off``, ``warn`` or ``block``.

    ``warn`` gives the confirmation a flag, such as CHECKLIST_LOTS. ``block``: nobody can finish the order; one that
    reaches its target makes way for the next, and ends once the point is settled.

    Attributes:
        holds: pieces wait for a verdict, also where they are confirmed as held.
        counters: a counter is in doubt, or counts were set aside for a person while the order ran; with
            ``gateway.profile: regulated`` ``warn`` blocks, too.
        unknown: nobody knows what the machine did, or how many pieces it made, for longer than
            ``unknown_longer_than``; with ``gateway.profile: regulated`` ``warn`` blocks, too.
        unknown_longer_than: shorter intervals need no acknowledgement.
        lots: the lot of a component is not known; with ``gateway.profile: regulated`` ``warn`` blocks, too.
        inspection: the order asks for an inspection and has no verdict.
        duration: the run took no time.
        under_delivery: less than what is tolerated was made, and nobody said why; asked of who ends an order, and only
            where the ERP or ``delivery.under_tolerance`` says what is tolerated.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    holds: CheckMode = "block"
    counters: CheckMode = "warn"
    unknown: CheckMode = "warn"
    unknown_longer_than: Duration = Duration("10 min")
    lots: CheckMode = "warn"
    inspection: CheckMode = "block"
    duration: CheckMode = "warn"
    under_delivery: CheckMode = "block"

    def regulated(self) -> ChecklistRule:
        """As it works in a regulated plant: nothing that nobody knows goes out with a flag only."""
        counters, unknown, lots = map(_stricter, (self.counters, self.unknown, self.lots))
        return replace(self, counters=counters, unknown=unknown, lots=lots)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRule:
    """What happens at and beyond the target quantity, and short of it.

    Attributes:
        at_target: ``continue``: further pieces belong to the order; ``stop_booking``: they are unallocated;
            ``request_plc_stop``: they belong to the order and the machine is asked to stop.
        over_tolerance: percent above the target, in quotes, where the ERP names none; beyond it a confirmation needs an
            approval. Without either the ERP judges.
        under_tolerance: percent below the target, in quotes, where the ERP names none; who ends an order below it says
            why. Without either the ERP judges.
        stop_signal: with ``request_plc_stop``, the signal that is written when the target is reached. It must be
            ``writable``.
        stop_value: what is written to it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    at_target: AtTarget = "continue"
    over_tolerance: str | None = None
    under_tolerance: str | None = None
    stop_signal: str | None = None
    stop_value: str = "1"

    def __post_init__(self) -> None:
        """Percentages; and a signal goes with asking for a stop."""
        if self.over is not None and self.over < 0:
            raise ValueError(f'over_tolerance: found "{self.over_tolerance}", allowed "0" and above')
        if self.under is not None and not 0 <= self.under <= PERCENT_MAX:
            raise ValueError(f'under_tolerance: found "{self.under_tolerance}", allowed "0" to "{PERCENT_MAX}"')
        if (self.at_target == "request_plc_stop") != (self.stop_signal is not None):
            raise ValueError("stop_signal is needed with at_target: request_plc_stop, and only then")

    @property
    def of_member(self) -> DeliveryRule:
        """What of it is a machine's own that works on another one's orders: how it is asked to stop."""
        if self.stop_signal is None:
            return DeliveryRule()
        return DeliveryRule(at_target="request_plc_stop", stop_signal=self.stop_signal, stop_value=self.stop_value)

    @property
    def over(self) -> Decimal | None:
        """``over_tolerance`` as a number."""
        return None if self.over_tolerance is None else decimal_of("over_tolerance", self.over_tolerance)

    @property
    def under(self) -> Decimal | None:
        """``under_tolerance`` as a number."""
        return None if self.under_tolerance is None else decimal_of("under_tolerance", self.under_tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnallocatedRule:
    """What becomes of pieces that were made while no order ran.

    Attributes:
        policy: ``ask``: a person decides; ``to_next_order_if_same_product_within``: the next order takes them if it
            makes the same; ``to_previous_if_within_tolerance``: the order before takes what it may still deliver;
            ``scrap_as_setup``: they are scrap of the next order's setup.
        within: only pieces that were made at most this long before the next order began, or after the last one ended.
        join_within: pieces of one kind with no longer pause between them are one entry.
        entries_max: more entries than this are merged, the oldest first.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    policy: AllocationPolicy = "ask"
    within: Duration = Duration("10 min")
    join_within: Duration = Duration("60 s")
    entries_max: int = 200

    def __post_init__(self) -> None:
        """A bucket that can be kept."""
        if not ENTRIES_MIN <= self.entries_max <= ENTRIES_MAX:
            raise ValueError(f"entries_max: found {self.entries_max}, allowed {ENTRIES_MIN} to {ENTRIES_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """How long records are kept after they are closed. The audit trail and what the ERP has not acknowledged stay.

    Attributes:
        raw_journal: single counts and states, as the signals gave them.
        cycles: pieces as they were booked.
        states: intervals of machine states and stops.
        notices: notices and warnings.
        orders: orders that are closed, with their lots; the last number of an order is kept for ever.
        confirmations: confirmations that the ERP acknowledged, with the bytes that were sent.
        reports: reconciliation reports.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    raw_journal: Duration = Duration("7 d")
    cycles: Duration = Duration("90 d")
    states: Duration = Duration("400 d")
    notices: Duration = Duration("90 d")
    orders: Duration = Duration("1100 d")
    confirmations: Duration = Duration("1100 d")
    reports: Duration = Duration("400 d")

    def __post_init__(self) -> None:
        """A day at least; an order never goes before its confirmations would be missed."""
        for field in fields(self):
            if getattr(self, field.name) < AGE_MIN:
                raise ValueError(f"{field.name}: found {getattr(self, field.name)}, allowed {AGE_MIN} and above")
        if self.confirmations < self.orders:
            raise ValueError(
                f"confirmations: found {self.confirmations}, allowed no less than orders ({self.orders}): "
                "an order is kept with all that was confirmed of it"
            )


def _stricter(mode: CheckMode) -> CheckMode:
    return "block" if mode == "warn" else mode
