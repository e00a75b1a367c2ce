import asyncio
import contextlib
import random
import struct
import time

import pytest
from kept_waiting import Taken

from drivers.base import DriverError
from drivers.modbus import PLUGIN
from drivers.modbus.endpoint import Endpoint, ModbusTlsSettings, Rs485Settings, SerialSettings
from drivers.modbus.link import RequestRefused, link_for
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusSignal
from gateway.core.duration import Duration, seconds
from gateway.core.model import Status
from gateway.testing import DriverContract, RefusedSignalContract

LIMIT_S = 60.0
#: For a device whose answers are no use: each costs as much.
SHORT = Duration("1 s")
#: So long that no busy computer takes half of it.
DEAD = Duration("2 s")
UNNUMBERED = ["rtu", "rtu_over_tcp"]


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class TransportRig:
    """One device of the tests for the contract."""

    def __init__(self, context, device, reached):
        self.expected = {"plc.good": 4_711, "plc.total": 2**40 + 1, "plc.running": True, "plc.order": "PO-17"}
        self.expected_bad = {"plc.nowhere": "exception 2 (illegal data address)"}
        self._context = context
        self._device = device
        self._reached = reached
        device.tables["holding"] = {0: 4_711, 1: 0, 2: 256, 3: 0, 4: 1, 5: 0x504F, 6: 0x2D31, 7: 0x3700}
        device.tables["coil"] = {9: True}

    def make(self):
        settings = ModbusSettings(
            driver="modbus",
            unit=7,
            scan=Duration("50 ms"),
            timeout=Duration("2 s"),
            signals={
                "good": ModbusSignal(address=0),
                "total": ModbusSignal(address=1, type="uint64"),
                "order": ModbusSignal(address=5, type="string", length=6),
                "running": ModbusSignal(table="coil", address=9),
                "nowhere": ModbusSignal(address=12),
            },
            **self._reached(),
        )
        return PLUGIN.build(settings, self._context(rules=settings.signals))

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        await self._device.start()

    async def stop_device(self):
        await self._device.stop()


class _TransportContract(DriverContract, RefusedSignalContract):
    transport = "tcp"

    @pytest.fixture
    async def rig(self, context, make_device, port_for_later):
        device, reached = make_device(self.transport)
        device.port = device.port or port_for_later()
        yield TransportRig(context, device, reached)
        await device.stop()


class TestTcp(_TransportContract):
    transport = "tcp"


class TestUdp(_TransportContract):
    transport = "udp"


class TestRtuOverTcp(_TransportContract):
    transport = "rtu_over_tcp"


class TestRtu(_TransportContract):
    transport = "rtu"


class TestTls(DriverContract, RefusedSignalContract):
    @pytest.fixture
    async def rig(self, context, port_for_later, tls_device, certificates):
        device = tls_device(tls=certificates.server("plc", ip="127.0.0.1", wants_client=True))
        device.port = port_for_later()
        cert_file, key_file = certificates.make("gateway")
        tls = ModbusTlsSettings(
            ca_file=str(certificates.ca_file), cert_file=str(cert_file), key_file=str(key_file), server_name="plc"
        )
        yield TransportRig(
            context, device, lambda: {"transport": "tls", "host": "127.0.0.1", "port": device.port, "tls": tls}
        )
        await device.stop()


# --- what does not belong to the request -----------------------------------------------------------------------------


def short(_tid, unit, pdu):
    frame = bytes([unit, pdu[0], 2]) + pdu[2:4]
    return frame + crc(frame)


def torn(_tid, unit, pdu):
    frame = bytes([unit]) + pdu
    return (frame + crc(frame))[:-3]


def wrong_sum(_tid, unit, pdu):
    frame = bytes([unit]) + pdu
    return frame + bytes(byte ^ 0x55 for byte in crc(frame))


def flipped_bit(_tid, unit, pdu):
    frame = bytes([unit]) + pdu
    return frame[:4] + bytes([frame[4] ^ 0x10]) + frame[5:] + crc(frame)


def other_unit(_tid, unit, pdu):
    frame = bytes([unit + 1]) + pdu
    return frame + crc(frame)


def other_function(_tid, unit, pdu):
    frame = bytes([unit, 4]) + pdu[1:]
    return frame + crc(frame)


def garbage(_tid, unit, _pdu):
    return random.Random(unit).randbytes(30)


