"""The work of a leader handed to its originals: times by share of pieces, lots with the pieces that were made of them.

Exact: what the originals are told of adds up to what the leader took, in every confirmation. Whose pieces they are is
decided in ``orders/merged.py``; makes no confirmation.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.work.backflush import Backflush
from gateway.core.work.lots import Certainty, LotUse
from gateway.core.work.rounding import Exact, decimal_steps, largest_remainders, steps_of
from gateway.core.work.time_account import MINUTE_PLACES, ActivityMinutes, TimeAccount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.work.run_work import ConfirmedWork, MadeLot, RunWork


class ToldTimes(NamedTuple):
    """What is told of times now: steps of a thousandth of a minute.

    ``minutes`` in the sequence of ``ActivityMinutes``; ``told`` is all that was told of it, this included.
    """

    minutes: tuple[int, ...] = (0,) * len(ActivityMinutes._fields)
    states: tuple[tuple[str, int], ...] = ()
    told: TimeAccount = TimeAccount()

    @property
    def takes_time(self) -> bool:
        """Whether there is any."""
        return any(self.minutes) or bool(self.states)


def shared_times(led: ToldTimes, weights: Sequence[int]) -> tuple[ToldTimes, ...]:
    """The times of each original by these weights, 0 or more; the sums are the leader's. All 0: equal parts."""
    minutes = [largest_remainders(steps, weights) for steps in led.minutes]
    states = [(name, largest_remainders(steps, weights)) for name, steps in led.states]
    return tuple(
        ToldTimes(
            tuple(steps[at] for steps in minutes),
            tuple((name, steps[at]) for name, steps in states if steps[at]),
            led.told,
        )
        for at in range(len(weights))
    )


def with_times(own: ConfirmedWork, handed: ToldTimes) -> ConfirmedWork:
    """What a confirmation of an original says: its own times and those of its leader."""
    both = (
        decimal_steps(steps_of(minutes, MINUTE_PLACES) + steps, MINUTE_PLACES)
        for minutes, steps in zip(own.minutes, handed.minutes, strict=True)
    )
    states = {name: steps_of(Decimal(text), MINUTE_PLACES) for name, text in own.states}
    for name, steps in handed.states:
        states[name] = states.get(name, 0) + steps
    told = tuple((name, str(decimal_steps(states[name], MINUTE_PLACES))) for name in sorted(states))
    return own._replace(minutes=ActivityMinutes(*both), states=told, led=handed.told)


def with_work(leader: RunWork, originals: Sequence[RunWork], pieces: Sequence[int]) -> tuple[RunWork, ...]:
    """The originals with what the leader used; ``pieces`` is what each was given of those that are in it.

    Lots go with the pieces. What belongs to no piece (setups, what a person issued) is the first one's that got any.
    """
    first = next((at for at, number in enumerate(pieces) if number), 0)
    left, serials = list(pieces), list(leader.serials)
    found: list[list[MadeLot]] = [[] for _ in originals]
    for lot in leader.made:
        weights = left if sum(left) >= max(lot.pieces, 1) else list(pieces)
        for at, (part, made) in enumerate(zip(_parts(lot, weights), found, strict=True)):
            left[at] = max(left[at] - part.pieces, 0)
            if part.pieces or part.uses:
                made.append(part)
    after: list[RunWork] = []
    for at, (work, made) in enumerate(zip(originals, found, strict=True)):
        taken, serials = serials[: pieces[at]], serials[pieces[at] :]
        one = work._replace(
            made=(*work.made, *made),
            serials=(*work.serials, *taken),
            operators=tuple(sorted({*work.operators, *leader.operators})),
            produced=leader.produced if made else work.produced,
        )
        if at == first:
            material = _together(work.material, leader.material)
            one = one._replace(setups=one.setups + leader.setups, material=material)
        after.append(one)
    return tuple(after)


def handed_over(leader: RunWork) -> RunWork:
    """The leader's work after that: its times and the lot that it makes go on."""
    return leader._replace(made=(), serials=(), setups=0, operators=(), material=Backflush())


def _parts(lot: MadeLot, weights: Sequence[int]) -> list[MadeLot]:
    """A lot by whole pieces; what was used for it by the same shares, exactly."""
    numbers = largest_remainders(lot.pieces, weights)
    shares = [Fraction(one) for one in (numbers if lot.pieces else weights)]
    whole = sum(shares)
    if not whole:
        shares, whole = [Fraction(1)] * len(shares), Fraction(len(shares))
    # Of several lots at one feeder nobody knows which pieces of which original they went into.
    feeders = [use.feeder for use in lot.uses]
    certain = [
        use if feeders.count(use.feeder) == 1 or use.certainty is not Certainty.EXACT else _unsure(use)
        for use in lot.uses
    ]
    pieces = [largest_remainders(use.pieces, shares) for use in certain]
    return [
        lot._replace(
            pieces=number,
            uses=tuple(
                use._replace(pieces=parts[at], quantity=Exact.of(use.quantity.fraction * share / whole))
                for use, parts in zip(certain, pieces, strict=True)
                if share
            ),
        )
        for at, (number, share) in enumerate(zip(numbers, shares, strict=True))
    ]


def _unsure(use: LotUse) -> LotUse:
    return use._replace(certainty=Certainty.INTERVAL)


def _together(own: Backflush, other: Backflush) -> Backflush:
    accounts = {one[:6]: one for one in own.accounts}
    for one in other.accounts:
        known = accounts.get(one[:6])
        used = one.used if known is None else known.used.plus(one.used.total.fraction)
        accounts[one[:6]] = one._replace(used=used)
    return own._replace(accounts=tuple(accounts.values()))
