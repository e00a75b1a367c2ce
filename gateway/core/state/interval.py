"""Closed stretches of one machine state, and how a row of them is joined, cut and rewritten.

Intervals in a row tile: each begins where the one before ends. Decides no state.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.core.model import MachineState

#: The machine stands and somebody should know why.
STOPS: Final = frozenset(
    {MachineState.STOPPED, MachineState.MICRO_STOP, MachineState.BLOCKED, MachineState.STARVED, MachineState.OFF}
)
#: What is judged where the machine itself says nothing, and what its own word may say.
BY_ITSELF: Final = STOPS | {MachineState.PRODUCING, MachineState.IDLE_NO_ORDER}
#: What a mode may say besides.
MODES: Final = frozenset(
    {MachineState.SETUP, MachineState.MAINTENANCE, MachineState.CLEANING, MachineState.PLANNED_STOP}
)
LATE: Final = "late"
ALARMS_SHOWN_MAX: Final = 8  # codes kept beside a stop's reason


class StateInterval(NamedTuple):
    """What a machine did from ``from_ns`` (included) to ``to_ns`` (not included); always longer than nothing.

    ``reason_source`` is ``alarm``, ``rule``, ``operator`` or empty. ``reduced_speed``: slow cycles, ``speed_loss_ns``
    being what they took beyond the ideal. ``estimated``: from a counter's difference, no single cycle is known.
    ``overtime``: produced in planned time, which ``planned`` names. ``amended`` says why it may differ from what could
    be seen live: ``detection_lag``, ``back_fill``, ``late`` (what said so arrived late), ``setup``. ``stop_from_ns`` is
    when the whole standstill began of which this is a part.
    """

    state: MachineState
    from_ns: int
    to_ns: int
    reason: str = ""
    reason_source: str = ""
    reduced_speed: bool = False
    estimated: bool = False
    overtime: bool = False
    amended: str = ""
    planned: MachineState | None = None
    shift: str = ""
    order: str | None = None
    operation: str | None = None
    speed_loss_ns: int = 0
    stop_from_ns: int | None = None
    alarms: tuple[str, ...] = ()

    @property
    def length_ns(self) -> int:
        """How long it was."""
        return self.to_ns - self.from_ns


def joins(first: StateInterval, second: StateInterval) -> bool:
    """True where the second goes on with the first: nothing tells them apart but time."""
    return (
        first.to_ns == second.from_ns
        and first.state is second.state
        and first.shift == second.shift
        and first.order == second.order
        and first.operation == second.operation
        and first.reduced_speed == second.reduced_speed
        and first.planned is second.planned
        and first.overtime == second.overtime
        and first.estimated == second.estimated
        and (first.amended == second.amended or (first.amended == LATE and not second.amended))
        and (first.reason == second.reason or (first.reason_source == "alarm" and first.state in STOPS))
    )


def joined(first: StateInterval, second: StateInterval) -> StateInterval:
    """Both as one; only where ``joins`` is true."""
    return first._replace(to_ns=second.to_ns, speed_loss_ns=first.speed_loss_ns + second.speed_loss_ns)


def followed(last: StateInterval | None, found: StateInterval) -> StateInterval:
    """The interval with the beginning of its standstill: a stop that an order or a shift cuts is one stop."""
    if found.state not in STOPS or found.stop_from_ns is not None:
        return found
    if last is not None and last.to_ns == found.from_ns and last.state is found.state:
        if last.reason_source == "alarm":
            return found._replace(
                stop_from_ns=last.stop_from_ns, reason=last.reason, reason_source="alarm", alarms=last.alarms
            )
        return found._replace(stop_from_ns=last.stop_from_ns)
    return found._replace(stop_from_ns=found.from_ns)


def in_a_row(found: tuple[StateInterval, ...]) -> tuple[StateInterval, ...]:
    """The same intervals with neighbours joined, and each standstill told from its beginning."""
    row: list[StateInterval] = []
    for interval in found:
        follower = followed(row[-1] if row else None, interval)
        if row and joins(row[-1], follower):
            row[-1] = joined(row[-1], follower)
        else:
            row.append(follower)
    return tuple(row)


def cut(interval: StateInterval, at_ns: int) -> tuple[StateInterval | None, StateInterval | None]:
    """What lies before an instant and what from it on; a speed loss stays with the earlier part."""
    if at_ns <= interval.from_ns:
        return None, interval
    if at_ns >= interval.to_ns:
        return interval, None
    return interval._replace(to_ns=at_ns), interval._replace(from_ns=at_ns, speed_loss_ns=0)


def overruled(
    row: tuple[StateInterval, ...], from_ns: int, becomes: StateInterval, over: frozenset[MachineState]
) -> tuple[StateInterval, ...]:
    """The row as stronger evidence has it that holds from an instant on and arrived late.

    It overrules these states in working time; ``becomes`` says what they are then: its state, reason and speed.
    """
    found: list[StateInterval] = []
    for judged in row:
        kept, later = cut(judged, from_ns)
        found += [part for part in (kept,) if part is not None]
        if later is None:
            continue
        if later.state in over and later.planned is None and not later.estimated:
            later = becomes._replace(
                from_ns=later.from_ns,
                to_ns=later.to_ns,
                amended=LATE,
                shift=later.shift,
                order=later.order,
                operation=later.operation,
            )
        found.append(later)
    return in_a_row(tuple(found))


def setup_from(row: tuple[StateInterval, ...], from_ns: int, reason: str) -> tuple[StateInterval, ...]:
    """The row with the run-down and standstill at its end turned into SETUP, at most back to an instant."""
    standing = (MachineState.PRODUCING, MachineState.MICRO_STOP, MachineState.STOPPED)
    found: list[StateInterval] = []
    for index in range(len(row) - 1, -1, -1):
        earlier, later = cut(row[index], from_ns)
        if later is None or later.state not in standing or later.order is None or later.planned is not None:
            return in_a_row((*row[: index + 1], *reversed(found)))
        found.append(
            StateInterval(
                MachineState.SETUP,
                later.from_ns,
                later.to_ns,
                reason,
                amended="setup",
                planned=later.planned,
                shift=later.shift,
                order=later.order,
                operation=later.operation,
            )
        )
        if earlier is not None:
            return in_a_row((*row[:index], earlier, *reversed(found)))
    return in_a_row(tuple(reversed(found)))


def within(interval: StateInterval, from_ns: int, to_ns: int) -> StateInterval | None:
    """What of an interval lies between two instants; None: nothing."""
    rest = cut(interval, from_ns)[1]
    return None if rest is None else cut(rest, to_ns)[0]


def handed_row(
    row: tuple[StateInterval, ...],
    from_ns: int,
    to_ns: int,
    was: tuple[str, str],
    key: tuple[str | None, str | None],
) -> tuple[StateInterval, ...]:
    """The row where the time of one order between two instants was another one's, or no order's."""
    found: list[StateInterval] = []
    for judged in row:
        kept, later = cut(judged, from_ns)
        found += [part for part in (kept,) if part is not None]
        moved, rest = (None, None) if later is None else cut(later, to_ns)
        if moved is not None:
            own = (moved.order, moved.operation) == was
            found.append(moved._replace(order=key[0], operation=key[1]) if own else moved)
        found += [part for part in (rest,) if part is not None]
    return in_a_row(tuple(found))
