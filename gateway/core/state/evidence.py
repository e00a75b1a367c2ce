"""What decides a machine's state, and which evidence goes before which: one table.

``Context`` is everything that is known from one instant on, besides the cycles; ``verdict`` applies the priority to it.
The cycles themselves are judged in ``gaps.py``.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.model import MachineState

if TYPE_CHECKING:
    from collections.abc import Callable


class Layer(enum.IntEnum):
    """Kinds of evidence, the strongest first. Operators (last) change a reason and never what the machine did."""

    UNKNOWN = 1
    CALENDAR = 2
    MODE = 3
    EXPLICIT = 4
    CYCLES = 5
    ANALOG = 6
    OPERATOR = 7


class Context(NamedTuple):
    """What is known from ``from_ns`` on.

    ``known``: the signals are heard. ``planned`` is the calendar's NOT_SCHEDULED or PLANNED_STOP, None in working time.
    ``mode`` and ``explicit`` are the machine's own words, None where it says nothing; ``setup``: it is being changed
    over, as the setup rule found. ``running`` is an analog signal's word. ``ideal_ns`` is the ideal cycle of what is
    being made, 0 where nobody knows it.
    """

    from_ns: int
    known: bool = False
    planned: MachineState | None = None
    shift: str = ""
    mode: MachineState | None = None
    setup: bool = False
    explicit: MachineState | None = None
    reduced_speed: bool = False
    running: bool | None = None
    order: str | None = None
    operation: str | None = None
    ideal_ns: int = 0
    unknown_reason: str = "NO_DATA_YET"
    mode_reason: str = ""
    setup_reason: str = ""
    explicit_reason: str = ""


class Verdict(NamedTuple):
    """Which layer decides. ``state`` is None where the cycles do."""

    layer: Layer
    state: MachineState | None
    reason: str = ""
    reduced_speed: bool = False


class Evidence(NamedTuple):
    """What the table asks besides the context itself."""

    cycles_seen: bool  # a cycle was seen since the machine is heard
    fallback_above_ns: int  # slower machines believe an analog running signal first


def _unknown(context: Context, _evidence: Evidence) -> Verdict | None:
    return None if context.known else Verdict(Layer.UNKNOWN, MachineState.UNKNOWN, context.unknown_reason)


def _calendar(context: Context, _evidence: Evidence) -> Verdict | None:
    return None if context.planned is None else Verdict(Layer.CALENDAR, context.planned)


def _mode(context: Context, _evidence: Evidence) -> Verdict | None:
    if context.mode is not None:
        return Verdict(Layer.MODE, context.mode, context.mode_reason)
    return Verdict(Layer.MODE, MachineState.SETUP, context.setup_reason) if context.setup else None


def _explicit(context: Context, _evidence: Evidence) -> Verdict | None:
    if context.explicit is None:
        return None
    return Verdict(Layer.EXPLICIT, context.explicit, context.explicit_reason, context.reduced_speed)


def _cycles(context: Context, evidence: Evidence) -> Verdict | None:
    slow_machine = context.ideal_ns > evidence.fallback_above_ns or not evidence.cycles_seen
    return None if context.running is not None and slow_machine else _BY_CYCLES


def _analog(context: Context, _evidence: Evidence) -> Verdict | None:
    if context.running is None:
        return None
    standing = MachineState.IDLE_NO_ORDER if context.order is None else MachineState.STOPPED
    return Verdict(Layer.ANALOG, MachineState.PRODUCING if context.running else standing)


_BY_CYCLES: Final = Verdict(Layer.CYCLES, None)

#: The priority of evidence, in order. The calendar decides only where no cycles are: see ``ran_through``.
PRIORITY: Final[tuple[tuple[Layer, Callable[[Context, Evidence], Verdict | None]], ...]] = (
    (Layer.UNKNOWN, _unknown),
    (Layer.CALENDAR, _calendar),
    (Layer.MODE, _mode),
    (Layer.EXPLICIT, _explicit),
    (Layer.CYCLES, _cycles),
    (Layer.ANALOG, _analog),
)


def verdict(context: Context, evidence: Evidence, *, ran_through: bool = False) -> Verdict:
    """The strongest evidence that has something to say; ``ran_through``: cycles went on through planned time."""
    for layer, opinion in PRIORITY:
        if ran_through and layer is Layer.CALENDAR:
            continue
        found = opinion(context, evidence)
        if found is not None:
            return found
    return _BY_CYCLES


def before(contexts: tuple[Context, ...], at_ns: int) -> Context:
    """The evidence right before an instant, as a cycle that ends there saw it."""
    return next((context for context in reversed(contexts) if context.from_ns < at_ns), contexts[0])


def in_force(contexts: tuple[Context, ...], at_ns: int) -> Context:
    """The evidence at an instant."""
    return next((context for context in reversed(contexts) if context.from_ns <= at_ns), contexts[0])


def since(contexts: tuple[Context, ...], at_ns: int) -> tuple[Context, ...]:
    """The evidence from an instant on, beginning with what is in force there."""
    first = next((index for index in range(len(contexts) - 1, 0, -1) if contexts[index].from_ns <= at_ns), 0)
    return contexts[first:] if first else contexts


def changed_from(contexts: tuple[Context, ...], at_ns: int, fields: dict[str, Any]) -> tuple[Context, ...]:
    """The evidence with some of it changed from an instant on."""
    found: list[Context] = []
    for index, context in enumerate(contexts):
        if index + 1 < len(contexts) and contexts[index + 1].from_ns <= at_ns:
            found.append(context)
            continue
        changed = context._replace(**fields)
        if changed == context or context.from_ns >= at_ns:
            found.append(changed)
        else:
            found += [context, changed._replace(from_ns=at_ns)]
    return tuple(found)
