"""What was done for one open order on a machine and is not confirmed: what was told of its times, and its material.

Part of a job order's numbers. A confirmation takes it, what is over stays. How long a machine worked is kept by
``ledger.py``; which lot a piece came from is decided by ``lots.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.backflush import Backflush, MaterialLine, backflush_from
from gateway.core.work.lots import LotUse, use_from
from gateway.core.work.produced_lots import ProducedLot, SerialRecord
from gateway.core.work.rounding import RoundingCarry, carry_from_row, steps_of
from gateway.core.work.time_account import MINUTE_PLACES, ActivityMinutes, TimeAccount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.work.genealogy import GenealogyLink

#: Whole steps of each of ``ActivityMinutes``.
NO_MINUTES: Final = (0,) * len(ActivityMinutes._fields)
SERIALS_MAX: Final = 1000  # of one confirmation; a further one is in the journal and the genealogy only
MADE_LOTS_MAX: Final = 64  # of one confirmation; what comes on top is of the last one


class MadeLot(NamedTuple):
    """What was made of one lot since the last confirmation, and which lots it was made from.

    ``linked``: a confirmation that was taken back told it, so that its links are stored and not told again.
    """

    lot: str
    pieces: int = 0
    uses: tuple[LotUse, ...] = ()
    from_ns: int = 0
    to_ns: int = 0
    linked: bool = False


class RunWork(NamedTuple):
    """The work of one order on one machine.

    ``states`` is what was told of each machine state. ``setups`` ended since the last confirmation. ``made`` is what is
    not confirmed, by produced lot. ``operators`` were logged in since then, and are not any more. ``confirmed`` are the
    minutes of all its confirmations in their last decimals, since it was opened; what was taken back is not in them.
    """

    times: TimeAccount = TimeAccount()
    states: tuple[tuple[str, RoundingCarry], ...] = ()
    material: Backflush = Backflush()
    setups: int = 0
    produced: ProducedLot = ProducedLot()
    made: tuple[MadeLot, ...] = ()
    serials: tuple[SerialRecord, ...] = ()
    operators: tuple[str, ...] = ()
    linked_serials: int = 0
    confirmed: tuple[int, ...] = NO_MINUTES


NO_WORK: Final = RunWork()


class ConfirmedLines(NamedTuple):
    """A line of material with the lots that it came from; their quantities add up to the line's."""

    line: MaterialLine
    lots: tuple[tuple[str, str], ...] = ()


class HeldMaterial(NamedTuple):
    """From which lots pieces were made that wait for their verdict: it is no line before that.

    ``lots`` are lots and quantities in ``uom``, as texts, those that were taken first before the others.
    """

    item: str
    uom: str
    lots: tuple[tuple[str, str], ...]


class ConfirmedWork(NamedTuple):
    """What a confirmation says of times, material, lots and people.

    ``states`` in minutes with three decimals, as text. ``held``: what its pieces on hold were made from. ``total``: the
    minutes of all confirmations of its operation, in their last decimals, this one included. ``told`` is what was told
    of the times in all, this confirmation included; ``led`` the same of the leader's times, None where it has none of
    them. ``links`` and ``serials`` are written with it.
    """

    minutes: ActivityMinutes
    states: tuple[tuple[str, str], ...] = ()
    lines: tuple[ConfirmedLines, ...] = ()
    lots: tuple[MadeLot, ...] = ()
    serials: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    links: tuple[GenealogyLink, ...] = ()
    told: TimeAccount = TimeAccount()
    led: TimeAccount | None = None
    total: tuple[int, ...] = NO_MINUTES
    held: tuple[HeldMaterial, ...] = ()

    @property
    def takes_time(self) -> bool:
        """Whether it says of any time that it passed."""
        return any(self.minutes)


def work_from(document: Mapping[str, Any]) -> RunWork:
    """What ``_asdict`` and JSON made of ``RunWork``. Raises KeyError, TypeError, ValueError."""
    accounts, fixed = document["material"]
    number, lot, basis = document["produced"]
    return RunWork(
        TimeAccount(*(carry_from_row(row) for row in document["times"])),
        tuple((state, carry_from_row(row)) for state, row in document["states"]),
        backflush_from({"accounts": accounts, "fixed": fixed}),
        document["setups"],
        ProducedLot(number, lot, tuple(basis)),
        tuple(_made(*row) for row in document["made"]),
        tuple(SerialRecord(*row) for row in document["serials"]),
        tuple(document["operators"]),
        document.get("linked_serials", 0),
        tuple(document.get("confirmed", NO_MINUTES)),
    )


def with_total(work: RunWork, said: ConfirmedWork) -> tuple[RunWork, ConfirmedWork]:
    """With what this confirmation says among all that was confirmed; below 0 where it takes something back."""
    steps = (steps_of(minutes, MINUTE_PLACES) for minutes in said.minutes)
    total = tuple(before + more for before, more in zip(work.confirmed, steps, strict=True))
    return work._replace(confirmed=total), said._replace(total=total)


def _made(
    lot: str,
    pieces: int,
    uses: Sequence[Sequence[Any]],
    from_ns: int,
    to_ns: int,
    linked: bool = False,  # noqa: FBT001, FBT002 - a row, older ones without it
) -> MadeLot:
    known = tuple(use_from(dict(zip(LotUse._fields, row, strict=True))) for row in uses)
    return MadeLot(lot, pieces, known, from_ns, to_ns, linked)
