"""A real OPC UA server behind a proxy that spoils what it says.

Without security a changed byte in the body of a message cannot be noticed by anybody. So there are three runs: without
security and with spoilt headers, lengths, numbers and order only; without security and with anything, where values are
not judged; signed and with anything, where they are again. A value carries the number of its writing and a check of it.
"""

import asyncio
import contextlib
import itertools
import struct
import threading
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Server, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter

from drivers.opcua import PLUGIN, certificates

URI = "http://linegate.test/machine"
WRITE_EVERY_S = 0.02
TIMEOUT_MS = 300
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
    """A value of a variable that says which writing it is of, and checks itself."""
    check = zlib.crc32(f"{name} {number}".encode())
    return f"{number}:{check}" if name == "text" else number << 32 | check


def number_in(name, value):
    number = int(value.partition(":")[0]) if isinstance(value, str) else value >> 32
    return number if value == checked(name, number) else None


class Machine:
    """An OPC UA server in a thread, whose variables are written all the time."""

    def __init__(self, folder):
        self.number = 1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._certificate(folder)
        self._call(self._start(folder))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def _certificate(self, folder):
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
        now = datetime.now(UTC)  # noqa: TID251 - a certificate is about the real time
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:fuzz")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "server.der").write_bytes(self.der)
        (folder / "server.pem").write_bytes(pem)

    async def _start(self, folder):
        self._server = server = Server()
        await server.init()
        server.set_endpoint("opc.tcp://127.0.0.1:0/")
        await server.set_application_uri("urn:fuzz")
        await server.load_certificate(str(folder / "server.der"))
        await server.load_private_key(str(folder / "server.pem"))
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_Sign])
        index = await server.register_namespace(URI)
        kinds = dict.fromkeys(SIGNALS, ua.VariantType.UInt64) | {"text": ua.VariantType.String}
        nodes = {
            name: await server.nodes.objects.add_variable(ua.NodeId(name, index), name, checked(name, 1), kind)
            for name, kind in kinds.items()
        }
        await server.start()
        self.port = server.bserver._server.sockets[0].getsockname()[1]

        async def write():
            for number in itertools.count(2):
                self.number = number  # before it is written: nothing later may be read
                for name, node in nodes.items():
                    await node.write_value(checked(name, number), kinds[name])
                await asyncio.sleep(WRITE_EVERY_S)

        self._writing = asyncio.create_task(write())

    def stop(self):
        async def stop():
            self._writing.cancel()
            await self._server.stop()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


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
    for at in places_of_values(chunk) or [min(BODY, len(chunk) - 5)]:
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


FRAMES = (
    header_bits, other_sequence, other_request, other_token, other_channel, other_type, other_part, announced_length,
    cut_short, cut_off, twice, earlier, later, swallowed, split, random_bytes, error_message, endless_hello,
    endless_message, endless_parts,
)  # fmt: skip
ANYTHING = (
    *FRAMES, any_bits, any_bits, last_bits, other_value, noise_in_body, other_lengths_inside, array_of_nothing,
)  # fmt: skip


class Link:
    """One connection through the proxy."""

    def __init__(self, left_alone):
        self.left_alone = left_alone
        self.passed = []
        self.held = []


class Proxy:
    """Hands on what the gateway says, and spoils what the machine says. ``fuzzing``: whether."""

    def __init__(self, machine, rng, deck, *, judged):
        self._machine, self._rng, self._deck, self._judged = machine, rng, deck, judged
        self.fuzzing = False
        self._newest = dict.fromkeys(SIGNALS, 0)

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    def judge(self, signal, value):
        """A value that was written, and not before the last one seen."""
        name = signal.partition(".")[2]
        number = number_in(name, value) if self._judged else self._newest[name]
        right = number is not None and self._newest[name] <= number <= self._machine.number
        self._newest[name] = max(self._newest[name], number or 0)
        return right

    async def _serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._machine.port)
        tasks = [asyncio.create_task(self._up(reader, up_writer)), asyncio.create_task(self._down(up_reader, writer))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (writer, up_writer):
                each.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _up(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def _down(self, reader, writer):
        link = Link(self._rng.choice(LEFT_ALONE))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(8)
                chunk = head + await reader.readexactly(struct.unpack_from("<I", head, 4)[0] - 8)
                for pause_s, data in self._fate(chunk, link):
                    if pause_s:
                        await asyncio.sleep(pause_s)
                    if data is None:
                        return
                    writer.write(data)
                    await writer.drain()

    def _fate(self, chunk, link):
        held, link.held = link.held, []
        link.left_alone -= 1
        if self.fuzzing and link.left_alone < 0 and self._rng.random() < SHARE:
            yield from self._deck.draw()(chunk, self._rng, link)
        else:
            link.passed = [*link.passed[-10:], chunk]
            yield 0, chunk
        yield from ((0, one) for one in held)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("server"))
    yield machine
    machine.stop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "leg",
    [("none", FRAMES, True), ("none", ANYTHING, False), ("sign", ANYTHING, True)],
    ids=["frames", "anything", "signed"],
)
async def test_whatever_a_server_says_only_right_values_are_good(watch, machine, context, deck, span_s, tmp_path, leg):
    security, cards, judged = leg
    rng, drawn = deck(cards, len(cards) * (1 + judged))
    proxy = Proxy(machine, rng, drawn, judged=judged)
    certificates.pin(tmp_path / certificates.FOLDER, "imm", machine.der)

    def make():
        settings = TypeAdapter(PLUGIN.settings).validate_python(
            {
                "driver": "opcua",
                "endpoint": f"opc.tcp://127.0.0.1:{proxy.port}",
                "security": security,
                "publish": "20 ms",
                "timeout": f"{TIMEOUT_MS} ms",
                "namespaces": {"m": URI},
                "signals": SIGNALS,
            }
        )
        return PLUGIN.build(settings, replace(context("imm", SIGNALS, ["text"], tmp_path), base_dir=tmp_path))

    async with watch(proxy, proxy.judge, imm=(make, SIGNALS)) as watching:
        await watching.fuzz(proxy, span_s, drawn)
