"""A real OPC UA server behind a proxy that spoils what it says.

Without security a changed byte in the body of a message cannot be noticed by anybody. So there are three runs: without
security and with spoilt headers, lengths, numbers and order only; without security and with anything, where values are
not judged; signed and with anything, where they are again. A value carries the time of its writing and a check of it
(``checked_server.py``).
"""

import asyncio
import contextlib
import random
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from pydantic import TypeAdapter

from drivers.base import DriverError
from drivers.opcua import PLUGIN, certificates

URI = "http://linegate.test/machine"
SERVER = Path(__file__).with_name("checked_server.py")
TIMEOUT_MS = 300
#: A link is a dozen questions, each of which must be answered in that time: on a busy computer few links come about.
RECOVERY_S = 60.0
SHARE = 0.5  # of the chunks, after the first ones of a connection that are left alone
LEFT_ALONE = (0, 1, 3, 7, 15, 20, 30)
#: From here on a chunk of a service has its body: type, length, channel, token, number of the chunk, of the request.
BODY = 24
CHANNEL, TOKEN, SEQUENCE, REQUEST = 8, 12, 16, 20
SIGNALS = {
    "reported": {"node": "nsu=m;s=reported"},
    "text": {"node": "nsu=m;s=text"},
    "scanned": {"node": "nsu=m;s=scanned", "mode": "read", "scan": "30 ms"},
}


def checked(name, number):
    """A value of a variable that says when it was written, and checks itself."""
    check = zlib.crc32(f"{name} {number}".encode())
    return f"{number}:{check}" if name == "text" else number << 32 | check


def number_in(name, value):
    number = int(value.partition(":")[0]) if isinstance(value, str) else value >> 32
    return number if value == checked(name, number) else None


class Machine:
    """The server, as a process: what it keeps of broken connections is not ours."""

    def __init__(self, folder):
        self._start_ns = time.time_ns()
        self._process = subprocess.Popen(
            [sys.executable, "-P", SERVER, str(folder), str(self._start_ns)], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())
        self.der = (folder / "server.der").read_bytes()

    @property
    def newest(self):
        """No value can have a higher number."""
        return (time.time_ns() - self._start_ns) // 1_000_000

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


# --- what becomes of a chunk: pauses (seconds) and bytes; None ends the connection -----------------------------------


def with_number(chunk, at, value):
    """A chunk with another 32-bit number in it; one without such a number gets noise there."""
    chunk = bytearray(chunk)
    struct.pack_into("<I", chunk, min(at, len(chunk) - 4), value & 0xFFFF_FFFF)
    return bytes(chunk)


def number_at(chunk, at):
    return struct.unpack_from("<I", chunk, min(at, len(chunk) - 4))[0]


def is_service(chunk):
    return chunk[:3] == b"MSG"


