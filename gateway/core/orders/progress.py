"""How far the operation before has got, wherever in this gateway it is made: told to the orders that come behind it.

Notes what the records say, and says where an operation has more good pieces than the one before. Whether an order may
start is asked by ``starting.py``; what several parts of a divided order come to together is ``together``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from gateway.core.job_order import JobOrderState
from gateway.core.orders.places import notice, with_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.job_order import JobRecord
    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules_confirming import DeliveryRule
    from gateway.core.rules_orders import OrderBookRule
    from gateway.core.unit_state import State

#: The notice, and the flag of a confirmation: more good pieces than the operation before has.
EXCEEDS: Final = "QTY_EXCEEDS_PREDECESSOR"
WITHIN: Final = "QTY_WITHIN_PREDECESSOR"

_S: Final = JobOrderState
_OVER: Final = frozenset({_S.COMPLETED, _S.CLOSED})
_PERCENT: Final = 100
#: The less an operation has got, the earlier; what is not here (split, merged, cancelled) says nothing by itself.
_HOW_FAR: Final = (
    _S.PLANNED,
    _S.RELEASED,
    _S.DISPATCHED,
    _S.ON_HOLD,
    _S.INTERRUPTED,
    _S.SETUP,
    _S.IN_PROGRESS,
    _S.COMPLETED,
    _S.CLOSED,
)


def with_progress(state: State, records: Iterable[JobRecord]) -> State:
    """The state with what these records say of operations before those that are open here."""
    by_key = {record.job.key: record for record in records}
    after = tuple(_told(run, by_key) for run in state.at_work())
    queue = tuple(_told(run, by_key) for run in state.queue)
    if all(one is two for one, two in zip((*after, *queue), state.open_runs(), strict=True)):
        return state
    return state._replace(running=after[0] if after else None, beside=after[1:], queue=queue)


def before(run: JobRun) -> frozenset[tuple[str, str]]:
    """Order and number of the operation before, as the ERP names them: of a leader those of all that it leads.

    Empty: it is the first, or nobody told.
    """
    if run.merged is not None:
        return frozenset(key for one in run.merged.runs for key in before(one))
    image = run.job.image
    found = None if image is None else image.predecessor(run.job.operation)
    return frozenset() if found is None else frozenset({(run.job.erp_key[0], found.operation)})


def asked_of(run: JobRun) -> frozenset[tuple[str, str]]:
    """What is to be told to an order: the operations before it, and of a part of a split order also its own.

    The parts are one operation to the ERP: together they have no more than the one before. A leader asks for those of
    all parts that it leads.
    """
    keys = before(run)
    return keys | _divided(_parts_of(run)) if keys else keys


def together(record: JobRecord, parts: Sequence[JobRecord]) -> JobRecord:
    """What the ERP's operation came to where it was divided: its own pieces and those of its parts, and how far it is.

    ``parts``: the children of one that was split; of one that is merged its leader, all of whose pieces may be its own.
    Without parts it is as it says itself.
    """
    if record.state not in (_S.SPLIT, _S.MERGED) or not parts:
        return record
    alive = [one.state for one in parts if one.state in _HOW_FAR]
    if not alive or all(one in _OVER for one in alive):
        state = _S.COMPLETED
    elif any(one in (_S.SETUP, _S.IN_PROGRESS) for one in alive):
        state = _S.IN_PROGRESS
    else:
        state = _S.INTERRUPTED if any(one.good for one in (record, *parts)) else min(alive, key=_HOW_FAR.index)
    good = record.good + sum(one.good for one in parts)
    confirmed_there = record.external[0] + sum(one.external[0] for one in parts)
    return record._replace(state=state, good=good, external=(confirmed_there, *record.external[1:]))


def good_of(run: JobRun) -> int:
    """Its good pieces, with what somebody confirmed in the ERP; of a leader those of all that it leads."""
    if run.merged is not None:
        return run.open_good + sum(map(good_of, run.merged.runs))
    return run.good + run.external[0]


def allowed(run: JobRun, delivery: DeliveryRule) -> int | None:
    """How many good pieces it may have by those of the operation before and the tolerance; None: nobody told."""
    if run.before_good is None:
        return None
    image = run.job.image
    percent = None if image is None else image.allowed_over
    percent = delivery.over if percent is None else percent
    return math.floor(Fraction(run.before_good) * (_PERCENT + Fraction(percent or 0)) / _PERCENT)


def beyond(run: JobRun, rule: OrderBookRule, delivery: DeliveryRule) -> bool:
    """Whether it has more good pieces than the operation before had when that was told last, and the tolerance."""
    if run.before_good is None or rule.exceeds_predecessor == "off":
        return False
    most = allowed(run, delivery)
    good = good_of(run)  # a part that made none says nothing of the others
    return most is not None and bool(good) and good + run.beside_good > most


def asks(run: JobRun, rule: OrderBookRule, delivery: DeliveryRule) -> bool:
    """Whether it must be told how far the operation before is now, because it would have too many by what was told."""
    return not run.exceeds and beyond(run, rule, delivery)


def flagged(run: JobRun, rule: OrderBookRule, delivery: DeliveryRule) -> bool:
    """Whether a confirmation of it says so: it was found to be so, or the operation before is over."""
    return (run.exceeds or run.before_state in _OVER) and beyond(run, rule, delivery)


def compared(
    state: State, at_ns: int, rule: OrderBookRule, delivery: DeliveryRule, told: Iterable[JobRecord], out: list[Output]
) -> State:
    """The state after it was told how far other operations are: who has too many says so once, and once it has not."""
    news = {record.job.key for record in told}
    for run in tuple(state.open_runs()):
        too_many = beyond(run, rule, delivery)
        if too_many == run.exceeds or not news & asked_of(run):
            continue
        state = with_run(state, run._replace(exceeds=too_many))
        good = good_of(run) + run.beside_good
        numbers = {"good": str(good), "allowed": str(allowed(run, delivery)), "before": str(run.before_good)}
        out.append(notice(at_ns, EXCEEDS if too_many else WITHIN, run.job, **numbers))
    return state


# --- parts -----------------------------------------------------------------------------------------------------------


def _told(run: JobRun, by_key: dict[tuple[str, str], JobRecord]) -> JobRun:
    if run.merged is not None:
        runs = tuple(_told(one, by_key) for one in run.merged.runs)
        led = least_of(run._replace(merged=run.merged._replace(runs=runs)), runs)
        wholes = {key: by_key[key].good + by_key[key].external[0] for key in _divided(runs) if key in by_key}
        if wholes.keys() == _divided(runs):
            led = led._replace(beside_good=_beside(led, runs, wholes))
        unchanged = all(one is two for one, two in zip(runs, run.merged.runs, strict=True))
        return run if unchanged and led == run else led
    whole = by_key.get(run.job.erp_key) if run.job.erp_order else None
    if whole is not None:
        beside = max(whole.good + whole.external[0] - good_of(run), 0)
        run = run if beside == run.beside_good else run._replace(beside_good=beside)
    (key,) = before(run) or (None,)
    record = None if key is None else by_key.get(key)
    if record is None:
        return run
    good = record.good + record.external[0]
    if record.state is run.before_state and good == run.before_good:
        return run
    return run._replace(before_state=record.state, before_good=good)


def least_of(leader: JobRun, runs: Sequence[JobRun]) -> JobRun:
    """A leader with what is known of the operations before its originals: the one that is least far, and their sum.

    Parts of one split order have one operation before them, which counts once.
    """
    states = [one.before_state for one in runs if one.before_state in _HOW_FAR]
    goods: dict[frozenset[tuple[str, str]], int | None] = {}
    for one in runs:
        told = [good for good in (goods.get(before(one)), one.before_good) if good is not None]
        goods[before(one)] = max(told, default=None)
    known = [good for good in goods.values() if good is not None]
    return leader._replace(
        before_state=min(states, key=_HOW_FAR.index) if states else None,
        before_good=sum(known) if len(known) == len(goods) else None,
    )


def beside_of(leader: JobRun, runs: Sequence[JobRun]) -> JobRun:
    """A new leader with the good pieces of those parts of its split orders that it does not lead."""
    wholes: dict[tuple[str, str], int] = {}
    for one in runs:
        if one.job.erp_order:
            wholes[one.job.erp_key] = max(wholes.get(one.job.erp_key, 0), good_of(one) + one.beside_good)
    return leader._replace(beside_good=_beside(leader, runs, wholes))


def _parts_of(run: JobRun) -> tuple[JobRun, ...]:
    return (run,) if run.merged is None else run.merged.runs


def _divided(runs: Iterable[JobRun]) -> frozenset[tuple[str, str]]:
    """The split orders of which these are parts, as the ERP names their operation."""
    return frozenset(one.job.erp_key for one in runs if one.job.erp_order)


def _beside(leader: JobRun, runs: Sequence[JobRun], wholes: Mapping[tuple[str, str], int]) -> int:
    """The good pieces of the parts that it does not lead; what is open of it may be of any that it leads."""
    led = dict.fromkeys(wholes, leader.open_good)
    for one in runs:
        if one.job.erp_order:
            led[one.job.erp_key] += good_of(one)
    return sum(max(whole - led[key], 0) for key, whole in wholes.items())
