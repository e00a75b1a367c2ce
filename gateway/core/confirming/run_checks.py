"""What is remembered of one open order for the checklist of its final confirmation, and what a person said to it.

Part of a job order's numbers. Asks nothing and decides nothing: that is ``checklist.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Stretches of one order in which nobody knows what its machine did; of more the shortest is forgotten.
UNKNOWN_KEPT_MAX: Final = 32
#: Items of one order of which a lot is not known.
ITEMS_KEPT_MAX: Final = 64
#: Verdicts of an inspection.
PASSED: Final = "passed"
FAILED: Final = "failed"
VERDICTS: Final = (PASSED, FAILED)


class RunChecks(NamedTuple):
    """Of one order at one machine; times in nanoseconds of the steady clock.

    ``unknown`` are the final stretches in which nobody knows what the machine did. ``acknowledged_ns``: a person took
    all up to then as it is. ``review`` pieces were set aside since then while it ran. ``lots_missing`` are items of
    which pieces took an unknown lot that are confirmed already; of ``lots_accepted`` a person took it so.
    ``inspection`` is the verdict, "" while there is none.
    """

    unknown: tuple[tuple[int, int], ...] = ()
    acknowledged_ns: int = 0
    review: int = 0
    lots_missing: tuple[str, ...] = ()
    lots_accepted: tuple[str, ...] = ()
    inspection: str = ""


def with_unknown(checks: RunChecks, stretches: Iterable[tuple[int, int]]) -> RunChecks:
    """With further stretches, in their order; what goes on where the last one ended is one with it."""
    kept = list(merged((*checks.unknown, *stretches)))
    while len(kept) > UNKNOWN_KEPT_MAX:
        kept.remove(min(kept, key=_length))
    return checks._replace(unknown=tuple(kept))


def with_lots(checks: RunChecks, items: Iterable[str]) -> RunChecks:
    """With items of which an unknown lot is confirmed."""
    found = tuple(dict.fromkeys((*checks.lots_missing, *items)))[:ITEMS_KEPT_MAX]
    return checks if found == checks.lots_missing else checks._replace(lots_missing=found)


def acknowledged(checks: RunChecks, at_ns: int, lots: Iterable[str]) -> RunChecks:
    """A person took it as it is: time without data, counters, and unknown lots of these items besides."""
    accepted = tuple(dict.fromkeys((*checks.lots_accepted, *checks.lots_missing, *lots)))[: 2 * ITEMS_KEPT_MAX]
    return checks._replace(unknown=(), acknowledged_ns=at_ns, review=0, lots_missing=(), lots_accepted=accepted)


def merged(stretches: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Stretches in their order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for from_ns, to_ns in sorted(stretches):
        if found and from_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], to_ns))
        else:
            found.append((from_ns, to_ns))
    return tuple(found)


def checks_from(data: Mapping[str, Any]) -> RunChecks:
    """What ``_asdict`` and JSON made of one. Raises KeyError, TypeError or ValueError for anything else."""
    return RunChecks(
        **{
            **data,
            "unknown": tuple((from_ns, to_ns) for from_ns, to_ns in data["unknown"]),
            "lots_missing": tuple(data["lots_missing"]),
            "lots_accepted": tuple(data["lots_accepted"]),
        }
    )


def _length(stretch: tuple[int, int]) -> int:
    return stretch[1] - stretch[0]