@pytest.mark.parametrize("transport", UNNUMBERED)
@pytest.mark.parametrize(
    "spoil", [short, torn, wrong_sum, flipped_bit, other_unit, other_function, garbage], ids=lambda f: f.__name__
)
async def test_a_spoilt_rtu_frame_is_a_lost_link_and_never_a_value(make_device, driver_for, transport, spoil):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {0: 1, 1: 2, 2: 3, 3: 4}
    driver = await driver_for(device, {"a": {"address": 0, "type": "uint64"}}, reached=reached(), timeout=SHORT)
    readings = driver.readings()
    assert (await anext(readings)).values[0].status is Status.GOOD
    device.spoil = spoil
    with pytest.raises(DriverError, match=r"unit 1: .*holding 0 \(length 4\)"):
        await asyncio.wait_for(anext(readings), LIMIT_S)
    await device.stop()


def other_number(tid, unit, pdu):
    return struct.pack(">HHHB", tid + 1, 0, len(pdu) + 1, unit) + pdu


def no_number(_tid, unit, pdu):
    return struct.pack(">HHHB", 0, 0, len(pdu) + 1, unit) + pdu


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("spoil", [other_number, no_number])
async def test_an_answer_with_another_number_is_never_a_value(make_device, transport, spoil):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {0: 1}
    device.spoil = spoil
    link = await connected(Endpoint(timeout=Duration("200 ms"), **reached()))
    with pytest.raises(DriverError):
        await asyncio.wait_for(link.read("holding", 0, 1), LIMIT_S)
    link.close()
    await device.stop()


async def test_another_unit_is_noticed_even_where_unit_0_is_asked(device):
    """The library checks the unit of an answer, but not against 0, which many devices with TCP have."""
    device.tables["holding"] = {0: 1}
    link = link_for(Endpoint(host="127.0.0.1", port=device.port, unit=0))
    await link.connect()
    assert await link.read("holding", 0, 1) == [1]
    device.spoil = lambda tid, _unit, pdu: struct.pack(">HHHB", tid, 0, len(pdu) + 1, 5) + pdu
    with pytest.raises(DriverError, match="does not belong to it"):
        await link.read("holding", 0, 1)
    link.close()


# --- late answers ----------------------------------------------------------------------------------------------------


