"""Whether a unit's next answer can be an earlier request's, and what to ask to find out. Pure: no clock, no socket.

Frames on a serial line carry no number. After a missing or cut-off answer the next frame of that unit may be the late
one, and where kind and length agree nothing tells it from the right one: waiting helps only against answers that are
late by less. So the unit is left alone for a while (longer after each miss), and then has to answer a *check* before
anything else is asked. A unit answers in sequence, therefore an answer that only the check can have proves that the
late one came before, or never will.

* The first check is function 8, Return Query Data, which has no effect and is used for nothing else here. Its echo and
  its refusal (0x88, from a unit that does not have the function) prove the same: both answer function 8. So does the
  late answer to an earlier check: that one too was asked after the request in question.
* Some units do not answer at all what they do not know. So the next check is a read from the same address on, with a
  length that no request to this unit has had: shorter if there is one, else longer. Its data are proof. A refusal is
  proof only where the request in question had another function, because both refusals look the same; otherwise it
  counts as a miss, until ``PATIENCE`` time limits have passed since the request. The two kinds take turns after misses,
  and the one that was answered last comes first the next time.
* Radio modems and device servers may hold a frame back, so that answers overtake each other. For ``PATIENCE`` time
  limits an answer that could be the late one is therefore not believed before a check *behind* it is answered too: had
  it been the late one, the right one would come in the place of the check's.
* Late answers to checks fit no ordinary request. Should one get the length of a check that was never answered (requests
  are split after refusals), it has to be preceded by a check as well.

Another unit's request is never in doubt: the late answer carries the number of the slow one, and is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.modbus.layout import ADDRESSES, BIT_TABLES, BITS_PER_READ_MAX, REGISTERS_PER_READ_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.modbus.layout import Table

#: So many time limits after a missing answer, it is not expected any more.
PATIENCE: Final = 10
#: The quiet time grows to so many times its length, and never beyond ``QUIET_MAX_S`` by growing.
QUIET_FACTOR_MAX: Final = 8
QUIET_MAX_S: Final = 30.0
FUNCTION_OF: Final[dict[Table, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
DIAGNOSTICS: Final = 8
_BITS_PER_BYTE: Final = 8
_BYTES_PER_REGISTER: Final = 2


class Question(NamedTuple):
    """What a unit is asked: ``length`` registers or bits of a table from a PDU address on."""

    function: int
    table: Table
    address: int
    length: int

    @classmethod
    def reading(cls, table: Table, address: int, length: int) -> Question:
        """A read of that table."""
        return cls(FUNCTION_OF[table], table, address, length)

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.function in (*FUNCTION_OF.values(), DIAGNOSTICS)

    @property
    def shape(self) -> tuple[int, int]:
        """What tells its answer from another's: the function, and bytes of data."""
        if self.function not in FUNCTION_OF.values():
            return self.function, 0
        if self.table in BIT_TABLES:
            return self.function, -(-self.length // _BITS_PER_BYTE)
        return self.function, _BYTES_PER_REGISTER * self.length

    def __str__(self) -> str:
        if self.function == DIAGNOSTICS:
            return "the check by function 8"
        return f"{'' if self.reads else 'writing '}{self.table} {self.address} (length {self.length})"


#: Its answer carries nothing but its function, and needs nothing else.
ECHO: Final = Question(DIAGNOSTICS, "holding", 0, 0)


class Doubt:
    """One unit. Times are those of the event loop, in seconds."""

    __slots__ = ("_answered", "_by_read", "_expected", "_failed", "_misses", "_shapes", "_strays", "quiet_until_s")

    def __init__(self) -> None:
        self.quiet_until_s = 0.0
        self._failed: Question | None = None  # may still be answered, and the answer taken for another's
        self._answered = False  # that one, by itself or by another's late answer
        self._expected: dict[tuple[int, int], float] = {}  # shapes of missing answers, and until when they may come
        self._misses = 0
        self._by_read = False
        self._shapes: set[tuple[int, int]] = set()  # of ordinary requests
        self._strays: set[tuple[int, int]] = set()  # of checks that may still be answered

    def check_before(self, question: Question) -> Question | None:
        """What the unit has to answer before it is asked this; None: it can be asked."""
        self._shapes.add(question.shape)
        if self._failed is None:
            if question.shape not in self._strays:
                return None
            self._failed, self._answered = question, False
        return self._check()

    def check_behind(self, question: Question, now_s: float) -> Question | None:
        """What the unit has to answer before its answer to this is believed; None: it can be believed."""
        if now_s >= self._expected.get(question.shape, now_s):
            self._expected.pop(question.shape, None)
            return None
        self._failed, self._answered = question, True
        return self._check()

    def refusal_proves(self, check: Question, now_s: float) -> bool:
        """Whether a refusal can only be the check's."""
        assert self._failed is not None, "a check comes after a failure"
        expected = now_s < self._expected.get(self._failed.shape, now_s)
        return self._answered or check.function != self._failed.function or not expected

    def proved(self, check: Question, *, refused: bool) -> None:
        """The check was answered: what comes from now on is not the late answer."""
        assert self._failed is not None, "a check comes after a failure"
        self._strays.discard(self._failed.shape)
        if check is not ECHO and not refused and check.shape not in self._strays:
            self._strays.clear()  # in sequence
        self._failed = None

    def check_missed(self, check: Question, asked_s: float, timeout_s: float, quiet_s: float) -> None:
        """The check was not answered, or by something else: another kind next time, and a longer silence."""
        if self._answered and self._failed is not None:
            self._expected[self._failed.shape] = asked_s + PATIENCE * timeout_s  # what answered it was another's
            self._answered = False
        if check is not ECHO:
            self._strays.add(check.shape)
        self._by_read = not self._by_read
        self._be_quiet(asked_s, timeout_s, quiet_s)

    def missed(self, question: Question, asked_s: float, timeout_s: float, quiet_s: float) -> None:
        """An ordinary request found no proper end. One that was cut off has its time limit still before it."""
        self._failed, self._answered = question, False
        self._expected[question.shape] = asked_s + PATIENCE * timeout_s
        self._be_quiet(asked_s, timeout_s, quiet_s)

    def answered(self) -> None:
        """An ordinary request was answered: the next silence is a short one again."""
        self._misses = 0

    def _check(self) -> Question:
        assert self._failed is not None, "a check comes after a failure"
        return next(self._lengths(self._failed), ECHO) if self._by_read else ECHO

    def _be_quiet(self, asked_s: float, timeout_s: float, quiet_s: float) -> None:
        grown_s = quiet_s * min(2**self._misses, QUIET_FACTOR_MAX)
        self._misses = min(self._misses + 1, QUIET_FACTOR_MAX)
        self.quiet_until_s = asked_s + timeout_s + max(quiet_s, min(grown_s, QUIET_MAX_S))

    def _lengths(self, failed: Question) -> Iterator[Question]:
        """Reads from the same address on that no other request's answer can be taken for, the best first."""
        table = failed.table
        per_step = _BITS_PER_BYTE if table in BIT_TABLES else 1
        most = (BITS_PER_READ_MAX if table in BIT_TABLES else REGISTERS_PER_READ_MAX) // per_step
        steps = -(-failed.length // per_step) if failed.reads else 0
        checks = [
            Question.reading(table, failed.address, length * per_step)
            for length in (*range(min(steps - 1, most), 0, -1), *range(steps + 1, most + 1))
            if failed.address + length * per_step <= ADDRESSES
        ]
        free = [check for check in checks if check.shape not in self._shapes]
        yield from (check for check in free if check.shape not in self._strays)
        yield from free
