"""Whether a machine is heard: loss since the last good instant, and when it is back.

Knows qualities and arrivals only. What an outage means for the machine's state is the timeline's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import Status
from gateway.core.rules_state import LOSS_FOUND_WITHIN

if TYPE_CHECKING:
    from gateway.core.rules_state import DataLossRule


class DataLost(NamedTuple):
    """Not heard since ``last_good_ns``, found at ``at_ns``; ``signals`` are the silent or bad ones.

    Without ``stale_after`` a signal may be told only when it changes, and have been good for hours: then
    ``last_good_ns`` is as long ago as it takes to find a lost link, at most.
    """

    at_ns: int
    last_good_ns: int
    signals: tuple[str, ...]


class DataBack(NamedTuple):
    """Every watched signal has a good value again."""

    at_ns: int


class WatchState(NamedTuple):
    """What must survive a restart: per watched signal its last good arrival, and whether it is bad since.

    ``good_ns`` in the order of the rule's signals; None: never seen since the start. ``lost``: told as lost.
    """

    good_ns: tuple[int | None, ...]
    bad: tuple[bool, ...]
    lost: bool = True


class DataWatch:
    """The rule for the signals of one machine, prepared.

    Args:
        rule: the settings.
        signals: signals without which the state is unknown.
        found_within_ns: a lost link is found after this long.
    """

    def __init__(self, rule: DataLossRule, signals: tuple[str, ...], found_within_ns: int = LOSS_FOUND_WITHIN) -> None:
        self._found_within = found_within_ns
        self._stale_after = None if rule.stale_after is None else int(rule.stale_after)
        self._signals = signals
        self._place = {signal: index for index, signal in enumerate(signals)}

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals whose quality matters."""
        return self._signals

    def initial(self) -> WatchState:
        """Nothing heard yet."""
        count = len(self._signals)
        return WatchState((None,) * count, (False,) * count)

    def restored(self, _state: WatchState) -> WatchState:
        """After a restart every signal must be seen anew."""
        return self.initial()

    def on_value(
        self, state: WatchState, signal: str, status: Status, at_ns: int
    ) -> tuple[WatchState, tuple[DataLost | DataBack, ...]]:
        """A value arrived, good or not."""
        index = self._place.get(signal)
        if index is None:
            return state, ()
        if status is Status.GOOD and not state.lost and not state.bad[index]:
            due_ns = self.deadline(state)
            if due_ns is None or due_ns > at_ns:  # the usual value, field by field because every one passes here
                good = state.good_ns
                good = (at_ns,) if len(good) == 1 else (*good[:index], at_ns, *good[index + 1 :])
                return tuple.__new__(WatchState, (good, *state[1:])), ()
        state, early = self.on_time(state, at_ns)
        if status is not Status.GOOD:
            if state.bad[index]:
                return state, early
            state = state._replace(bad=(*state.bad[:index], True, *state.bad[index + 1 :]))
            state, told = self._loss(state, at_ns)
            return state, early + told
        good_ns = (*state.good_ns[:index], at_ns, *state.good_ns[index + 1 :])
        state = state._replace(good_ns=good_ns, bad=(*state.bad[:index], False, *state.bad[index + 1 :]))
        if state.lost and not self.silent(state, at_ns):
            return state._replace(lost=False), (*early, DataBack(at_ns))
        return state, early

    def deadline(self, state: WatchState) -> int | None:
        """When silence becomes a loss; None: never."""
        if state.lost or self._stale_after is None:
            return None
        seen_ns = [good_ns for good_ns in state.good_ns if good_ns is not None]
        return min(seen_ns) + self._stale_after if seen_ns else None

    def on_time(self, state: WatchState, now_ns: int) -> tuple[WatchState, tuple[DataLost | DataBack, ...]]:
        """Tells of a loss by silence, at its own time."""
        due_ns = self.deadline(state)
        return (state, ()) if due_ns is None or due_ns > now_ns else self._loss(state, due_ns)

    def _loss(self, state: WatchState, at_ns: int) -> tuple[WatchState, tuple[DataLost, ...]]:
        if state.lost:
            return state, ()
        silent = self.silent(state, at_ns)
        # The first signal that fell silent: from then on the picture is not whole.
        since_ns = min((state.good_ns[self._place[signal]] or at_ns for signal in silent), default=at_ns)
        if self._stale_after is None:
            since_ns = max(since_ns, at_ns - self._found_within)
        return state._replace(lost=True), (DataLost(at_ns, since_ns, silent),)

    def silent(self, state: WatchState, at_ns: int) -> tuple[str, ...]:
        """Signals that are not heard at this instant."""
        found = []
        for signal, good_ns, bad in zip(self._signals, state.good_ns, state.bad, strict=True):
            stale = good_ns is not None and self._stale_after is not None and at_ns - good_ns >= self._stale_after
            if good_ns is None or bad or stale:
                found.append(signal)
        return tuple(found)
