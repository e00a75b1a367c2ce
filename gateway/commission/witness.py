"""Listens to one signal while parts are made, and knows when it is enough. The judging is done by pure modules."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from gateway.commission import witness_counter, witness_pulses
from gateway.commission.findings import Findings
from gateway.commission.target import UNNAMED
from gateway.commission.view import value_text
from gateway.core.duration import NS_PER_S
from gateway.core.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import Driver, Reading
    from gateway.commission.target import Target

#: Samples that are kept; a bouncing or very fast signal ends the measurement here.
SAMPLES_MAX: Final = 200_000
#: With all parts seen, silence this long ends the measurement, or this many of the longest intervals seen.
QUIET_NS: Final = 3 * NS_PER_S
QUIET_INTERVALS: Final = 2
#: Counter types of Modbus and where they start again at 0.
MODULUS_OF: Final = {"uint8": 2**8, "uint16": 2**16, "uint32": 2**32}


class Witness:
    """Collects what one signal does. ``parts`` is what a person says will be made, None if nobody does."""

    def __init__(self, target: Target, parts: int | None, now_ns: Callable[[], int]) -> None:
        (name,) = target.wanted
        self.signal = f"{target.source}.{name}"
        #: What the proposal calls it: a device without a name has none to propose.
        self._called = self.signal if target.source != UNNAMED else "SOURCE.SIGNAL"
        self.losses: list[str] = []
        self.problem = ""
        self._target = target
        self._name = name
        self._parts = parts
        self._now_ns = now_ns
        self._levels: list[witness_pulses.Level] = []
        self._samples: list[witness_counter.Sample] = []
        self._stamped = False
        self._text = ""
        self._is_text = False
        self._moves: list[int] = []
        self._forward = 0
        self._pulses = (0, 0)  # edges, and how many pulses they are

    @property
    def enough(self) -> bool:
        """Everything was seen and nothing moves any more, or there is no room for more."""
        if len(self._levels) + len(self._samples) >= SAMPLES_MAX or self._is_text:
            return True
        if self._parts is None or not self._moves or self._seen() < self._parts:
            return False
        longest = max((after - before for before, after in pairwise(self._moves)), default=0)
        if self._now_ns() - self._moves[-1] <= max(QUIET_NS, QUIET_INTERVALS * longest):
            return False
        return not self._levels or self._pulses_now() >= self._parts

    def take(self, reading: Reading, driver: Driver) -> None:
        """Keep what a reading says of the signal."""
        self.problem = driver.problems().get(self.signal, "")
        for value in reading.values:
            if value.signal != self.signal or value.status is Status.BAD:
                continue
            stamp = value.source_time_ns
            self._stamped = self._stamped or stamp is not None
            at_ns = value.received_time_ns if stamp is None else stamp
            if isinstance(value.value, bool):
                if not self._levels or self._levels[-1].high != value.value:
                    self._levels.append(witness_pulses.Level(at_ns, value.value))
                    self._moves += [at_ns] if value.value and len(self._levels) > 1 else []
            elif isinstance(value.value, int | float) and value.value == int(value.value):
                # Only changes matter, but the time of the last sample before one bounds it.
                if not self._samples or self._samples[-1].value != value.value:
                    self._forward += self._step(int(value.value))
                    self._samples.append(witness_counter.Sample(at_ns, int(value.value)))
                    self._moves += [at_ns] if len(self._samples) > 1 else []
            else:
                self._is_text = isinstance(value.value, str)
                self.problem = (
                    f"found the text {value.value!r}: witness measures digital inputs and counters; name one of those"
                    if self._is_text
                    else f"found {value_text(value.value)}, allowed a whole number or true and false"
                )
            self._text = value_text(value.value)

    def lost(self, text: str) -> None:
        """The link was lost; what happened meanwhile is unknown."""
        self.losses.append(text)

    def progress(self) -> str:
        """One line: how far it is."""
        of = f" for {self._parts} parts" if self._parts is not None else ""
        what = "rising edges, bounce included" if self._levels else "counts"
        value = f", now {self._text}" if self._text else ", no value yet"
        return f"{self._name}: {self._seen()} {what}{of}{value}; Ctrl-C ends and judges"

    def judge(self) -> Findings:
        """What the measurement says."""
        resolution_ns = self._sampling_ns()
        end_ns = self._now_ns()
        if self._levels:
            found = witness_pulses.findings(self._called, self._levels, end_ns, self._parts, resolution_ns)
        elif self._samples:
            found = witness_counter.findings(self._called, self._samples, self._parts, resolution_ns, self._modulus())
        else:
            return Findings.nothing("counter", self._called, self.problem or "no usable value came", *self.losses)
        return found.with_doubts(f"the link was lost: {text}" for text in dict.fromkeys(self.losses))

    def _seen(self) -> int:
        return self._forward if self._samples else len(self._moves)

    def _step(self, value: int) -> int:
        if not self._samples:
            return 0
        step = value - self._samples[-1].value
        return step if step >= 0 else step + (witness_counter.rolled(self._samples[-1].value, value) or -step)

    def _pulses_now(self) -> int:
        """What is left without the bounce; looked at anew only after an edge."""
        if self._pulses[0] != len(self._levels):
            found = witness_pulses.study(self._levels, self._now_ns(), self._parts)
            self._pulses = (len(self._levels), 0 if found is None else len(found.pulses))
        return self._pulses[1]

    def _sampling_ns(self) -> int:
        """Time between two looks at the signal; 0 where every edge comes with its own stamp."""
        settings = self._target.settings
        own = settings.signals.get(self._name)
        if self._target.driver_type.name == "digital_io":
            return 0  # edges come as they happen, with the kernel's stamp or at once
        if not self._stamped:
            return getattr(own, "scan", None) or self._target.driver_type.cycle_ns(settings)
        # An OPC UA server stamps what it sees, and looks so often.
        server = (
            getattr(own, "sampling", None),
            getattr(settings, "sampling", None),
            getattr(settings, "publish", None),
        )
        return next((int(every_ns) for every_ns in server if every_ns), 0)

    def _modulus(self) -> int | None:
        signal: Any = self._target.settings.signals.get(self._name)
        if self._target.driver_type.name != "modbus" or signal is None or signal.scale or signal.offset:
            return None
        return MODULUS_OF.get(signal.type or "uint16")
