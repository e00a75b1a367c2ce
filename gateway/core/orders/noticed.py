"""What of a step an ERP is told as a notice: changes of state, words about quality, pieces without an order.

Made of the step's outputs and of what the bucket held before and after it, so nothing is remembered besides. Pieces
that go on coming into the bucket are told once a quarter of an hour and not one by one; while some wait it is offered
then also where none came, for those who have not heard it yet. Who hears it, and whether, the caller says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.document import utc
from gateway.core.duration import Duration
from gateway.core.entries import Decided, PiecesReclassified
from gateway.core.model import Confirmation, JobChanged, JobOrderState, Notice
from gateway.core.orders.erp_notice import GROWING, LISTED_MAX, ErpNotice, NoticeType
from gateway.core.orders.standing_holds import StandingHoldChanged
from gateway.core.orders.unallocated import CountAllocation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.confirming.quantities import Pieces
    from gateway.core.model import JobOrder, Output
    from gateway.core.unit_state import State

#: Pieces that go on coming without an order are told at the end of each such stretch of steady time.
GROWING_NS: Final = Duration("15 min")
_TELLING: Final = (JobChanged, PiecesReclassified, StandingHoldChanged, CountAllocation, Notice)
_ON_HOLD: Final = JobOrderState.ON_HOLD
_APPROVED: Final = "FIRST_ARTICLE_APPROVED"


def notices_of(before: State, outputs: Sequence[Output], after: State) -> list[ErpNotice]:
    """What there is to tell of a step that led from the last committed state to this one, in its order."""
    made = _Made(before, outputs, after)
    found: list[ErpNotice] = []
    for one in outputs:
        if isinstance(one, Decided):
            made.said(one)
        elif isinstance(one, _TELLING):
            found += made.of(one)
    bucket = made.of_bucket()
    return found if bucket is None else [*found, bucket]


class _Made:
    """The notices of one step."""

    def __init__(self, before: State, outputs: Sequence[Output], after: State) -> None:
        self._before, self._outputs, self._after = before, outputs, after
        self._word: Decided | None = None

    def said(self, word: Decided) -> None:
        """What a person said last: it goes before all that follows from it, and many may speak in one step."""
        self._word = word

    def of(self, one: Output) -> Iterator[ErpNotice]:
        """Those of one output."""
        match one:
            case JobChanged(record=record, previous=previous) if record.state is not previous:
                job = record.job
                cause = {"state": record.state.value, "previous_state": previous and previous.value}
                yield self._told(NoticeType.STATUS, "state_changed", one.at_ns, {**cause, "cause": one.trigger}, job)
                if _ON_HOLD in (record.state, previous):
                    held = record.state is _ON_HOLD
                    word = self._word_on(job, one.trigger)
                    reason = (record.hold_reason if held else "") or (word.reason if word else "") or one.trigger
                    told = {"state": record.state.value, "reason": reason, "who": word.who if word else None}
                    yield self._quality("held" if held else "hold_ended", one.at_ns, told, job)
            case Notice(code=code, detail=detail) if code == _APPROVED:
                named = dict(detail)
                key = (named.get("order", ""), named.get("operation", ""))
                told = {"who": named.get("who")}
                yield self._quality("first_article_approved", one.at_ns, told, self._job(key), key)
            case PiecesReclassified():
                key = (one.order, one.operation)
                told = {
                    "pieces": str(one.pieces),
                    "judged_from": one.from_role.value,
                    "judged_to": one.to_role.value,
                    "reason": one.reason or None,
                    "who": one.who or None,
                }
                yield self._quality("judged", one.at_ns, told, self._job(key), key)
            case StandingHoldChanged():
                told = {
                    "scope": one.scope.value,
                    "name": one.name,
                    "reason": one.reason or None,
                    "who": one.who or None,
                }
                yield self._quality(f"standing_hold_{'set' if one.begins else 'released'}", one.at_ns, told, None)

    def of_bucket(self) -> ErpNotice | None:
        """What is to be told of pieces without an order: the first, what was given away, and that they go on."""
        before, after = self._before.bucket, self._after.bucket
        given = [one for one in self._outputs if isinstance(one, CountAllocation)]
        first = not any(before.left) and any(after.left)
        again = False
        if given:
            event = "allocated"
        elif first:
            event = "collecting"
        elif self._stretch_ended() and after.entries:
            event, again = GROWING, not self._went_on()
        else:
            return None
        detail = {
            "waiting": _pieces(after.left),
            "since": None if after.since_ns is None else self._utc(after.since_ns),
            "entries": len(after.entries),
            "received": _pieces(after.received),
            "allocated": _pieces(after.allocated),
            "scrapped": _pieces(after.scrapped),
            "given": [_given(one) for one in given[:LISTED_MAX]],
            "given_more": max(len(given) - LISTED_MAX, 0),
        }
        return self._told(NoticeType.UNALLOCATED, event, self._after.at_ns, detail, None)._replace(again=again)

    def _stretch_ended(self) -> bool:
        return self._after.at_ns // GROWING_NS > self._before.at_ns // GROWING_NS

    def _went_on(self) -> bool:
        """Whether pieces came in that nobody has taken, in the stretch that this step began in or behind it."""
        from_ns = self._before.at_ns // GROWING_NS * GROWING_NS
        return any(one.what.t_to_ns >= from_ns for one in self._after.bucket.entries)

    def _quality(
        self, event: str, at_ns: int, told: dict[str, Any], job: JobOrder | None, key: tuple[str, str] = ("", "")
    ) -> ErpNotice:
        names = ("state", "pieces", "judged_from", "judged_to", "scope", "name", "reason", "who")
        detail = {name: told.get(name) for name in names}
        return self._told(NoticeType.QUALITY, event, at_ns, detail, job, key)

    def _told(
        self,
        type_: NoticeType,
        event: str,
        at_ns: int,
        detail: dict[str, Any],
        job: JobOrder | None,
        key: tuple[str, str] = ("", ""),
    ) -> ErpNotice:
        offset_ns = self._after.utc_offset_ns
        return ErpNotice(type_, event, at_ns + offset_ns, self._after.at_ns + offset_ns, detail, job, *key)

    def _job(self, key: tuple[str, str]) -> JobOrder | None:
        """The job order of a decision: as this step changed it, or as it waits or runs here."""
        for one in self._outputs:
            if isinstance(one, JobChanged) and one.record.job.key == key:
                return one.record.job
            if isinstance(one, Confirmation) and one.job.key == key:
                return one.job
        return next((run.job for run in self._after.open_runs() if run.job.key == key), None)

    def _word_on(self, job: JobOrder, trigger: str) -> Decided | None:
        """The word that was done to this order right now, whose speaker its trigger names; None: nobody's was."""
        word = self._word
        if word is None or word.refused or word.order not in ("", job.order) or f"by {word.who}" not in trigger:
            return None
        return word

    def _utc(self, at_ns: int) -> str | None:
        return utc(at_ns + self._after.utc_offset_ns)


def _given(one: CountAllocation) -> dict[str, Any]:
    return {
        "order_id": one.order or None,
        "operation": one.operation or None,
        "pieces": str(one.what.pieces),
        "from": one.what.role.value,
        "to": one.role_to.value,
        "by": one.by,
        "reason": one.reason or None,
    }


def _pieces(pieces: Pieces) -> dict[str, str]:
    return {role: str(number) for role, number in pieces._asdict().items()}
