"""A simulator of digital inputs whose lines are anything, between right ones.

The lines carry no check: one that is well-formed and lies cannot be noticed. A spoilt line that happens to be
well-formed is therefore not sent, unless the protocol forbids it in its place.
"""

import asyncio
import contextlib
import json
import time

import pytest
from pydantic import TypeAdapter

from drivers.digital_io import PLUGIN

CARTON, RESERVE, POWER = 17, 22, 23  # toggles, is never on, is never off
EDGE_EVERY_S = 0.01
SHARE = 0.2
LINE_MAX = 4_096


def line_of(**content):
    return json.dumps(content).encode() + b"\n"


def well_formed(line, *, first=False):
    """What the protocol allows, in the first line of a connection or after it, judged apart from the driver."""
    try:
        content = json.loads(line)
        levels = content["levels"] if "pin" not in content else {str(content["pin"]): content["level"]}
        known = [level for name, level in levels.items() if name.strip().isdecimal()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    whole = isinstance(content.get("t_ns"), int)
    right = bool(known) and all(type(level) is int and level in (0, 1) for level in known)
    return whole and right and ("hello" in content) is first


# --- what becomes of a line; None ends the connection ----------------------------------------------------------------


def random_bytes(_line, rng):
    return [rng.randbytes(rng.randint(1, 300)) + b"\n"]


def bits(line, rng):
    spoilt = bytearray(line)
    for bit in rng.sample(range(len(line) * 8), rng.randint(1, 4)):
        spoilt[bit // 8] ^= 1 << bit % 8
    return [bytes(spoilt)]


def cut_off(line, rng):
    return [line[: rng.randrange(len(line))], None]


def cut_short(line, rng):
    return [line[: rng.randrange(1, len(line) - 1)] + b"\n"]


def without_end(_line, rng):
    return [rng.choice((b"[", b"1", b"\xff", b'"', b" ")) * 1_000 for _ in range(rng.choice((4, 5, 40)))]


def nested(_line, rng):
    one, most = rng.choice(((b"[", 4_000), (b"[", 4_000), (b'{"":', 1_000), (b'{"t_ns": 1, "levels": {"17":', 140)))
    return [one * rng.randint(most // 2, most) + b"\n"]


def huge_numbers(_line, rng):
    number = b"9" * rng.choice((20, 400, 4_000))
    return [rng.choice((
        b'{"pin": 17, "level": ' + number + b', "t_ns": 1}\n',
        b'{"pin": ' + number + b', "level": "1", "t_ns": 1}\n',
        b'{"t_ns": 1e' + number[:50] + b', "levels": {"17": 1}}\n',
        b'{"t_ns": -' + number + b', "levels": {"17": 1}}\n',
    ))]  # fmt: skip


def far_times(line, rng):
    """What is so, at a time that cannot be."""
    digits = rng.choice((19, 25, 300, 3_900))
    return [line_of(**{**json.loads(line), "t_ns": int("9" * digits)})]


def other_kinds(_line, rng):
    odd = rng.choice((None, True, 1.0, "1", [], {}, 2, -1, "\ud800"))
    return [rng.choice((
        line_of(pin=RESERVE, level=odd, t_ns=1), line_of(pin=odd, level="x", t_ns=1), line_of(t_ns=odd, levels=[1]),
        line_of(t_ns=1, levels=odd if odd != {} else None), line_of(t_ns=1, levels={"x": 1}),
        line_of(t_ns=1), line_of(levels={}), line_of(hello=odd, t_ns="1", levels={}), json.dumps(odd).encode() + b"\n",
    ))]  # fmt: skip


def hello_again(line, _rng):
    return [
        line,
        line_of(hello="again", t_ns=time.monotonic_ns(), levels={str(CARTON): 1, str(RESERVE): 1, str(POWER): 0}),
    ]


def split(line, rng):
    cut = rng.randrange(1, len(line))
    return [line[:cut], 0.005, line[cut:]]


def burst(line, rng):
    return [line + b"".join(line_of(t_ns=time.monotonic_ns(), levels={str(RESERVE): 0}) for _ in range(2_000))]


CARDS = (
    random_bytes, bits, bits, cut_off, cut_short, without_end, nested, huge_numbers, far_times, other_kinds,
    hello_again, split, burst,
)  # fmt: skip
#: Cards whose lines are right, or say nothing that is not so.
RIGHT = (far_times, split, burst)


class FuzzSimulator:
    """Toggles one pin and leaves two as they are. ``fuzzing``: some lines are drawn from the deck."""

    def __init__(self, path, rng, deck):
        self._path, self._rng, self._deck = path, rng, deck
        self.fuzzing = False
        self.level = 0

    async def start(self):
        self._task = asyncio.create_task(self._live())

    async def stop(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def judge(self, signal, value):
        """Of the pins that never move a wrong line would be seen."""
        return {"box.reserve": value is False, "box.power": value is True}.get(signal, isinstance(value, bool))

    async def _live(self):
        while True:
            with contextlib.suppress(OSError):
                _reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    await self._talk(writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.005)

    async def _talk(self, writer):
        greeting = True
        while True:
            now_ns = time.monotonic_ns()
            levels = {str(CARTON): self.level, str(RESERVE): 0, str(POWER): 1}
            if greeting:
                line, greeting = line_of(hello="fuzz", t_ns=now_ns, levels=levels), False
            elif self._rng.random() < 0.2:
                line = line_of(t_ns=now_ns, levels=levels)
            else:
                self.level ^= 1
                line = line_of(pin=CARTON, level=self.level, t_ns=now_ns)
            for part in self._parts(line, first=b"hello" in line):
                if part is None:
                    return
                if isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    writer.write(part)
                    await writer.drain()
            await asyncio.sleep(EDGE_EVERY_S)

    def _parts(self, line, *, first):
        if not self.fuzzing or self._rng.random() > SHARE:
            return [line]
        card = self._deck.draw()
        while True:
            parts = card(line, self._rng)
            sent = b"".join(part for part in parts if isinstance(part, bytes)).splitlines(keepends=True)
            lies = (well_formed(one, first=first and not at) for at, one in enumerate(sent) if one != line)
            if card in RIGHT or not any(lies):
                return parts


@pytest.mark.parametrize("odd", ["1", "17", ["17"], 17, None, {"x": 1}])
def test_levels_that_are_no_object_of_pins_are_not_well_formed(odd):
    assert not well_formed(line_of(t_ns=1, levels=odd))


def test_a_greeting_is_well_formed_in_the_first_line_only():
    """Whether its levels are right nobody but the simulator knows: a spoilt one like this is not sent there."""
    greeting = line_of(hello="fuzz", t_ns=1, levels={str(CARTON): 0, str(RESERVE): 1, str(POWER): 1})
    assert well_formed(greeting, first=True)
    assert not well_formed(greeting)
    assert not well_formed(line_of(pin=CARTON, level=1, t_ns=1), first=True)


@pytest.mark.timeout(600)
async def test_whatever_a_simulator_says_only_right_levels_are_good(watch, context, deck, span_s, tmp_path):
    rng, drawn = deck(CARDS)
    simulator = FuzzSimulator(tmp_path / "pins.sock", rng, drawn)
    signals = {"carton": {"pin": CARTON}, "reserve": {"pin": RESERVE, "kind": "level"}, "power": {"pin": POWER}}

    def make():
        settings = TypeAdapter(PLUGIN.settings).validate_python(
            {"driver": "digital_io", "pins": "simulated", "signals": signals}
        )
        return PLUGIN.build(settings, context("box", signals, signals, state_dir=tmp_path))

    async with watch(simulator, simulator.judge, box=(make, signals)) as watching:
        await watching.fuzz(simulator, span_s, drawn)