def header_bits(chunk, rng, _link):
    spoilt = bytearray(chunk)
    for bit in rng.sample(range((BODY if is_service(chunk) else 8) * 8), rng.randint(1, 3)):
        spoilt[bit // 8] ^= 1 << bit % 8
    return [(0, bytes(spoilt))]


def other_sequence(chunk, rng, _link):
    found = number_at(chunk, SEQUENCE)
    return [(0, with_number(chunk, SEQUENCE, rng.choice((0, 1, found - 1, found + 1, found + 7, rng.getrandbits(32)))))]


def other_request(chunk, rng, _link):
    found = number_at(chunk, REQUEST)
    return [(0, with_number(chunk, REQUEST, found + rng.choice((-3, -2, -1, 1, 2, rng.getrandbits(32)))))]


def other_token(chunk, rng, _link):
    return [(0, with_number(chunk, TOKEN, rng.choice((0, 1, 12, 14, rng.getrandbits(32)))))]


def other_channel(chunk, rng, _link):
    return [(0, with_number(chunk, CHANNEL, rng.choice((0, number_at(chunk, CHANNEL) + 1, rng.getrandbits(32)))))]


def other_type(chunk, rng, _link):
    kinds = [kind for kind in (b"MSG", b"OPN", b"CLO", b"HEL", b"ACK", b"ERR", b"RHE", b"xyz") if kind != chunk[:3]]
    return [(0, rng.choice(kinds) + chunk[3:])]


def other_part(chunk, rng, _link):
    """Not the last part of a message, an abandoned one, or nothing that exists."""
    return [(0, chunk[:3] + rng.choice((b"C", b"A", b"X")) + chunk[4:])]


def announced_length(chunk, rng, _link):
    small = (0, 1, 7, 8, 11, 12, 23, 24)
    length = rng.choice((*small, len(chunk) - 1, len(chunk) + 1, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1))
    return [(0, with_number(chunk, 4, length))]


def cut_short(chunk, rng, _link):
    """The length is that of what is left."""
    left = chunk[: rng.randrange(8, len(chunk))]
    return [(0, with_number(left, 4, len(left)) if len(left) > 8 else left)]


def cut_off(chunk, rng, _link):
    return [(0, chunk[: rng.randrange(len(chunk))]), (0.01, None)]


def twice(chunk, _rng, _link):
    return [(0, chunk + chunk)]


def earlier(chunk, rng, link):
    return [(0, rng.choice([*link.passed, chunk])), (0, chunk)]


def later(chunk, _rng, link):
    """Behind the next one."""
    link.held.append(chunk)
    return []


def swallowed(_chunk, _rng, _link):
    return []


def split(chunk, rng, _link):
    cuts = sorted(rng.sample(range(1, len(chunk)), 4))
    return [(0.003, chunk[a:b]) for a, b in zip([0, *cuts], [*cuts, None], strict=True)]


def random_bytes(chunk, rng, _link):
    return [(0, rng.randbytes(rng.randint(1, 500))), (0, chunk)]


def error_message(_chunk, rng, _link):
    code = rng.choice((0, 0x8000_0000, 0x8013_0000, 0x807D_0000, rng.getrandbits(32)))
    body = struct.pack("<Ii", code, rng.choice((-1, 0, 3, -5, 2**31 - 1))) + b"why"
    return [(0, b"ERRF" + struct.pack("<I", 8 + len(body)) + body)]


def endless_hello(_chunk, rng, _link):
    kind = rng.choice((b"HELF", b"ACKF"))
    one = kind + struct.pack("<7I", 28, 0, 0, 0, 0, 0, 0)[: 28 - 4]
    return [(0.001, one * 200) for _ in range(50)]


def endless_message(chunk, rng, _link):
    """A huge length, and bytes without an end."""
    yield 0, with_number(chunk, 4, rng.choice((2**20, 2**30, 2**31 - 1, 2**32 - 1)))
    noise = bytes(2**18)
    for _ in range(400):
        yield 0.0005, noise


def endless_parts(chunk, _rng, link):
    """Parts of a message that never ends, properly numbered; signed ones cannot be made."""
    start, sequence = chunk[:3] + b"C" + chunk[4:], number_at(chunk, SEQUENCE)
    body = bytes(60_000)
    first = with_number(start[:BODY] + body, 4, BODY + len(body))
    for number in range(1_500):
        yield 0.0001, with_number(first, SEQUENCE, sequence + number)


# --- only where the body counts: signed, or not judged ---------------------------------------------------------------


def any_bits(chunk, rng, _link):
    spoilt = bytearray(chunk)
    for bit in rng.sample(range(len(chunk) * 8), rng.choice((1, 1, 2, 3, 30))):
        spoilt[bit // 8] ^= 1 << bit % 8
    return [(0, bytes(spoilt))]


def last_bits(chunk, rng, _link):
    """In the signature, or what stands last."""
    spoilt = bytearray(chunk)
    spoilt[-rng.randint(1, min(32, len(chunk)))] ^= 1 << rng.randrange(8)
    return [(0, bytes(spoilt))]


def other_value(chunk, rng, _link):
    """The values themselves, without their check."""
    spoilt = bytearray(chunk)
    for at in places_of_values(chunk):
        spoilt[at + 1 + rng.randrange(8)] ^= 1 << rng.randrange(8)
    return [(0, bytes(spoilt))]


def noise_in_body(chunk, rng, _link):
    at = rng.randrange(min(BODY, len(chunk) - 1), len(chunk))
    noise = rng.randbytes(rng.randint(1, 40))
    return [(0, (chunk[:at] + noise + chunk[at + len(noise) :])[: len(chunk)])]


def other_lengths_inside(chunk, rng, _link):
    """Something that may be the length of a text or array, absurd."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(BODY, len(chunk) - 4), len(chunk) - 3)
        chunk = with_number(chunk, at, rng.choice((2**31 - 1, 2**30, 2**24, -2, -9, -1_000, -(2**31))))
    return [(0, chunk)]


def array_of_nothing(chunk, rng, _link):
    """A value becomes an array of so many elements that take no byte each."""
    spoilt = bytearray(chunk)
    for at in places_of_values(chunk):
        struct.pack_into("<Bi", spoilt, at, rng.choice((0x80, 0xC0)), rng.choice((2**31 - 1, 2**28, 10**7)))
    return [(0, bytes(spoilt))]


def places_of_values(chunk):
    """Where variants of the type UInt64 are that the machine has."""
    if not is_service(chunk):
        return []
    found = (at for at in range(BODY, len(chunk) - 9) if chunk[at] == ua.VariantType.UInt64.value)
    names = ("reported", "scanned")
    return [
        at for at in found if any(number_in(n, struct.unpack_from("<Q", chunk, at + 1)[0]) is not None for n in names)
    ]


#: These wait for a chunk that has what they spoil.
OF_VALUES = (other_value, array_of_nothing)
FRAMES = (
    header_bits, other_sequence, other_request, other_token, other_channel, other_type, other_part, announced_length,
    cut_short, cut_off, twice, earlier, later, swallowed, split, random_bytes, error_message, endless_hello,
    endless_message, endless_parts,
)  # fmt: skip
ANYTHING = (
    *FRAMES, any_bits, any_bits, last_bits, noise_in_body, other_lengths_inside, array_of_nothing,
    other_value, other_value, other_value, other_value,
)  # fmt: skip


class Link:
    """One connection through the proxy."""

    def __init__(self, left_alone):
        self.left_alone = left_alone
        self.passed = []
        self.held = []


class Proxy:
    """Hands on what the gateway says, and spoils what the machine says. ``fuzzing``: whether."""

    def __init__(self, machine, rng, deck, *, judged, left_alone=LEFT_ALONE, share=SHARE):
        self._machine, self._rng, self._deck, self._judged = machine, rng, deck, judged
        self._left_alone, self._share = left_alone, share
        self._open = set()
        self.passed_bytes = 0
        self.fuzzing = False
        self._card = None  # drawn, and not yet played
        self._newest = dict.fromkeys(SIGNALS, 0)

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        while self._open:  # each ends by itself when both sides are closed
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0.001)

    def judge(self, signal, value):
        """A value that was written, and not before the last one seen."""
        name = signal.partition(".")[2]
        number = number_in(name, value) if self._judged else self._newest[name]
        right = number is not None and self._newest[name] <= number <= self._machine.newest
        self._newest[name] = max(self._newest[name], number or 0)
        return right

    async def _serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._machine.port)
        self._open |= {writer, up_writer}
        tasks = [asyncio.create_task(self._up(reader, up_writer)), asyncio.create_task(self._down(up_reader, writer))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (writer, up_writer):
                each.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open -= {writer, up_writer}

    async def _up(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def _down(self, reader, writer):
        link = Link(self._rng.choice(self._left_alone))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(8)
                chunk = head + await reader.readexactly(struct.unpack_from("<I", head, 4)[0] - 8)
                for pause_s, data in self._fate(chunk, link):
                    if pause_s:
                        await asyncio.sleep(pause_s)
                    if data is None:
                        return
                    self.passed_bytes += len(data)
                    writer.write(data)
                    await writer.drain()

    def _fate(self, chunk, link):
        held, link.held = link.held, []
        link.left_alone -= 1
        if self._card is None and self.fuzzing and link.left_alone < 0 and self._rng.random() < self._share:
            self._card = self._deck.draw()
        if self._card is not None and (self._card not in OF_VALUES or places_of_values(chunk)):
            card, self._card = self._card, None
            yield from card(chunk, self._rng, link)
        else:
            link.passed = [*link.passed[-10:], chunk]
            yield 0, chunk
        yield from ((0, one) for one in held)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("server"))
    yield machine
    machine.stop()


@pytest.fixture
def configured(context, machine, tmp_path):
    """Make a driver that reaches the machine through a proxy."""
    certificates.pin(tmp_path / certificates.FOLDER, "imm", machine.der)

    def make(proxy, security="none", timeout=f"{TIMEOUT_MS} ms"):
        settings = TypeAdapter(PLUGIN.settings).validate_python(
            {
                "driver": "opcua",
                "endpoint": f"opc.tcp://127.0.0.1:{proxy.port}",
                "security": security,
                "publish": "20 ms",
                "timeout": timeout,
                "namespaces": {"m": URI},
                "signals": SIGNALS,
            }
        )
        return PLUGIN.build(settings, replace(context("imm", SIGNALS, ["text"], tmp_path), base_dir=tmp_path))

    return make


@pytest.fixture
def rng(seed):
    return random.Random(seed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "leg",
    [("none", FRAMES, True), ("none", ANYTHING, False), ("sign", ANYTHING, True)],
    ids=["frames", "anything", "signed"],
)
async def test_whatever_a_server_says_only_right_values_are_good(watch, machine, configured, deck, span_s, leg):
    security, cards, judged = leg
    rng, drawn = deck(cards, len(cards) * (1 + judged))
    proxy = Proxy(machine, rng, drawn, judged=judged)
    sources = {"imm": (lambda: configured(proxy, security), SIGNALS)}
    async with watch(proxy, proxy.judge, recovery_s=RECOVERY_S, **sources) as watching:
        await watching.fuzz(proxy, span_s, drawn)


# --- one thing at a time ---------------------------------------------------------------------------------------------


def answers_another(chunk, _rng, _link):
    """The header of the answer names another question than the chunk."""
    handle = BODY + 4 + 8  # behind the type and the time
    return [(0, with_number(chunk, handle, number_at(chunk, handle) - 1))]


def answers_with_another_kind(chunk, _rng, _link):
    kind = struct.pack("<BBH", 1, 0, ua.ObjectIds.BrowseResponse_Encoding_DefaultBinary)
    return [(0, chunk[:BODY] + kind + chunk[BODY + 4 :])]


def opens_with_a_service(chunk, _rng, _link):
    body = struct.pack("<BBHqI", 1, 0, ua.ObjectIds.ReadResponse_Encoding_DefaultBinary, 0, 1) + bytes(16)
    return [(0, b"MSGF" + struct.pack("<5I", BODY + len(body), 0, 0, 1, 1) + body)]


def huge_chunk(chunk, _rng, _link):
    yield 0, with_number(chunk, 4, 2**31 - 1)
    yield from ((0, bytes(2**16)) for _ in range(10_000))


def not_decodable(chunk, _rng, _link):
    return [(0, chunk[: BODY + 16] + b"\x3f" * (len(chunk) - BODY - 16))]


class OneCard:
    """Plays the same card always."""

    def __init__(self, card):
        self._card = card

    def draw(self):
        return self._card


@pytest.mark.parametrize(
    ("card", "after", "reason"),
    [
        (huge_chunk, 6, r"the server sends a chunk of 2147483647 bytes, allowed 1048576"),
        (endless_parts, 6, r"the server sends a message of more than 16777216 bytes"),
        (answers_another, 6, r"the server sends the answer to request \d+ as that to request \d+"),
        (answers_with_another_kind, 6, r"answered with .* where \w+Response was due"),
        (opens_with_a_service, 1, r"something else where OpenSecureChannelResponse was due"),
        (not_decodable, 6, r"cannot be read as \w+Response|\w+: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_no_server_may_send_ends_the_link_with_its_reason(machine, configured, rng, card, after, reason):
    proxy = Proxy(machine, rng, OneCard(card), judged=True, left_alone=(after,), share=1.0)
    proxy.fuzzing = True
    await proxy.start()
    try:
        driver = configured(proxy, timeout="20 s")
        with pytest.raises(DriverError, match=reason):
            await driver.open()
        await driver.close()
    finally:
        await proxy.stop()
    assert proxy.passed_bytes < 24 * 2**20  # what waited in the sockets included


async def test_a_changed_value_in_a_signed_message_ends_the_link(machine, configured, rng):
    proxy = Proxy(machine, rng, OneCard(other_value), judged=True, left_alone=(0,), share=1.0)
    await proxy.start()
    try:
        driver = configured(proxy, "sign", timeout="20 s")
        await driver.open()
        async with contextlib.aclosing(driver.readings()) as readings:
            await anext(readings)
            proxy.fuzzing = True
            with pytest.raises(DriverError, match="link lost"):  # noqa: PT012 - it ends the loop
                async for reading in readings:
                    assert all(proxy.judge(one.signal, one.value) for one in reading.values)
        await driver.close()
    finally:
        await proxy.stop()


@pytest.mark.parametrize("length", [10**7, 1])
def test_an_array_of_nothing_is_refused(length):
    with pytest.raises(ua.UaError, match=f"an array of {length} elements"):
        ua_binary.variant_from_binary(Buffer(struct.pack("<Bi", 0x80, length) + bytes(100)))


@pytest.mark.parametrize("kind", [ua.VariantType.String, ua.VariantType.Int32, ua.VariantType.DataValue])
def test_an_array_has_no_more_elements_than_bytes(kind):
    with pytest.raises(ua.UaError, match="an array of 101 elements in 104 bytes"):
        ua_binary.variant_from_binary(Buffer(struct.pack("<Bi", 0x80 | kind.value, 101) + bytes(100)))


def test_a_text_of_negative_length_does_not_go_back():
    with pytest.raises(ua.UaError, match="a text of -9 bytes"):
        ua_binary.variant_from_binary(Buffer(struct.pack("<Bi", ua.VariantType.String.value, -9) + bytes(100)))
