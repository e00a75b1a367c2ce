"""A Modbus device that answers with anything, over TCP and as RTU, between right answers.

What is right is known to the last bit: every value is made of the number of the request that it answers, so that an
answer to an earlier one is as wrong as a made-up one. What nobody can notice is not sent: on TCP a well-formed
answer with the right numbers and other data (there is no check sum); as RTU a second answer of the same unit, kind and
length that comes after the next request (there is no number).
"""

import asyncio
import contextlib
import os
import struct
import tty
import zlib

import pytest
from pydantic import TypeAdapter

from drivers.modbus import PLUGIN

TIMEOUT_S = 0.06
SHARE = 0.15  # of the answers that are spoilt
NAMES = {"a": (3, 0), "b": (3, 200), "c": (4, 0)}  # uint64: function, address
LIMIT_READ = 2_000


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def number_of(unit, function, address, asked):
    """A value that says what it is, and denies it in its second half."""
    half = unit << 30 | function << 26 | (address & 3) << 24 | (asked & 0xFF_FFFF)
    return half << 32 | half ^ 0xFFFF_FFFF


class Question:
    """One request, and everything that could be answered to it."""

    def __init__(self, server, tid, unit, pdu):
        self.server, self.tid, self.unit = server, tid, unit
        self.function, address, self.count = struct.unpack(">BHH", pdu)
        asked = server.asked = server.asked + 1
        if self.function == 2:
            bits = zlib.crc32(struct.pack("<I", asked))
            if self.count == 16 or not server.rtu:  # RTU: other lengths are checks, and no signal's
                server.bits |= {(unit, address + i): bool(bits >> i & 1) for i in range(self.count)}
            self.right, self.lie = self._bits(bits), self._bits(~bits)
            return
        if (self.function, address) not in NAMES.values() or self.count != 4:
            # Not for a signal: an echo (function 8), or a check whether the line has nothing old to say.
            size = bytes([2 * self.count]) if self.function in (3, 4) else b""
            data = bytes(2 * self.count) if size else pdu[1:]
            self.right, self.lie = pdu[:1] + size + data, pdu[:1] + size + bytes(len(data) - 1) + b"\x01"
            return
        value = number_of(unit, self.function, address // 100, asked)
        server.expected[unit, self.function, address] = value
        self.right = struct.pack(">BBQ", self.function, 8, value)
        self.lie = struct.pack(">BBQ", self.function, 8, number_of(unit, self.function, address // 100, asked + 5_000))

    def _bits(self, bits):
        size = -(-self.count // 8)
        return bytes([2, size]) + (bits & (1 << self.count) - 1).to_bytes(size, "little")

    def frame(self, pdu=None, *, tid=None, unit=None, protocol=0, longer=0):
        pdu = self.right if pdu is None else pdu
        unit = self.unit if unit is None else unit
        if self.server.rtu:
            return bytes([unit]) + pdu + crc(bytes([unit]) + pdu)
        length = max(0, len(pdu) + 1 + longer)
        return struct.pack(">HHHB", self.tid if tid is None else tid, protocol, length, unit) + pdu


# --- what a fuzzed answer is: pauses (seconds) and bytes; None ends the connection -----------------------------------


def random_bytes(_q, rng):
    return [(0, rng.randbytes(rng.randint(1, 400)))]


def truncated(q, rng):
    frame = q.frame()
    return [(0, frame[: rng.randrange(1, len(frame))])]


def noise_behind(q, rng):
    return [(0, q.frame() + rng.randbytes(rng.randint(1, 30)))]


def twice(q, _rng):
    return [(0, q.frame() * 2)]


def split(q, rng):
    frame = q.frame()
    cuts = sorted(rng.sample(range(1, len(frame)), rng.randint(1, 4)))
    return [(TIMEOUT_S / 20, part) for part in (frame[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True))]


def other_unit(q, rng):
    return [(0, q.frame(q.lie, unit=(q.unit + rng.randint(1, 255)) % 256))]


def other_function(q, rng):
    """Most often the one whose answer looks the same."""
    others = [code for code in range(1, 128) if code != q.function]
    alike = {1: 2, 2: 1, 3: 4, 4: 3}.get(q.function, 3)
    return [(0, q.frame(bytes([rng.choice((rng.choice(others), alike, alike, alike))]) + q.lie[1:]))]


def other_length(q, rng):
    size = rng.choice([size for size in range(256) if size != q.lie[1]])
    data = (q.lie[2:] * 128)[: rng.choice((size, size, q.lie[1]))]
    return [(0, q.frame(bytes([q.function, size]) + data))]


def refused(q, rng):
    if q.server.rtu and q.function == 2:
        return []  # it would be read in pieces, which look like checks
    return [(0, q.frame(bytes([q.function | 0x80, rng.randrange(256)])))]


def other_refused(q, rng):
    return [(0, q.frame(bytes([q.function % 4 + 0x81, rng.randrange(256)])))]


def strange_function(q, rng):
    function = rng.choice((0, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43, 65, 100, 127, 128, 255))
    return [(0, q.frame(bytes([function]) + rng.randbytes(rng.choice((0, 1, 2, 3, 4, 5, 9, 20, 60)))))]


def no_function(q, rng):
    return [(0, q.frame(b"") + rng.randbytes(rng.choice((0, 3))))]


def flood(q, rng):
    """Many frames that nobody asked for, of other units, and then the right one."""
    unasked = [q.frame(q.lie, unit=(q.unit + rng.randint(1, 200)) % 256, tid=rng.randrange(65_536)) for _ in range(40)]
    return [(0, b"".join(unasked)), *((0.0005, frame) for frame in unasked), (0.001, q.frame())]


def endless(q, rng):
    start = q.frame(q.right + bytes(200), longer=rng.choice((0, 60, 65_000 - 400)))[:-1]
    return [(0, start), *((0.002, rng.randbytes(64)) for _ in range(50))]


def silent(_q, _rng):
    return []


def hangs_up(q, rng):
    return [(0, q.frame()[: rng.randint(0, 8)]), (0.002, None)]


# --- only with the header of Modbus TCP ------------------------------------------------------------------------------


def header_bits(q, rng):
    frame = bytearray(q.frame(q.lie))
    for bit in rng.sample(range(9 * 8), rng.randint(1, 3)):
        frame[bit // 8] ^= 1 << bit % 8
    return [(0, bytes(frame))]


def other_number(q, rng):
    tid = rng.choice((0, (q.tid + rng.randint(1, 65_535)) % 65_536, q.tid ^ 1 << rng.randrange(16)))
    return [(0, q.frame(q.lie, tid=tid)), (0, rng.choice((b"", q.frame())))]


def other_protocol(q, rng):
    return [(0, q.frame(q.lie, protocol=rng.randint(1, 65_535)))]


def announced_length(q, rng):
    return [(0, q.frame(q.lie, longer=rng.choice((-11, -9, -2, -1, 1, 2, 9, 200, 60_000)))[:2_000])]


def earlier(q, rng):
    old = rng.choice(q.server.sent or [b""])
    return [(0, old), (0, rng.choice((b"", q.frame())))]


# --- only with the check sum of RTU ----------------------------------------------------------------------------------


def any_bits(q, rng):
    frame = bytearray(q.frame())
    for bit in rng.sample(range(len(frame) * 8), rng.randint(1, 3)):
        frame[bit // 8] ^= 1 << bit % 8
    return [(0, bytes(frame))]


def wrong_sum(q, rng):
    frame = q.frame(q.lie)
    return [(0, frame[:-2] + bytes([frame[-2] ^ rng.randint(1, 255), frame[-1]]))]


def noise_before(q, rng):
    return [(0, rng.randbytes(rng.randint(1, 12)) + q.frame())]


def late(q, rng):
    """After its time limit, when the next request would be under way: a slow device, for a while."""
    after_s = TIMEOUT_S * rng.choice((rng.uniform(1.05, 1.8), rng.uniform(1.8, 6)))
    q.server.slow_until_s = asyncio.get_running_loop().time() + after_s + TIMEOUT_S
    return [(after_s, q.frame())]


def of_another_length(q, _rng):
    old = [frame for frame in q.server.sent if len(frame) != len(q.frame())]
    return [(0, old[-1] if old else b"")]


ANY = (
    random_bytes, truncated, noise_behind, twice, split, other_unit, other_function, other_length, refused,
    other_refused, strange_function, no_function, flood, endless, silent,
)  # fmt: skip
TCP = (*ANY, hangs_up, header_bits, other_number, other_protocol, announced_length, earlier)
RTU = (*ANY, any_bits, wrong_sum, noise_before, late, late, late, of_another_length)


class FuzzServer:
    """Units behind one port. ``fuzzing``: some answers are drawn from the deck."""

    rtu = False

    def __init__(self, rng, deck):
        self._rng, self._deck = rng, deck
        self.fuzzing = False
        self.asked = 0
        self.expected = {}
        self.bits = {}
        self.sent = []  # the last right answers
        self.slow_until_s = 0.0

    def answer(self, tid, unit, pdu, say):
        question, loop = Question(self, tid, unit, pdu), asyncio.get_running_loop()
        if not self.fuzzing or self._rng.random() > SHARE:
            self.sent = [*self.sent[-20:], question.frame()]
            steps = [(TIMEOUT_S / 2 if loop.time() < self.slow_until_s else 0, question.frame())]
        else:
            steps = self._deck.draw()(question, self._rng)
        at_s = 0.0
        for pause_s, data in steps:
            at_s += pause_s
            if at_s:
                due_s = loop.time() + at_s
                loop.call_at(due_s, self._in_time, due_s, say, data)
            else:
                say(data)

    def _in_time(self, due_s, say, data):
        """Say what is due; on a bus not what the computer made later than was drawn: nobody could notice it."""
        if not self.rtu or asyncio.get_running_loop().time() - due_s < TIMEOUT_S / 4:
            say(data)

    def judge(self, signal, value):
        source, _, name = signal.partition(".")
        if name in NAMES:
            function, address = NAMES[name]
            return value == self.expected[int(source[1:]), function, address]
        return value is self.bits[int(source[1:]), int(name[1:])]


class TcpServer(FuzzServer):
    """Modbus TCP."""

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.reached = {"transport": "tcp", "host": "127.0.0.1", "port": self._server.sockets[0].getsockname()[1]}

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        def say(data):
            if data is None:
                writer.transport.abort()
            elif not writer.is_closing():
                writer.write(data)

        self.sent = []  # a new connection counts its requests from the start
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                tid, _protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                self.answer(tid, unit, await reader.readexactly(length - 1), say)
        writer.transport.abort()


class Bus(FuzzServer):
    """RTU: requests of 8 bytes; what is said is heard by whoever listens by then."""

    rtu = True
    _heard = b""

    def hear(self, data):
        self._heard = (self._heard + data)[-LIMIT_READ:]
        while len(self._heard) >= 8:
            if crc(self._heard[:6]) == self._heard[6:8]:
                request, self._heard = self._heard[:6], self._heard[8:]
                self.answer(0, request[0], request[1:], self.say)
            else:
                self._heard = self._heard[1:]


class RtuOverTcpServer(Bus):
    """A serial device server."""

    async def start(self):
        self._writer = None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.reached = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": port}

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    def say(self, data):
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    async def _serve(self, reader, writer):
        self._writer = writer
        with contextlib.suppress(OSError):
            while data := await reader.read(LIMIT_READ):
                self.hear(data)
        writer.transport.abort()


class PtyServer(Bus):
    """A serial line."""

    async def start(self):
        self._ends = os.openpty()
        for end in self._ends:
            tty.setraw(end)
        os.set_blocking(self._ends[0], False)
        self.reached = {
            "transport": "rtu",
            "device": os.ttyname(self._ends[1]),
            "serial": {"baudrate": 115_200, "parity": "none"},
        }
        asyncio.get_running_loop().add_reader(self._ends[0], self._readable)

    async def stop(self):
        asyncio.get_running_loop().remove_reader(self._ends[0])
        for end in self._ends:
            os.close(end)
        self._ends = ()

    def say(self, data):
        with contextlib.suppress(BlockingIOError):  # nobody listens, and the line is full
            if self._ends:
                os.write(self._ends[0], data)

    def _readable(self):
        with contextlib.suppress(OSError):
            self.hear(os.read(self._ends[0], LIMIT_READ))


SIGNALS = {
    **{name: {"table": "holding" if code == 3 else "input", "address": address, "type": "uint64"}
       for name, (code, address) in NAMES.items()},
    **{f"d{bit}": {"table": "discrete", "address": bit} for bit in range(16)},
}  # fmt: skip
#: A device that is asked one thing only: there nothing but time and checks tells a late answer.
ONE = {"a": SIGNALS["a"]}
#: Both of these share a line.
UNITS = (1, 2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "cards", "units", "signals"),
    [
        (TcpServer, TCP, UNITS, SIGNALS),
        (RtuOverTcpServer, RTU, UNITS, SIGNALS),
        (PtyServer, RTU, (1,), ONE),
    ],
    ids=["tcp", "rtu_over_tcp", "rtu"],
)
async def test_whatever_a_device_answers_only_right_values_are_good(
    watch, context, deck, span_s, kind, cards, units, signals
):
    rng, drawn = deck(cards, len(kind.__name__))
    server = kind(rng, drawn)

    def make(unit):
        settings = TypeAdapter(PLUGIN.settings).validate_python(
            {
                "driver": "modbus", "unit": unit, "scan": "10 ms", "timeout": f"{TIMEOUT_S * 1000:.0f} ms",
                "signals": signals, **server.reached,
            }
        )  # fmt: skip
        return PLUGIN.build(settings, context(f"u{unit}", signals, signals.keys() & {"a", "d1"}))

    sources = {f"u{unit}": (lambda unit=unit: make(unit), signals) for unit in units}
    async with watch(server, server.judge, **sources) as watching:
        await watching.fuzz(server, span_s, drawn)
