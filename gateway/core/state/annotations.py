"""What a person says afterwards about a stop: its reason, or that it was two. The raw intervals never change.

A view is made of intervals and annotations, in the order in which they were given. Decides no state.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from gateway.core.state.interval import STOPS, StateInterval


class AnnotationError(ValueError):
    """An annotation that cannot be: what was found, and what is allowed."""


class StopReasonAssigned(NamedTuple):
    """The reason of ``[from_ns, to_ns)``, which lies within one standstill; ``who`` gave it at ``at_ns``."""

    at_ns: int
    from_ns: int
    to_ns: int
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


Annotation = StopReasonAssigned | StopSplit | StopMerge


def check(row: tuple[StateInterval, ...], found: Annotation, lock_ns: int | None = None) -> None:
    """Raises AnnotationError where the annotation is outside of a stop, or later than ``lock_ns``."""
    if lock_ns is not None and found.at_ns > lock_ns:
        raise AnnotationError(f"annotation at {found.at_ns}: found later than the lock, allowed up to {lock_ns}")
    if isinstance(found, StopReasonAssigned):
        if not found.reason or found.from_ns >= found.to_ns:
            raise AnnotationError("reason: found an empty reason or time, allowed: a reason for some time of a stop")
        at_ns, touched = found.from_ns, [one for one in row if one.from_ns < found.to_ns and one.to_ns > found.from_ns]
        covered = bool(touched) and touched[0].from_ns <= found.from_ns and touched[-1].to_ns >= found.to_ns
    else:
        at_ns, touched = found.split_ns, [one for one in row if one.from_ns < found.split_ns < one.to_ns]
        covered = bool(touched)
    if not covered or any(one.state not in STOPS for one in touched):
        raise AnnotationError(f"annotation at {at_ns}: found outside of a stop, allowed: an instant inside of one")
    if len({one.stop_from_ns for one in touched}) > 1:
        raise AnnotationError(f"annotation at {at_ns}: found over several stops, allowed: within one of them")


def annotated(row: tuple[StateInterval, ...], annotations: tuple[Annotation, ...]) -> tuple[StateInterval, ...]:
    """The intervals as people see them: cut where they say so, with the last reason that was given."""
    cuts = set()
    for found in annotations:
        if isinstance(found, StopSplit):
            cuts.add(found.split_ns)
        elif isinstance(found, StopMerge):
            cuts.discard(found.split_ns)
    reasons = [found for found in annotations if isinstance(found, StopReasonAssigned)]
    view: list[StateInterval] = []
    for interval in row:
        if interval.state not in STOPS:
            view.append(interval)
            continue
        bounds = {at_ns for found in reasons for at_ns in (found.from_ns, found.to_ns)} | cuts
        inside = sorted(at_ns for at_ns in bounds if interval.from_ns < at_ns < interval.to_ns)
        edges = [interval.from_ns, *inside, interval.to_ns]
        for begin, end in pairwise(edges):
            part = interval._replace(from_ns=begin, to_ns=end)
            for found in reasons:
                if found.from_ns <= begin and end <= found.to_ns:
                    part = part._replace(reason=found.reason, reason_source="operator")
            view.append(part)
    return tuple(view)
