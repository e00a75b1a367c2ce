"""The same device on every transport, read and written by the library's clients and by bare bytes."""

import contextlib
import os
import select
import ssl
import struct
import time
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient, ModbusTlsClient, ModbusUdpClient

QUIET_S = 0.3


@pytest.fixture
def device(simulator, tmp_path):
    def start(transport, *arguments):
        extra = {
            "rtu": ["--link", tmp_path / "tty"],
            "tls": ["--make-certificates", tmp_path / "tls"],
        }.get(transport, [])
        return simulator(
            "asm-01", "--transport", transport, "--speed", 0.001, *extra, *arguments, truth=tmp_path / "truth.jsonl"
        )

    return start


def tls_context(folder, *, client=True, name=True):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = name
    if client:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


@pytest.fixture
def library(tmp_path):
    """A client of the library for a transport."""
    with contextlib.ExitStack() as stack:

        def connect(transport, ready, timeout=60.0):
            host, port, common = ready.get("host"), ready.get("port"), {"timeout": timeout, "retries": 0}
            # The library gives the TLS layer no name to check.
            context = tls_context(tmp_path / "tls", name=False) if transport == "tls" else None
            client = {
                "tcp": lambda: ModbusTcpClient(host, port=port, **common),
                "rtu_over_tcp": lambda: ModbusTcpClient(host, port=port, framer=FramerType.RTU, **common),
                "udp": lambda: ModbusUdpClient(host, port=port, **common),
                "tls": lambda: ModbusTlsClient(host, port=port, sslctx=context, **common),
                "rtu": lambda: ModbusSerialClient(ready["device"], baudrate=19_200, parity="N", **common),
            }[transport]()
            assert client.connect()
            return stack.enter_context(client)

        yield connect


@pytest.mark.parametrize("transport", ["tcp", "rtu", "rtu_over_tcp", "udp", "tls"])
def test_a_library_client_reads_and_writes(device, library, transport):
    one = device(transport, "--good", 65_500, "--other-units", "8", "--silent-units", "9")
    assert one.ready["transport"] == transport
    client = library(transport, one.ready)
    good = client.read_holding_registers(0, count=3, device_id=1).registers
    assert good == [65_500, 0, 65_500]
    assert client.read_coils(3, count=9, device_id=1).bits[:9] == [n & 1 == 1 for n in range(3, 12)]
    assert client.read_input_registers(5, count=125, device_id=8).registers == list(range(5, 130))
    job = struct.unpack(">8H", b"100240-0010     ")
    assert not client.write_registers(8, list(job), device_id=1).isError()
    assert client.read_holding_registers(8, count=8, device_id=1).registers == list(job)
    assert [event["job"] for event in one.truth("job")] == ["100240-0010"]
    assert client.read_holding_registers(60_000, count=1, device_id=1).exception_code == 2


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_a_stranger_among_units_gets_exception_11_behind_a_gateway(device, library, transport):
    client = library(transport, device(transport).ready)
    assert client.read_holding_registers(0, count=1, device_id=5).exception_code == 11


class Serial:
    """A client of a serial line that sees bytes."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, data):
        os.write(self.fd, data)

    def ask(self, address, count, unit=1, function=3):
        self.send(framed(struct.pack(">BBHH", unit, function, address, count)))

    def take(self, size, seconds=60.0):
        """So many bytes, or what came of them within the time."""
        data, deadline = b"", time.monotonic() + seconds
        while len(data) < size and (left := deadline - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                data += os.read(self.fd, size - len(data))
        return data

    def silent(self):
        return self.take(1, QUIET_S) == b""


def framed(data):
    """With the checksum as the specification computes it, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return data + struct.pack("<H", crc)


def words(*values, unit=1):
    return framed(struct.pack(f">BBB{len(values)}H", unit, 3, 2 * len(values), *values))


@pytest.fixture
def serial():
    opened = []

    def connect(path):
        opened.append(Serial(path))
        return opened[-1]

    yield connect
    for one in opened:
        os.close(one.fd)


@pytest.fixture
def line(device, serial):
    one = device("rtu", "--other-units", "8", "--silent-units", "9")
    return one, serial(one.ready["device"])


