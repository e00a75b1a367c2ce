"""What a person says afterwards about a stop: its reason, or that it was two. The raw intervals never change.

A view is made of intervals and annotations, in the order in which they were given. Decides no state.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.refusal import Refusal, refused
from gateway.core.state.interval import STOPS, StateInterval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.entries import StopCutEntry, StopReasonEntry
    from gateway.core.model import Notice
    from gateway.core.state.timeline_state import TimelineState


class AnnotationError(ValueError):
    """An annotation that cannot be: what was found, and what is allowed."""


class StopReasonAssigned(NamedTuple):
    """The reason of ``[from_ns, to_ns)``, which lies within one standstill; ``who`` gave it at ``at_ns``.

    ``to_ns`` None: of the whole standstill in which ``from_ns`` lies, also where it goes on.
    """

    at_ns: int
    from_ns: int
    to_ns: int | None
    reason: str
    who: str


class StopSplit(NamedTuple):
    """A standstill was two, before and after ``split_ns``."""

    at_ns: int
    split_ns: int
    who: str


class StopMerge(NamedTuple):
    """The split at ``split_ns`` is taken back."""

    at_ns: int
    split_ns: int
    who: str


class StopReasonWithdrawn(NamedTuple):
    """The reason that ``who`` gave at ``given_ns`` for ``from_ns`` is taken back: it counts no longer."""

    at_ns: int
    given_ns: int
    from_ns: int
    who: str


Annotation = StopReasonAssigned | StopSplit | StopMerge | StopReasonWithdrawn
#: What each is called where it is stored.
_NAMES: Final[dict[str, type[Annotation]]] = {
    "reason": StopReasonAssigned,
    "split": StopSplit,
    "merge": StopMerge,
    "withdrawn": StopReasonWithdrawn,
}
_WHAT: Final = {kind: name for name, kind in _NAMES.items()}


def plain(found: Annotation) -> dict[str, Any]:
    """An annotation as JSON data."""
    return {**found._asdict(), "what": _WHAT[type(found)]}


def loaded(data: Mapping[str, Any]) -> Annotation:
    """An annotation from JSON data. Raises KeyError or TypeError where it is none."""
    # Reasons were stored without a name before there was anything else.
    return _NAMES[data.get("what", "reason")](**{name: value for name, value in data.items() if name != "what"})


def check(
    row: tuple[StateInterval, ...], found: StopReasonAssigned | StopSplit | StopMerge, lock_ns: int | None = None
) -> None:
    """Raises AnnotationError where the annotation is outside of a stop, or later than ``lock_ns``."""
    if lock_ns is not None and found.at_ns > lock_ns:
        raise AnnotationError("found later than the lock of annotations, allowed up to it")
    if isinstance(found, StopReasonAssigned):
        to_ns = found.from_ns + 1 if found.to_ns is None else found.to_ns
        if not found.reason or found.from_ns >= to_ns:
            raise AnnotationError("reason: found an empty reason or time, allowed: a reason for some time of a stop")
        touched = [one for one in row if one.from_ns < to_ns and one.to_ns > found.from_ns]
        covered = bool(touched) and touched[0].from_ns <= found.from_ns and touched[-1].to_ns >= to_ns
    else:
        touched = [one for one in row if one.from_ns < found.split_ns < one.to_ns]
        covered = bool(touched)
    if not covered or any(one.state not in STOPS for one in touched):
        raise AnnotationError("found outside of a stop, allowed: an instant inside of one")
    if len({one.stop_from_ns for one in touched}) > 1:
        raise AnnotationError("found over several stops, allowed: within one of them")


def annotated(row: tuple[StateInterval, ...], annotations: tuple[Annotation, ...]) -> tuple[StateInterval, ...]:
    """The intervals as people see them: cut where they say so, with the last reason that was given."""
    cuts: set[int] = set()
    reasons: list[tuple[str, int, int]] = []
    withdrawn = {(one.given_ns, one.from_ns) for one in annotations if isinstance(one, StopReasonWithdrawn)}
    for found in annotations:
        if isinstance(found, StopSplit):
            cuts.add(found.split_ns)
        elif isinstance(found, StopMerge):
            cuts.discard(found.split_ns)
        elif isinstance(found, StopReasonAssigned) and (found.at_ns, found.from_ns) not in withdrawn:
            reasons.append(_bounded(row, found, cuts))
    view: list[StateInterval] = []
    for interval in row:
        if interval.state not in STOPS:
            view.append(interval)
            continue
        bounds = {at_ns for _, *ends in reasons for at_ns in ends} | cuts
        inside = sorted(at_ns for at_ns in bounds if interval.from_ns < at_ns < interval.to_ns)
        edges = [interval.from_ns, *inside, interval.to_ns]
        for begin, end in pairwise(edges):
            part = interval._replace(from_ns=begin, to_ns=end)
            for reason, from_ns, to_ns in reasons:
                if from_ns <= begin and end <= to_ns:
                    part = part._replace(reason=reason, reason_source="operator")
            view.append(part)
    return tuple(view)


def _bounded(row: tuple[StateInterval, ...], found: StopReasonAssigned, cuts: set[int]) -> tuple[str, int, int]:
    """The reason, and the time that it is about: the whole standstill as it turned out, where no end was named.

    Where the standstill had been split by then, it is the part in which the instant lies.
    """
    if found.to_ns is not None:
        return found.reason, found.from_ns, found.to_ns
    for inside in row:
        if inside.from_ns <= found.from_ns < inside.to_ns and inside.state in STOPS:
            whole = [one for one in row if one.stop_from_ns is not None and one.stop_from_ns == inside.stop_from_ns]
            begin, end = (whole or [inside])[0].from_ns, (whole or [inside])[-1].to_ns
            begin = max([begin, *(at_ns for at_ns in cuts if begin < at_ns <= found.from_ns)])
            end = min([end, *(at_ns for at_ns in cuts if found.from_ns < at_ns < end)])
            return found.reason, begin, end
    return found.reason, found.from_ns, found.from_ns


def why_it_stood(entry: StopReasonEntry, timeline: TimelineState, *, stands: bool) -> StopReasonAssigned | Notice:
    """The annotation that a person's word makes, or why it makes none; ``stands``: a stop goes on now.

    Of what is final the caller has made sure that it was one standstill.
    """
    at_ns = entry.at_ns if entry.from_ns is None else entry.from_ns
    told = StopReasonAssigned(entry.at_ns, at_ns, entry.to_ns, entry.reason, entry.who)
    if at_ns < timeline.final_ns:
        return told
    judged = next((one for one in timeline.row if one.from_ns <= at_ns < one.to_ns), None)
    if entry.to_ns is not None:
        why = "what happened then is not final yet; name the whole stop, or wait a minute"
    elif judged is not None:
        why = "" if judged.state in STOPS else "it did not stand then"
    else:
        why = "" if stands else "no stop goes on"
        # When it began is settled later; now is surely within.
        told = told._replace(from_ns=entry.at_ns)
    todo = "name an instant of a stop; see linegate states"
    return refused(entry.at_ns, Refusal(why, "STOP", allowed="a stop", what_to_do=todo)) if why else told


def cut(entry: StopCutEntry, timeline: TimelineState) -> StopSplit | StopMerge | Notice:
    """The annotation that a person's word makes; what is not final is refused, because it is still being judged."""
    if entry.split_ns >= timeline.final_ns:
        why = "what happened then is not final yet; wait a minute"
        return refused(entry.at_ns, Refusal(why, "FINAL", allowed="what is final", what_to_do="wait a minute"))
    kind = StopMerge if entry.merge else StopSplit
    return kind(entry.at_ns, entry.split_ns, entry.who)
