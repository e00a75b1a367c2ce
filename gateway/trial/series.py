"""The notation of a series of values: ``0 +1x10 bad 13`` is one sample after the other.

Turns a text into samples with their times; does not know what a signal means.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from gateway.core.duration import Duration
from gateway.core.model import Status

if TYPE_CHECKING:
    from gateway.core.model import Scalar

SAMPLES_MAX: Final = 100_000  # of one series, groups and repetitions written out
GROUPS_DEPTH_MAX: Final = 4
TEXT_CHARS_MAX: Final = 20_000
ALLOWED: Final = (
    "allowed: a number, true, false, 'text', bad, _ (nothing arrives), each with xN for N times; +N or +NxM (M steps), "
    "5? (uncertain), ( ... )xN, @12.5s before a value (its time)"
)

_WORD = re.compile(
    r"(?P<value>'[^']*'|true|false|bad|_|-?\d+(?:\.\d+)?)?(?P<doubt>\?)?(?P<step>[+-]\d+(?:\.\d+)?)?(?:x(?P<times>\d+))?"
)
_TOKEN = re.compile(r"\s*(?P<token>\(|\)(?:x\d+)?|(?:'[^']*'|[^\s()'])+)")


class TimedSample(NamedTuple):
    """A value at a time after the start of the test, ns."""

    after_ns: int
    value: Scalar
    status: Status


class _Tick(NamedTuple):
    """What one place of the series is: a value, a step from the last number, a time, or nothing."""

    value: Scalar | Decimal = None
    status: Status = Status.GOOD
    step: Decimal | None = None
    at_ns: int | None = None
    nothing: bool = False


def parsed(text: str, *, every_ns: int | None, first_ns: int = 0) -> tuple[TimedSample, ...]:
    """The samples of a series, in the order of their times.

    ``every_ns`` is the time from one place to the next; None where every value has its own ``@`` time. ``first_ns`` is
    the time of the first. Raises ValueError that names what was found and what is allowed.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"values: found {len(text)} characters, allowed {TEXT_CHARS_MAX}; use repetitions")
    samples: list[TimedSample] = []
    numbers = _Numbers()
    at_ns: int | None = first_ns if every_ns is not None else None
    for tick in _Parser(text).ticks():
        if tick.at_ns is not None:
            at_ns = _not_back(tick.at_ns, samples)
            continue
        if at_ns is None:
            raise ValueError("values: a value without a time; set every, or write @12.5s before each value")
        if not tick.nothing:
            samples.append(TimedSample(at_ns, numbers.value(tick), tick.status))
        at_ns = None if every_ns is None else at_ns + every_ns
    if not samples:
        raise ValueError(f"values: found no value, {ALLOWED}")
    return tuple(samples)


def _not_back(at_ns: int, samples: list[TimedSample]) -> int:
    if samples and at_ns < samples[-1].after_ns:
        last = Duration(samples[-1].after_ns)
        raise ValueError(
            f"values: found @{Duration(at_ns)} behind a value at {last}, allowed: times that do not go back"
        )
    return at_ns


class _Numbers:
    """Remembers the last number, from which steps go on."""

    def __init__(self) -> None:
        self._last: Decimal | None = None

    def value(self, tick: _Tick) -> Scalar:
        """The value of a place."""
        value = tick.value
        if tick.step is not None:
            if self._last is None:
                raise ValueError("values: a step (+N) without a number before it; write the first number")
            value = self._last + tick.step
        if not isinstance(value, Decimal):
            return value
        self._last = value
        # What was written with a decimal point is a device's floating-point value; all else is an exact integer.
        exponent = value.as_tuple().exponent
        return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)


class _Parser:
    """Reads the words of one text, groups by recursion."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                self._refuse(text[at:].strip())
            self._tokens.append(match["token"])
            at = match.end()
        self._next = 0

    def ticks(self) -> list[_Tick]:
        """Everything."""
        found = self._until_close(0)
        if self._next < len(self._tokens):
            raise ValueError("values: found ) without its (")
        return found

    def _until_close(self, depth: int) -> list[_Tick]:
        if depth > GROUPS_DEPTH_MAX:
            raise ValueError(f"values: found groups in groups, allowed {GROUPS_DEPTH_MAX} deep")
        found: list[_Tick] = []
        while self._next < len(self._tokens) and not self._tokens[self._next].startswith(")"):
            word = self._tokens[self._next]
            self._next += 1
            if word == "(":
                found += self._group(depth)
            elif word.startswith("@"):
                found.append(self._time(word, depth))
            else:
                found += self._word(word)
            _bounded(len(found))
        return found

    def _group(self, depth: int) -> list[_Tick]:
        inside = self._until_close(depth + 1)
        if self._next >= len(self._tokens):
            raise ValueError("values: found ( without its )")
        times = self._tokens[self._next].removeprefix(")").removeprefix("x")
        self._next += 1
        repeats = _times(times)
        _bounded(len(inside) * repeats)
        return inside * repeats

    def _time(self, token: str, depth: int) -> _Tick:
        if depth:
            raise ValueError(f"values: found {token} in a group, allowed: times outside of groups")
        try:
            return _Tick(at_ns=int(Duration(token[1:])))
        except ValueError as error:
            raise ValueError(f"values: found {token!r}: {error}; allowed such as @12.5s") from None

    def _word(self, token: str) -> list[_Tick]:
        match = _WORD.fullmatch(token)
        if match is None or not (match["value"] or match["step"]):
            self._refuse(token)
        value, step, times = match["value"], match["step"], _times(match["times"] or "")
        number = value is not None and (value[0] == "-" or value[0].isdigit())
        if step is not None and value is not None and not number:
            self._refuse(token)
        if match["doubt"] and (value is None or value in {"bad", "_"}):
            self._refuse(token)
        status = Status.UNCERTAIN if match["doubt"] else Status.GOOD
        steps = [_Tick(step=Decimal(step))] * times if step is not None else []
        if value is None:
            return steps
        if value == "_":
            return [_Tick(nothing=True)] * times
        if value == "bad":
            return [_Tick(status=Status.BAD)] * times
        if number:
            return [_Tick(Decimal(value), status), *steps] if steps else [_Tick(Decimal(value), status)] * times
        plain: Scalar = value[1:-1] if value[0] == "'" else value == "true"
        return [_Tick(plain, status)] * times

    def _refuse(self, found: str) -> NoReturn:
        raise ValueError(f"values: found {found[:40]!r}, {ALLOWED}")


def _times(text: str) -> int:
    times = int(text[:10]) if text else 1
    if not 1 <= times <= SAMPLES_MAX:
        raise ValueError(f"values: found x{text[:10]}, allowed x1 to x{SAMPLES_MAX}")
    return times


def _bounded(places: int) -> None:
    if places > SAMPLES_MAX:
        raise ValueError(f"values: more than the allowed {SAMPLES_MAX} places of one series; shorten it")
