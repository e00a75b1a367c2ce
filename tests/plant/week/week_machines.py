"""The five machines of the demo plant as their devices show them: seeded, stepped in virtual time, with their own log.

Beside them a workplace at which people pack by hand, and count themselves, and two presses that work on one operation.
The machines are those of ``simulators`` with a slower cycle, so that a week is as many pieces as a test has time for.
Their signals change as the real devices' do, by what the registers, nodes and pins of the simulators say. Knows nothing
of the gateway.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from simulators.digital_io import PCK_01
from simulators.machine import Cycle, Machine, Stop
from simulators.modbus_server import ASM_01
from simulators.nests import NEXT_PART_NS, SHOWN_NS
from simulators.opcua_filler import FIL_02
from simulators.opcua_server import CAVITIES, IMM_01
from simulators.tst_01 import TST_01

S = 1_000_000_000
MIN = 60 * S
#: Ideal cycle of each machine in the week, at one piece of work: the real one, slower.
CYCLES_NS = {"ASM-01": 24 * S, "TST-01": 22_500_000_000, "IMM-01": 54 * S, "FIL-02": 20 * S, "PCK-01": 54 * S}
CYCLES_NS["HND-01"] = 120 * S
CYCLES_NS |= {"PRS-01": 15 * MIN, "PRS-02": 14 * MIN}
SPECS = {"ASM-01": ASM_01, "TST-01": TST_01, "IMM-01": IMM_01, "FIL-02": FIL_02, "PCK-01": PCK_01, "HND-01": ASM_01}
SPECS |= {"PRS-01": ASM_01, "PRS-02": ASM_01}
#: Counters begin so close below their end that they go round in the week.
ASM_MODULUS, FIL_MODULUS = 65_536, 2**31
BELOW_THE_END = 700
BAD_CAVITIES = 0.02
SAMPLES = 0.002  # of the shots are for the laboratory
PACKML_EXECUTE, PACKML_STOPPED, PACKML_SUSPENDED = 6, 2, 5
CARTON_NS = S // 2  # how long a carton covers its sensor
HANDS = 0.05  # of the sets: a hand passes the light barrier between them and the next one
#: So long a level must hold until a pulse, or a verdict, is believed (the rules of the example, and their grace).
PULSE_SURE_NS, VERDICT_SURE_NS = 25_000_000, 320_000_000


class Made(NamedTuple):
    """Pieces of one cycle as the machine's own log has them.

    ``lane`` is the sensor that counts them; ``begin_ns`` is when that sensor last counted before. ``judged_ns``: when
    the gateway can know what they are.
    """

    lane: str
    begin_ns: int
    end_ns: int
    judged_ns: int
    good: int
    scrap: int
    test: int = 0

    @property
    def pieces(self):
        """Good ones, scrap and samples."""
        return {"good": self.good, "scrap": self.scrap, "test": self.test}


class Change(NamedTuple):
    """A signal shows another value from here on."""

    at_ns: int
    signal: str
    value: object


@dataclass
class Logged:
    """What really happened: pieces, and since when the machine runs or stands."""

    made: list
    runs: list


class Device:
    """One machine with its signals. Time is nanoseconds UTC; it stands until ``start``.

    ``advance`` returns the changes of signals up to an instant, oldest first.
    """

    source = ""
    forced = True  # its counters can be read at any instant

    def __init__(self, name, seed, origin_ns, slower=1):
        self.name = name
        self.cycle_ns = CYCLES_NS[name] * slower
        self._machine = Machine(replace(SPECS[name], ideal_cycle_ns=self.cycle_ns), seed=seed)
        self._machine.halt(0, "command")
        self._origin_ns = origin_ns
        self._random = random.Random(f"{name}/week/{seed}")
        self._later = []  # changes that are due, a heap
        self._serial = 0
        self.runs = False
        self.log = Logged([], [(origin_ns, False)])
        self._last = {}
        self.levels = self.first()

    # --- what people at the machine do ---

    def start(self, at_ns):
        """Run; returns the changes."""
        if self._machine.resume(at_ns - self._origin_ns) is None:
            return []
        return self._running(at_ns, runs=True)

    def stop(self, at_ns, reason="command", alarm=0):
        """Stand."""
        if self._machine.halt(at_ns - self._origin_ns, reason, alarm) is None:
            return []
        return self._running(at_ns, runs=False, reason=reason, alarm=alarm)

    @property
    def busy(self):
        """Whether it runs, or something that it did shows yet."""
        return self.runs or bool(self._later) or self._machine.next_ns is not None

    # --- time ---

    def advance(self, until_ns):
        """Every change up to here, this instant included."""
        found = []
        while True:
            at_ns = self._machine.next_ns
            at_ns = None if at_ns is None else at_ns + self._origin_ns
            if self._later and self._later[0][0] <= min(until_ns, until_ns if at_ns is None else at_ns):
                due_ns, _, signal, value = heapq.heappop(self._later)
                found += self._put(due_ns, signal, value)
            elif at_ns is not None and at_ns <= until_ns:
                found += self._event(self._machine.step(), at_ns)
            else:
                return found

    def look(self, at_ns):
        """Everything that it shows now."""
        return [Change(at_ns, signal, value) for signal, value in self.levels.items()]

    # --- for the kinds ---

    def first(self):
        """The signals at the beginning."""
        raise NotImplementedError

    def state(self, runs, reason, alarm):
        """The signals that say whether it runs, in the order in which they change."""
        raise NotImplementedError

    def made(self, at_ns, good, scrap):
        """The changes of one cycle; logs what it made."""
        raise NotImplementedError

    def _event(self, event, at_ns):
        if isinstance(event, Cycle):
            return self.made(at_ns, event.good, event.scrap)
        if isinstance(event, Stop):
            return self._running(at_ns, runs=False, reason=event.reason, alarm=event.alarm)
        return self._running(at_ns, runs=True)

    def _running(self, at_ns, *, runs, reason="", alarm=0):
        if runs == self.runs and not reason:
            return []
        self.runs = runs
        self.log.runs.append((at_ns, runs))
        found = []
        for signal, value in self.state(runs, reason, alarm).items():
            found += self._put(at_ns, signal, value)
        return found

    def _put(self, at_ns, signal, value):
        if self.levels[signal] == value:
            return []
        self.levels[signal] = value
        return [Change(at_ns, signal, value)]

    def _due(self, at_ns, signal, value):
        self._serial += 1
        heapq.heappush(self._later, (at_ns, self._serial, signal, value))

    def _log(self, lane, at_ns, good, scrap, *, test=0, judged_ns=None):
        begin_ns = self._last.get(lane, self._origin_ns)
        self.log.made.append(Made(lane, begin_ns, at_ns, judged_ns or at_ns, good, scrap, test))
        self._last[lane] = at_ns


class Assembly(Device):
    """Two counters of 16 bits, a state word and an alarm."""

    plc, below = "asm", BELOW_THE_END

    def first(self):
        counters = {"good": ASM_MODULUS - self.below, "scrap": ASM_MODULUS - 20}
        return {f"{self.plc}.{what}": value for what, value in {"boots": 1, **counters, "state": 1, "alarm": 0}.items()}

    def state(self, runs, reason, alarm):
        word = 2 if runs else {"micro": 5, "fault": 3, "setup": 4, "off": 0}.get(reason, 1)
        return {f"{self.plc}.alarm": alarm, f"{self.plc}.state": word}

    def made(self, at_ns, good, scrap):
        signal = f"{self.plc}.{'good' if good else 'scrap'}"
        self._log(signal, at_ns, good, scrap)
        return self._put(at_ns, signal, (self.levels[signal] + 1) % ASM_MODULUS)


class Press(Assembly):
    """One of two that are built alike."""

    plc, below = "prs1", 50


class SecondPress(Press):
    """The other one."""

    plc = "prs2"


class Tester(Device):
    """Two nests that take turns, each with three inputs: part present, OK, NOK. It stops when the nest is empty."""

    forced = False

    def first(self):
        self._nest, self._stopping, self._lies_ns = 0, None, None
        return {f"tst.{what}_{nest}": False for nest in (1, 2) for what in ("present", "ok", "nok")}

    def start(self, at_ns):
        """Run; a part is laid into the nest."""
        self._stopping = None
        found = super().start(at_ns)
        if self._lies_ns is None:
            self._lay(at_ns)
        return found

    def stop(self, at_ns, reason="command", alarm=0):
        """Stand as soon as the part that lies there is tested."""
        if self.runs:
            self._stopping = (reason, alarm)
        return []

    def state(self, runs, reason, alarm):
        return {}

    def made(self, at_ns, good, scrap):
        nest = self._nest + 1
        self._nest = 1 - self._nest
        verdict, present = f"tst.{'ok' if good else 'nok'}_{nest}", f"tst.present_{nest}"
        self._log(present, self._lies_ns, good, scrap, judged_ns=at_ns + VERDICT_SURE_NS)
        self._lies_ns = None
        self._due(at_ns + SHOWN_NS, verdict, False)
        self._due(at_ns + SHOWN_NS, present, False)
        found = self._put(at_ns, verdict, True)
        if self._stopping is None:
            self._lay(at_ns)
        else:
            found += super().stop(at_ns, *self._stopping)
        return found

    def _lay(self, at_ns):
        self._lies_ns = at_ns + NEXT_PART_NS
        self._due(self._lies_ns, f"tst.present_{self._nest + 1}", True)


class Moulding(Device):
    """A counter of shots, a verdict for each of eight cavities, one for the shot, a state."""

    def first(self):
        cavities = {f"imm.cavity.{at}": 1 for at in range(CAVITIES)}
        return {
            "imm.started": "2026-01-01T00:00:00Z",
            **cavities,
            "imm.quality": 0,
            "imm.production": 1,
            "imm.shots": 0,
        }

    def state(self, runs, reason, alarm):
        return {"imm.production": 4 if runs else 2 if reason == "setup" else 1}

    def made(self, at_ns, good, scrap):
        found, verdicts = [], [2 if self._random.random() < BAD_CAVITIES else 1 for _ in range(CAVITIES)]
        sample = self._random.random() < SAMPLES
        for at, verdict in enumerate(verdicts):
            found += self._put(at_ns, f"imm.cavity.{at}", verdict)
        found += self._put(at_ns, "imm.quality", 2 if sample else 0)
        if sample:
            self._log("imm.shots", at_ns, 0, 0, test=CAVITIES)
        else:
            self._log("imm.shots", at_ns, verdicts.count(1), verdicts.count(2))
        return found + self._put(at_ns, "imm.shots", self.levels["imm.shots"] + 1)


class Filling(Device):
    """A PackML machine: two counters of 31 bits, a state, why it waits."""

    def first(self):
        counters = {"filler.processed": FIL_MODULUS - BELOW_THE_END, "filler.defective": FIL_MODULUS - 9}
        waits = {"filler.blocked": False, "filler.starved": False}
        return {**counters, "filler.state": PACKML_STOPPED, **waits, "filler.reason": 0}

    def state(self, runs, reason, alarm):
        waits = not runs and reason == "micro"
        word = PACKML_EXECUTE if runs else PACKML_SUSPENDED if waits else PACKML_STOPPED
        told = 12 if waits else alarm
        return {"filler.reason": told, "filler.blocked": waits, "filler.state": word}

    def made(self, at_ns, good, scrap):
        signal = "filler.processed" if good else "filler.defective"
        self._log(signal, at_ns, good, scrap)
        return self._put(at_ns, signal, (self.levels[signal] + 1) % FIL_MODULUS)


class Packing(Device):
    """A pulse for each carton, one for each reject, a level while it runs, one for a fault."""

    forced = False

    def first(self):
        return {"box.carton": False, "box.reject": False, "box.running": False, "box.fault": False}

    def state(self, runs, reason, alarm):
        return {"box.fault": bool(alarm), "box.running": runs}

    def made(self, at_ns, good, scrap):
        signal = "box.carton" if good else "box.reject"
        self._log(signal, at_ns, good, scrap, judged_ns=at_ns + PULSE_SURE_NS)
        self._due(at_ns + CARTON_NS, signal, False)
        return self._put(at_ns, signal, True)


class Handwork(Device):
    """A light barrier that each set passes, and once in a while a hand; what was made a person counts, and says."""

    def first(self):
        self.basket = Counter()
        return {"box.barrier": False}

    def state(self, runs, reason, alarm):
        return {}

    def made(self, at_ns, good, scrap):
        self.basket += Counter(good=good, scrap=scrap)
        if self._random.random() < HANDS:
            self._due(at_ns + CYCLES_NS[self.name] // 2, "box.barrier", True)
            self._due(at_ns + CYCLES_NS[self.name] // 2 + CARTON_NS, "box.barrier", False)
        self._due(at_ns + CARTON_NS, "box.barrier", False)
        return self._put(at_ns, "box.barrier", True)

    def told(self, at_ns):
        """A person has said what lies in the basket, and that it was taken."""
        self._log("person", at_ns, self.basket["good"], self.basket["scrap"])
        self.basket.clear()


KINDS = {
    "ASM-01": Assembly, "TST-01": Tester, "IMM-01": Moulding, "FIL-02": Filling, "PCK-01": Packing, "HND-01": Handwork,
    "PRS-01": Press, "PRS-02": SecondPress,
}  # fmt: skip
