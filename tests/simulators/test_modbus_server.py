import socket
import struct
import time

import pytest
from pymodbus.client import ModbusTcpClient


@pytest.fixture
def plc(simulator, tmp_path):
    def start(*arguments):
        return simulator("asm-01", *arguments, truth=tmp_path / "truth.jsonl")

    return start


def test_registers_and_truth_agree_after_stop(plc, wire, eventually):
    one = plc("--speed", 500, "--steady")
    eventually(lambda: one.do("totals")["good_total"] > 60, "60 pieces")
    totals = one.do("stop")
    good, scrap, low, high, state, alarm, boots = wire(one.port).holding(0, 7)
    assert (good, scrap, low + 65536 * high) == (
        totals["good_total"],
        totals["scrap_total"],
        totals["good_total"] + totals["scrap_total"],
    )
    assert (state, alarm, boots) == (1, 0, 1)
    pieces = one.truth("pieces")
    assert (sum(p["good"] for p in pieces), sum(p["scrap"] for p in pieces)) == (good, scrap)
    assert scrap > 0
    assert [p["t_ns"] for p in pieces] == sorted(p["t_ns"] for p in pieces)
    assert pieces[-1]["machine"] == "ASM-01"
    # Stopped means stopped; and start means going on from the same numbers.
    assert one.do("totals")["good_total"] == good
    one.do("start")
    eventually(lambda: one.do("totals")["good_total"] > good, "another piece")


def test_a_library_client_reads_all_four_tables(plc):
    one = plc("--speed", 0.001)
    with ModbusTcpClient("127.0.0.1", port=one.port) as client:
        assert client.read_holding_registers(100, count=3, device_id=1).registers == [100, 101, 102]
        assert client.read_holding_registers(1990, count=125, device_id=1).registers == list(range(1990, 2115))
        assert client.read_input_registers(5, count=2, device_id=1).registers == [5, 6]
        assert client.read_coils(3, count=9, device_id=1).bits[:9] == [n & 1 == 1 for n in range(3, 12)]
        assert client.read_discrete_inputs(4, count=2, device_id=1).bits[:2] == [False, True]
        one.do("job 100240-0010 assemble")
        job = client.read_holding_registers(8, count=9, device_id=1).registers
        assert b"".join(word.to_bytes(2) for word in job[:8]) == b"100240-0010 asse"
        current = client.convert_from_registers(
            client.read_holding_registers(7, count=1, device_id=1).registers, client.DATATYPE.INT16
        )
        assert 30 < current < 55


@pytest.mark.parametrize(
    ("function", "address", "count", "unit", "code"),
    [
        (3, 59_999, 2, 1, 2),
        (3, 60_000, 1, 1, 2),
        (3, 0, 126, 1, 3),
        (3, 0, 0, 1, 3),
        (1, 0, 2001, 1, 3),
        (6, 0, 1, 1, 2),
        (5, 0, 0xFF00, 1, 1),
        (7, 0, 1, 1, 1),
        (3, 0, 1, 9, 0x0B),
    ],
)
def test_illegal_requests_get_the_exception_a_real_device_sends(plc, wire, function, address, count, unit, code):
    client = wire(plc("--speed", 0.001).port)
    client.ask(function, address, count, unit)
    assert client.frame() == struct.pack(">HHHBBB", 1, 0, 3, unit, function | 0x80, code)


def test_counters_roll_over_and_the_total_does_not(plc, wire, eventually):
    one = plc("--good", 65_530, "--scrap", 65_535, "--speed", 1000, "--steady")
    eventually(lambda: (t := one.do("totals"))["good_total"] > 20 and t["scrap_total"] > 0, "pieces")
    totals = one.do("stop")
    good, scrap, low, high = wire(one.port).holding(0, 4)
    assert good == (65_530 + totals["good_total"]) % 65_536 < 65_000
    assert scrap == (65_535 + totals["scrap_total"]) % 65_536 < 65_000
    assert low + 65_536 * high == 65_530 + 65_535 + totals["good_total"] + totals["scrap_total"]


def test_stop_after_makes_exactly_so_many_pieces(plc, eventually):
    one = plc("--speed", 5000, "--stop-after", 25)
    eventually(lambda: not one.do("totals")["producing"], "the end")
    eventually(lambda: [e["reason"] for e in one.truth("stop")][-1:] == ["stop-after"], "the stop")
    assert len(one.truth("pieces")) == 25


def test_the_same_seed_produces_the_same_pieces(simulator, tmp_path, eventually):
    days = []
    for number in (1, 2):
        truth = tmp_path / f"{number}.jsonl"
        one = simulator("asm-01", "--seed", 9, "--speed", 5000, "--steady", "--stop-after", 60, truth=truth)
        eventually(lambda one=one: not one.do("totals")["producing"], "the end")
        days.append([(p["good"], p["scrap"]) for p in one.truth("pieces")])
    assert days[0] == days[1]
    assert (0, 1) in days[0]