async def connected(endpoint):
    """A link that is made: a busy computer may need longer for it than the short time limit of these tests."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            link = link_for(endpoint)
            try:
                await link.connect()
            except DriverError:
                link.close()
            else:
                return link


@pytest.mark.parametrize("transport", ["rtu", "rtu_over_tcp", "udp", "tcp"])
@pytest.mark.parametrize("cut_by", ["time limit", "cancellation"])
async def test_a_late_answer_is_never_taken_for_the_next_one(make_device, until, transport, cut_by):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {100: 100, 200: 200, 300: 300}
    device.late_s[100] = 0.3
    endpoint = Endpoint(timeout=Duration("250 ms"), **reached())
    first = await connected(endpoint)
    asking = asyncio.ensure_future(first.read("holding", 100, 1))
    if cut_by == "cancellation":
        await until(lambda: device.requests)
        asking.cancel()
    await asyncio.wait({asking}, timeout=LIMIT_S)
    assert asking.cancelled() or isinstance(asking.exception(), DriverError)
    first.close()
    second = await connected(endpoint)
    found = {}
    for address in (200, 300):
        try:
            found[address] = list(await asyncio.wait_for(second.read("holding", address, 1), LIMIT_S))
        except DriverError:
            found[address] = [address]  # an error is honest, another register's value is not
            second.close()
            second = await connected(endpoint)
    assert found == {200: [200], 300: [300]}
    second.close()
    await device.stop()


# --- several units behind one port -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "rtu", "rtu_over_tcp"])
async def test_units_behind_one_port_share_a_connection_and_take_turns(make_device, driver_for, transport):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {0: 5, 50: 6}
    drivers = [
        await driver_for(device, {"a": {"address": 0}, "b": {"address": 50}}, reached=reached(), unit=unit)
        for unit in (1, 2, 3)
    ]
    streams = [driver.readings() for driver in drivers]
    for _ in range(3):
        for reading in await asyncio.gather(*(anext(stream) for stream in streams)):
            assert [value.value for value in reading.values] == [5, 6]
    assert getattr(device, "connections", 1) == 1
    assert device.asked[:6] == [1, 2, 3, 1, 2, 3], "one request each, in turn"
    await drivers[0].close()
    assert (await anext(streams[1])).values, "the connection stays while somebody uses it"
    await device.stop()


@pytest.mark.parametrize("transport", ["tcp", "rtu", "rtu_over_tcp"])
async def test_a_dead_unit_costs_the_others_one_time_limit_and_no_more(make_device, driver_for, transport):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {0: 5}
    device.silent_units = {9}
    alive = await driver_for(device, {"a": {"address": 0}}, reached=reached(), unit=1)
    stream = alive.readings()
    await anext(stream)
    dead = await driver_for(device, {"a": {"address": 0}}, reached=reached(), unit=9, timeout=DEAD)
    loop = asyncio.get_running_loop()
    asking = asyncio.ensure_future(anext(dead.readings()))
    gaps, longest_s = [], 0.0
    for _ in range(20):
        taken, last_s = Taken(), loop.time()
        assert (await asyncio.wait_for(anext(stream), LIMIT_S)).values[0].value == 5
        longest_s = max(longest_s, loop.time() - last_s)
        gaps.append(taken.seconds())
    await asyncio.wait({asking}, timeout=LIMIT_S)
    assert isinstance(asking.exception(), DriverError)
    assert "unit 9" in str(asking.exception())
    limit_s = seconds(DEAD)
    assert sorted(gaps)[-2] < limit_s / 2, gaps
    assert max(gaps) < limit_s * 3 / 2, gaps
    assert longest_s > limit_s / 2, "it had to wait for the dead one"
    assert device.asked.count(9) == 1
    assert getattr(device, "connections", 2) == 2, "a fresh connection after the failure"
    await device.stop()


async def test_a_port_cannot_have_two_forms(make_device):
    device, reached = make_device("rtu")
    await device.start()
    one = link_for(Endpoint(**reached()))
    await one.connect()
    two = link_for(Endpoint(unit=2, **(reached() | {"serial": SerialSettings(parity="none", baudrate=9600)})))
    with pytest.raises(DriverError, match=r"unit 2: another source uses this port .* make their serial the same"):
        await two.connect()
    one.close()
    await two.connect()
    two.close()
    await device.stop()


async def test_an_end_of_the_connection_is_told_to_every_unit(device, driver_for):
    device.tables["holding"] = {0: 5}
    drivers = [await driver_for(device, {"a": {"address": 0}}, unit=unit, scan=Duration("50 ms")) for unit in (1, 2)]
    streams = [driver.readings() for driver in drivers]
    await asyncio.gather(*(anext(stream) for stream in streams))
    await device.stop()
    await device.start()
    for stream in streams:
        with pytest.raises(DriverError, match="no connection any more"):
            await asyncio.wait_for(anext(stream), LIMIT_S)


# --- pauses, lines, certificates -------------------------------------------------------------------------------------


async def test_pauses_after_connecting_and_between_requests(device):
    device.tables["holding"] = {0: 5}
    link = link_for(
        Endpoint(
            host="127.0.0.1",
            port=device.port,
            pause_after_connect=Duration("150 ms"),
            pause_between_requests=Duration("60 ms"),
        )
    )
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await link.connect()
    connected_s, taken = loop.time(), Taken()
    for _ in range(3):
        await link.read("holding", 0, 1)
    assert connected_s - start_s >= 0.149
    assert loop.time() - connected_s >= 0.119
    assert taken.seconds() < 1
    link.close()


async def test_a_line_that_is_not_there_and_one_that_knows_no_rs485_say_so(make_device, tmp_path):
    link = link_for(Endpoint(transport="rtu", device=str(tmp_path / "ttyUSB7")))
    with pytest.raises(
        DriverError, match=r"ttyUSB7 unit 1: no connection \(No such file or directory\); check the path"
    ):
        await link.connect()
    device, reached = make_device("rtu")
    await device.start()
    link = link_for(Endpoint(**(reached() | {"serial": SerialSettings(parity="none", rs485=Rs485Settings())})))
    with pytest.raises(DriverError, match=r"no connection \(Failed to set RS485 mode.*rs485 needs a kernel driver"):
        await link.connect()
    plain = link_for(Endpoint(**reached()))
    await plain.connect()
    plain.close()
    await device.stop()


async def test_an_adapter_that_hears_itself(make_device):
    device, reached = make_device("rtu", serial=SerialSettings(parity="none", local_echo=True))
    await device.start()
    device.tables["holding"] = {0: 5}
    hear = device.hear

    def echo(data):
        device.say(data)
        hear(data)

    device.hear = echo
    link = link_for(Endpoint(**reached()))
    await link.connect()
    for _ in range(3):
        assert await link.read("holding", 0, 1) == [5]
    link.close()
    await device.stop()


TLS_FAULTS = {
    "unknown authority": (
        {"server_name": "plc"},
        r"its certificate is refused: self-signed certificate in certificate chain; name the authority",
    ),
    "another name": ({"ca": True, "server_name": "other"}, r"its certificate is refused: Hostname mismatch"),
    "no certificate of ours": ({"ca": True, "server_name": "plc"}, r"does it want a certificate of this gateway"),
    "no such file": ({"ca_file": "nowhere.pem"}, r"ca_file: nowhere.pem cannot be used \(No such file or directory\)"),
}


@pytest.mark.parametrize("fault", TLS_FAULTS)
async def test_what_is_wrong_with_certificates_is_said(tls_device, certificates, fault):
    keys, words = TLS_FAULTS[fault]
    device = tls_device(tls=certificates.server("plc", wants_client=True))
    await device.start()
    device.tables["holding"] = {0: 5}
    keys = dict(keys)
    if keys.pop("ca", False):
        keys["ca_file"] = str(certificates.ca_file)
    tls = ModbusTlsSettings(**keys)
    endpoint = Endpoint(transport="tls", host="127.0.0.1", port=device.port, tls=tls, timeout=Duration("5 s"))
    link = link_for(endpoint, certificates.folder)
    with pytest.raises(DriverError, match=words):
        await _connect_and_read(link)
    link.close()
    await device.stop()


async def test_a_port_without_tls_is_said_to_be_one():
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = link_for(Endpoint(transport="tls", host="127.0.0.1", port=port, timeout=Duration("5 s")))
    with pytest.raises(
        DriverError, match=r"no connection \(the device ended it in the TLS handshake; does it speak TLS"
    ):
        await link.connect()
    server.close()
    await server.wait_closed()


async def test_an_ipv6_address_is_shown_in_brackets(port_for_later):
    port = port_for_later()
    link = link_for(Endpoint(host="::1", port=port))
    with pytest.raises(DriverError, match=rf"^\[::1\]:{port} unit 1: no connection \("):
        await link.connect()


async def _connect_and_read(link):
    """With TLS 1.3 a device refuses a missing certificate only after the handshake."""
    await link.connect()
    await link.read("holding", 0, 1)


async def test_relative_certificate_files_start_at_the_configuration(tls_device, certificates):
    device = tls_device(tls=certificates.server("plc", ip="127.0.0.1"))
    await device.start()
    device.tables["holding"] = {0: 5}
    endpoint = Endpoint(transport="tls", host="127.0.0.1", port=device.port, tls=ModbusTlsSettings(ca_file="ca.pem"))
    link = link_for(endpoint, certificates.folder)
    await link.connect()
    assert await link.read("holding", 0, 1) == [5]
    link.close()
    await device.stop()


# --- mutated frames --------------------------------------------------------------------------------------------------


def mutated(frame, rng):
    """The frame with something wrong, or other bytes altogether."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 40))
    at = rng.randrange(len(frame))
    if kind == 1:
        return frame[:at]
    if kind == 2:
        return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]
    if kind == 3:
        return frame[:at] + rng.randbytes(rng.randrange(1, 4)) + frame[at:]
    return rng.randbytes(rng.randrange(1, 20)) + frame


@pytest.mark.parametrize("transport", UNNUMBERED)
async def test_mutated_rtu_frames_never_become_other_values(make_device, transport):
    rng = random.Random(7)
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = {0: 0x1234, 1: 0xABCD}

    def spoil(_tid, unit, pdu):
        frame = bytes([unit]) + pdu
        return mutated(frame + crc(frame), rng)

    device.spoil = spoil
    endpoint = Endpoint(timeout=Duration("60 ms"), quiet_time=Duration("0 s"), **reached())
    link = await connected(endpoint)
    failed = 0
    for _ in range(40):
        try:
            assert await asyncio.wait_for(link.read("holding", 0, 2), LIMIT_S) == [0x1234, 0xABCD]
        except (DriverError, RequestRefused):
            failed += 1
    assert failed > 20
    device.spoil = None
    async with asyncio.timeout(LIMIT_S):  # and then all is well again, once the device is given the time to answer
        found = None
        while found is None:
            with contextlib.suppress(DriverError):
                found = await link.read("holding", 0, 2)
    assert found == [0x1234, 0xABCD]
    link.close()
    await device.stop()
