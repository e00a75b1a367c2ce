"""A merged order: the originals under their leader, and the leader's open pieces handed to them.

Every role is distributed by itself, whole, and nothing is taken back; lots go with the pieces. Which orders may be
merged is for ``split_merge.py``, who gets how many for ``distribution.py``; confirms nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.orders.distribution import Original, Shares, distribute
from gateway.core.work.handed_work import with_work

if TYPE_CHECKING:
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules_orders import Distribution

#: In the order of ``given``: what is handed to the originals, each by itself.
HANDED: Final = ("good", "scrap", "rework", "hold", "test")


class Merged(NamedTuple):
    """The originals of a leader, side by side: what decides their shares, their numbers, and what they were given.

    ``runs`` are as they were when they were merged, so that they can return to that, with what was confirmed since.
    ``given`` has the shares of each role of ``HANDED``.
    """

    how: Distribution
    originals: tuple[Original, ...]
    runs: tuple[JobRun, ...]
    given: tuple[Shares, ...]

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        """Order and operation of each original."""
        return frozenset(run.job.key for run in self.runs)

    @property
    def began(self) -> bool:
        """Whether anything was handed to them."""
        return any(shares.total for shares in self.given)

    @property
    def weights(self) -> tuple[int, ...]:
        """By what time is shared now: the pieces that are handed, else those of before, else what each wanted."""
        now = tuple(run.open_pieces + run.open_test for run in self.runs)
        before = tuple(sum(one) for one in zip(*(shares.given for shares in self.given), strict=True))
        wanted = tuple(one.open_pieces for one in self.originals)
        return next(weights for weights in (now, before, wanted, (1,) * len(now)) if any(weights))


def handed(merged: Merged, leader: JobRun) -> Merged:
    """The originals with all that is open of their leader as theirs."""
    given: list[Shares] = []
    parts: list[dict[str, int]] = [{} for _ in merged.runs]
    for role, before in zip(HANDED, merged.given, strict=True):
        after = distribute(getattr(leader, f"open_{role}"), merged.originals, before, merged.how)
        given.append(after)
        for part, now, was in zip(parts, after.given, before.given, strict=True):
            part[role] = now - was
    cycles = _cycles(leader.open_cycles, [sum(part.values()) for part in parts])
    runs: list[JobRun] = []
    reasons = dict(leader.open_scrap_reasons)
    estimated = leader.open_estimated
    for run, part, turned in zip(merged.runs, parts, cycles, strict=True):
        guessed = min(estimated, sum(part.values()))
        estimated -= guessed
        named = _taken(reasons, part["scrap"])
        runs.append(_with(run, leader, part, turned, guessed)._replace(open_scrap_reasons=named))
    works = with_work(leader.work, [run.work for run in runs], [sum(part.values()) for part in parts])
    told = tuple(run._replace(work=work) for run, work in zip(runs, works, strict=True))
    return merged._replace(runs=told, given=tuple(given))


def _with(run: JobRun, leader: JobRun, part: dict[str, int], cycles: int, estimated: int) -> JobRun:
    more: dict[str, Any] = {role: getattr(run, role) + pieces for role, pieces in part.items()}
    more |= {f"open_{role}": pieces for role, pieces in part.items()}
    return run._replace(
        **more,
        open_cycles=cycles,
        open_estimated=estimated,
        open_flags=leader.open_flags,
        open_from_ns=leader.open_from_ns,
        last_event_ns=leader.last_event_ns,
        last_derived_ns=leader.last_derived_ns,
    )


def _taken(reasons: dict[str, int], pieces: int) -> tuple[tuple[str, int], ...]:
    """So many pieces of scrap with reasons, as long as there are any; they are taken away."""
    found: list[tuple[str, int]] = []
    for reason in list(reasons):
        taken = min(reasons[reason], pieces)
        pieces, reasons[reason] = pieces - taken, reasons[reason] - taken
        if taken:
            found.append((reason, taken))
    return tuple(found)


def _cycles(cycles: int, pieces: list[int]) -> list[int]:
    """Cycles in the proportion of the pieces, whole, all of them; of no pieces at all to the first."""
    total = sum(pieces)
    if not total:
        return [cycles, *(0 for _ in pieces[1:])]
    upto = [cycles * sum(pieces[: at + 1]) // total for at in range(len(pieces))]
    return [now - before for now, before in zip(upto, (0, *upto[:-1]), strict=True)]