def test_on_a_serial_line_strangers_and_damaged_requests_get_silence(line):
    _, client = line
    client.ask(100, 1)
    assert client.take(7) == words(100)
    for unit in (5, 9):
        client.ask(100, 1, unit=unit)
    client.send(framed(b"\x01\x03\x00\x64\x00\x01")[:-1] + b"\xff")
    assert client.silent()
    client.ask(100, 1, unit=8)
    assert client.take(7) == words(100, unit=8)


def test_after_half_a_request_and_a_silence_the_next_one_is_understood(line, eventually):
    _, client = line

    def answered():
        while not client.silent():  # an answer that came too late for the look before
            pass
        client.send(b"\x01\x03\x00")
        assert client.silent()  # the silence ends what was begun
        client.ask(100, 1)
        return client.take(7, 5.0) == words(100)

    eventually(answered, "an answer")


def test_requests_in_one_write_and_bytes_one_by_one_are_understood(line, eventually):
    _, client = line
    client.send(framed(struct.pack(">BBHH", 1, 3, 100, 1)) + framed(struct.pack(">BBHH", 1, 3, 200, 1)))
    assert client.take(14) == words(100) + words(200)
    written = framed(struct.pack(">BBHHB", 1, 16, 8, 1, 2) + b"AB")

    def answered():
        while not client.silent():  # an answer that came too late for the look before
            pass
        for at in range(len(written)):
            client.send(written[at : at + 1])
        return client.take(8, 5.0) == framed(struct.pack(">BBHH", 1, 16, 8, 1))

    # Who is kept from running between two bytes makes a silence that ends what was begun.
    eventually(answered, "an answer")
    client.send(framed(b"\x01\x2b\x0e\x01\x00"))  # of unknown length: the silence ends it
    assert client.take(5) == framed(b"\x01\xab\x01")


def test_a_late_answer_looks_like_that_of_the_next_request(line):
    one, client = line
    one.do("slow 300 1")
    began = time.monotonic()
    client.ask(100, 1)
    client.ask(200, 1)
    assert client.take(7) == words(100)
    assert time.monotonic() - began >= 0.3
    assert client.take(7) == words(200)
    one.do("late 300 1")
    # In one write: between two the first answer could already come.
    client.send(framed(struct.pack(">BBHH", 1, 3, 100, 1)) + framed(struct.pack(">BBHH", 1, 3, 200, 1)))
    assert client.take(14) == words(200) + words(100)


def test_checksum_errors_and_noise_damage_answers(line):
    one, client = line
    one.do("crc 1")
    client.ask(100, 1)
    damaged = client.take(7)
    assert damaged[:6] == words(100)[:6]
    assert damaged != words(100)
    one.do("noise 50 60")
    answers = []
    for _ in range(60):
        client.ask(100, 1)
        answers.append(client.take(7))
    wrong = [answer for answer in answers if answer != words(100)]
    assert 10 < len(wrong) < 50
    assert all(sum((a ^ b).bit_count() for a, b in zip(answer, words(100), strict=True)) == 1 for answer in wrong)
    one.do("noise 50 0")
    client.ask(100, 1)
    assert client.take(7) == words(100)


def test_garbage_torn_short_and_wrong_answers_on_a_serial_line(line, eventually):
    one, client = line
    one.do("garbage 1")
    client.ask(100, 1)
    garbage = client.take(7)
    assert len(garbage) == 7
    assert garbage != framed(garbage[:-2])

    def torn_s():
        one.do("torn 200 1")
        client.ask(100, 1)
        assert client.take(3) == words(100)[:3]
        began = time.monotonic()
        assert client.take(4) == words(100)[3:]
        return time.monotonic() - began

    # Who was kept from running while it passed has not seen the pause.
    eventually(lambda: torn_s() >= 0.1, "a pause")
    one.do("short 1")
    client.ask(100, 1)
    assert client.take(3) == words(100)[:3]
    assert client.silent()
    one.do("wrong-unit 1")
    client.ask(100, 1)
    assert client.take(7) == words(100, unit=2)
    one.do("more 1")
    client.ask(100, 1)
    assert client.take(9) == words(100, 0)
    one.do("blackhole 600")
    client.ask(100, 1)
    assert client.silent()
    one.do("faults off")
    client.ask(100, 1)
    assert client.take(7) == words(100)