def test_ramp_changes_its_registers_with_every_request(plc, wire):
    client = wire(plc("--ramp", "--speed", 0.001).port)
    first, second = client.holding(1990, 20), client.holding(1990, 20)
    assert all(b == a + 1 for a, b in zip(first[:10], second[:10], strict=True))
    assert first[10:] == second[10:] == list(range(2000, 2010))


def test_cut_refuses_connections_for_a_time_while_the_machine_goes_on(plc, wire, eventually):
    one = plc("--speed", 500, "--steady")
    client = wire(one.port)
    client.holding(0, 1)
    before = one.do("totals")["good_total"]
    one.do("cut 600")
    assert client.closed()
    with pytest.raises(ConnectionRefusedError):
        wire(one.port)
    began = time.monotonic()
    one.do("cut 0.5")
    eventually(lambda: _connects(one.port), "the link")
    assert time.monotonic() - began >= 0.5
    one.do("stop")
    assert one.do("totals")["good_total"] > before + 10
    assert wire(one.port).holding(0, 1) == [one.do("totals")["good_total"]]


def _connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_second_cut_replaces_the_first(plc, eventually):
    one = plc()
    one.do("cut 600")
    one.do("cut 0.05")
    eventually(lambda: _connects(one.port), "the link")


def test_black_hole_keeps_the_connection_and_answers_nothing(plc, wire, eventually):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    client.holding(0, 1)
    one.do("blackhole 600")
    client.ask(3, 0, 1)
    assert client.silent()
    one.do("blackhole 0")

    def answered():
        client.ask(3, 100, 1)
        client.sock.settimeout(0.2)
        try:
            return client.frame()[-2:] == b"\0\x64"
        except TimeoutError:
            return False

    eventually(answered, "an answer")


def test_exception_hits_the_next_answers_only(plc, wire):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    one.do("exception 6 2")
    for _ in range(2):
        client.ask(3, 0, 1)
        assert client.frame()[7:] == bytes([0x83, 6])
    assert client.holding(100, 1) == [100]


def test_short_cuts_the_frame_and_the_connection_is_silent_for_ever(plc, wire):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    one.do("short 1")
    client.ask(3, 100, 4)
    assert client._exactly(8) == struct.pack(">HHHBB", 1, 0, 11, 1, 3)
    assert client.silent()
    client.ask(3, 100, 4)
    assert client.silent()
    assert wire(one.port).holding(100, 1) == [100]


def test_wrong_unit_changes_one_byte(plc, wire):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    one.do("wrong-unit 1")
    client.ask(3, 100, 1)
    assert client.frame() == struct.pack(">HHHBBBH", 1, 0, 5, 2, 3, 2, 100)
    assert client.holding(100, 1) == [100]


def test_garbage_is_no_modbus_frame(plc, wire):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    one.do("garbage 1")
    client.ask(3, 100, 1)
    garbage = client._exactly(11)
    assert garbage[2:4] == b"\xff\xff"
    assert client.holding(100, 1) == [100]


def test_slow_delays_the_next_answer(plc, wire):
    one = plc("--speed", 0.001)
    client = wire(one.port)
    one.do("slow 300 1")
    began = time.monotonic()
    assert client.holding(100, 1) == [100]
    assert time.monotonic() - began >= 0.3
    assert client.holding(101, 1) == [101]


def test_zero_delivers_zeros_for_a_time(plc, wire, eventually):
    one = plc("--speed", 0.001, "--good", 500)
    client = wire(one.port)
    one.do("zero 600")
    assert client.holding(0, 7) == [0] * 7
    one.do("zero 0.05")
    eventually(lambda: client.holding(0, 1) == [500], "the counter")


def test_restart_clears_the_counters_closes_the_link_and_counts_the_boot(plc, wire, eventually):
    one = plc("--speed", 500, "--steady", "--good", 1000)
    eventually(lambda: one.do("totals")["good_total"] > 5, "pieces")
    one.do("stop")
    client = wire(one.port)
    before = client.holding(0, 1)[0]
    assert before > 1000
    assert one.do("restart")["boots"] == 2
    assert client.closed()
    good, _, low, high, _, _, boots = wire(one.port).holding(0, 7)
    assert (good, low, high, boots) == (0, 0, 0, 2)
    (reset,) = one.truth("reset")
    assert reset["before"]["good"] == before
    assert reset["good_total"] == before - 1000  # real pieces are never reset


def test_set_overwrites_a_counter_and_the_truth_knows(plc, wire):
    one = plc("--speed", 0.001)
    one.do("set good 65535")
    assert wire(one.port).holding(0, 1) == [65535]
    assert one.truth("set")[0]["value"] == 65535


def test_a_fault_of_the_machine_shows_in_state_word_and_alarm(plc, wire, eventually):
    one = plc("--speed", 10_000, "--seed", 2)
    eventually(lambda: any(e["reason"] == "fault" for e in one.truth("stop")), "a fault")
    assert next(e for e in one.truth("stop") if e["reason"] == "fault")["alarm"] in {101, 102, 205}


def test_a_frame_that_is_not_modbus_closes_the_connection(plc, wire):
    client = wire(plc().port)
    client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert client.closed()