def test_a_cut_takes_the_device_away_and_the_link_leads_to_the_new_one(line, serial, eventually):
    one, client = line
    one.do("cut 600")
    assert not os.path.lexists(one.ready["device"])
    select.select([client.fd], [], [], 60)
    with contextlib.suppress(OSError):  # as after pulling an adapter out: an error or the end
        assert os.read(client.fd, 1) == b""
    began = time.monotonic()
    one.do("cut 0.4")
    eventually(lambda: Path(one.ready["device"]).exists(), "the device")
    assert time.monotonic() - began >= 0.4
    again = serial(one.ready["device"])
    again.ask(100, 1)
    assert again.take(7) == words(100)


def test_the_link_of_a_killed_run_is_replaced_and_anything_else_is_not(device, tmp_path, simulator):
    (tmp_path / "tty").symlink_to("/dev/pts/99999")
    one = device("rtu")
    assert os.path.realpath(one.ready["device"]) == one.ready["tty"]
    one.close()
    assert not os.path.lexists(tmp_path / "tty")
    (tmp_path / "tty").write_text("mine")
    with pytest.raises(AssertionError, match="File exists; name a path that is free"):
        device("rtu")
    assert (tmp_path / "tty").read_text() == "mine"


def test_crc_is_no_command_where_there_is_no_checksum(device):
    assert "unknown command 'crc'" in device("tcp").ask("crc 1")["error"]
    assert device("rtu_over_tcp").ask("crc 1")["ok"] is True


def test_a_cut_of_udp_is_a_silence(device, library):
    one = device("udp")
    client = library("udp", one.ready, timeout=QUIET_S)
    one.do("cut 600")
    with contextlib.suppress(Exception):  # the library's word for silence is an error of its own
        assert client.read_holding_registers(100, count=1, device_id=1).isError()
    one.do("faults off")
    again = library("udp", one.ready)
    assert again.read_holding_registers(100, count=1, device_id=1).registers == [100]


def test_tls_demands_the_clients_certificate(device, tmp_path, library):
    one = device("tls")
    folder = tmp_path / "tls"
    assert (folder / "server.key").stat().st_mode & 0o777 == 0o600
    context = tls_context(folder, client=False)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        exchange(one.port, context)
    assert exchange(one.port, tls_context(folder)) == struct.pack(">HHHBBBH", 1, 0, 5, 1, 3, 2, 100)
    # What was made is used again, and a stranger's authority is not trusted.
    before = (folder / "ca.pem").read_bytes()
    one.close()
    two = device("tls", "--tls-ca", ssl.get_default_verify_paths().cafile or folder / "server.pem")
    assert (folder / "ca.pem").read_bytes() == before
    with pytest.raises((ssl.SSLError, ConnectionError)):
        exchange(two.port, tls_context(folder))


def exchange(port, context):
    import socket

    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as link,
    ):
        link.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 100, 1))
        data = link.recv(100)
        if not data:
            raise ConnectionError("closed")
        return data


def test_tls_without_a_certificate_is_a_sentence(simulator, tmp_path):
    with pytest.raises(AssertionError, match="needs --tls-cert and --tls-key, or --make-certificates DIR"):
        simulator("asm-01", "--transport", "tls")
    with pytest.raises(AssertionError, match=r"No such file or directory .*none\.pem"):
        simulator(
            "asm-01", "--transport", "tls", "--tls-cert", tmp_path / "none.pem", "--tls-key", tmp_path / "none.key"
        )


@pytest.mark.parametrize("words_of", [("--unit", "300"), ("--other-units", "8,x"), ("--transport", "ascii")])
def test_wrong_options_name_what_is_allowed(simulator, words_of):
    with pytest.raises(AssertionError, match=r"allowed: |choose from"):
        simulator("asm-01", *words_of)
