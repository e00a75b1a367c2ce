"""Every fault of a Modbus answer, seen by a client that looks at bytes."""

import struct
import time

import pytest


@pytest.fixture
def plc(simulator, tmp_path):
    def start(*arguments):
        return simulator("asm-01", "--speed", 0.001, *arguments, truth=tmp_path / "truth.jsonl")

    return start


@pytest.fixture
def pair(plc, wire):
    one = plc()
    return one, wire(one.port)


def header(transaction, pdu, unit=1):
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def words(*values):
    return struct.pack(f">BB{len(values)}H", 3, 2 * len(values), *values)


def well(client):
    return client.holding(100, 1) == [100]


@pytest.mark.parametrize(
    ("command", "asked", "answer"),
    [
        ("wrong-function 1", (3, 100, 1), b"\x04\x02\x00\x64"),
        ("wrong-function 1", (4, 100, 1), b"\x03\x02\x00\x64"),
        ("wrong-function 1", (1, 101, 1), b"\x02\x01\x01"),
        ("fewer 1", (3, 100, 2), b"\x03\x02\x00\x64"),
        ("fewer 1", (3, 100, 1), b"\x03\x00"),
        ("more 1", (3, 100, 1), b"\x03\x04\x00\x64\x00\x00"),
        ("more 1", (1, 101, 8), b"\x01\x02\x55\x00"),
        ("exception 6 1", (3, 100, 1), b"\x83\x06"),
    ],
)
def test_one_answer_is_spoiled_and_the_next_is_well(pair, command, asked, answer):
    one, client = pair
    one.do(command)
    client.ask(*asked)
    assert client.frame() == header(1, answer)
    assert well(client)


def test_torn_comes_in_two_halves_with_a_pause(pair, eventually):
    one, client = pair

    def pause_s():
        one.do("torn 300 1")
        client.ask(3, 100, 4)
        whole = header(client.transaction, words(100, 101, 102, 103))
        assert client._exactly(8) == whole[:8]
        began = time.monotonic()
        assert client._exactly(9) == whole[8:]
        return time.monotonic() - began

    # Who was kept from running while it passed has not seen the pause.
    eventually(lambda: pause_s() >= 0.2, "a pause")
    assert well(client)


def test_half_ends_with_a_closed_connection(pair, wire):
    one, client = pair
    one.do("half 1")
    client.ask(3, 100, 4)
    assert client._exactly(8) == header(1, words(100, 101, 102, 103))[:8]
    assert client.closed()
    assert well(wire(one.port))


def test_late_answers_come_after_those_of_later_requests(pair):
    one, client = pair
    one.do("late 300 1")
    # In one packet: between two the first answer could already come.
    client.sock.sendall(b"".join(header(number, struct.pack(">BHH", 3, 100 * number, 1)) for number in (1, 2)))
    client.transaction = 2
    assert client.frame() == header(2, words(200))
    assert client.frame() == header(1, words(100))


def test_slow_answers_hold_up_the_requests_behind_them(pair):
    one, client = pair
    one.do("slow 200 1")
    client.ask(3, 100, 1)
    client.ask(3, 200, 1)
    assert [client.frame(), client.frame()] == [header(1, words(100)), header(2, words(200))]


def test_exceptions_of_a_range_hit_only_who_touches_it(pair):
    one, client = pair
    one.do("exception 2 1000000 110 111")
    one.do("exception 4 2 300")
    for address, count, code in ((100, 10, 0), (100, 11, 2), (111, 1, 2), (112, 5, 0), (300, 1, 4), (299, 2, 4)):
        client.ask(3, address, count)
        pdu = client.frame()[7:]
        assert pdu[:2] == (bytes([0x83, code]) if code else bytes([3, 2 * count])), address
    assert client.holding(300, 1) == [300]  # twice was enough
    assert one.do("faults show")["faults"] == {"exception 2 110 111": 1_000_000 - 2}
    one.do("exception 2 0 110 111")
    assert client.holding(110, 1) == [110]


def test_faults_off_ends_everything(pair, wire, eventually):
    one, client = pair
    for command in (
        "blackhole 600", "silent 600", "slow 60000 9", "late 60000 9", "exception 4 9", "exception 2 9 100", "zero 600",
        "frozen 600", "short 9", "garbage 9", "wrong-unit 9", "torn-total 9",
    ):  # fmt: skip
        one.do(command)
    shown = one.do("faults show")["faults"]
    assert len(shown) == 12
    assert 500 < shown["blackhole"] <= 600
    assert one.do("faults off") == {"ok": True, "faults": {}}
    assert well(client)
    one.do("cut 600")
    assert client.closed()
    one.do("faults off")
    eventually(lambda: connects(wire, one.port), "the link")
    assert one.ask("faults on")["error"] == "'faults' got 'on'; allowed: off, show"


def connects(wire, port):
    try:
        return well(wire(port))
    except ConnectionRefusedError:
        return False


def test_a_silent_unit_is_silent_while_another_answers(plc, wire):
    one = plc("--other-units", "8,9", "--silent-units", "10")
    client = wire(one.port)
    for unit in (8, 9):
        client.ask(3, 5, 2, unit=unit)
        assert client.frame()[6:] == bytes([unit]) + words(5, 6)
    client.ask(3, 5, 2, unit=10)
    assert client.silent()
    one.do("silent 600 8")
    client.ask(3, 5, 1, unit=8)
    assert client.silent()
    assert well(client)
    one.do("silent 600")
    client.ask(3, 5, 1)
    assert client.silent()
    one.do("silent 0 8")
    client.ask(3, 5, 1, unit=8)
    assert client.frame()[6:] == b"\x08" + words(5)


def test_frozen_values_stand_while_the_machine_goes_on(simulator, wire, tmp_path, eventually):
    one = simulator("asm-01", "--speed", 500, "--steady", truth=tmp_path / "truth.jsonl")
    client = wire(one.port)
    one.do("frozen 600")
    first, before = client.holding(0, 17), one.do("totals")["good_total"]
    eventually(lambda: one.do("totals")["good_total"] > before + 5, "pieces")
    assert client.holding(0, 17) == first
    one.do("stop")
    one.do("frozen 0")
    assert client.holding(0, 1) == [one.do("totals")["good_total"]] > first[:1]


def test_torn_total_reads_the_old_high_word_with_the_new_low_one(plc, wire):
    one = plc()
    client = wire(one.port)
    one.do(f"set total {0x60000}")
    one.do("torn-total 1")
    assert client.holding(0, 2) == [0, 0]  # the total is not among them
    assert client.holding(2, 2) == [0, 5]
    assert client.holding(2, 2) == [0, 6]


def test_restart_may_keep_the_counters_and_takes_its_time(plc, wire, eventually):
    one = plc("--good", 500)
    client = wire(one.port)
    began = time.monotonic()
    assert one.do("restart 0.4 keep")["boots"] == 2
    assert client.closed()
    eventually(lambda: connects(wire, one.port), "the link")
    assert time.monotonic() - began >= 0.4
    assert wire(one.port).holding(0, 7)[::6] == [500, 2]
    one.do("restart 0 lose")
    assert wire(one.port).holding(0, 7)[::6] == [0, 3]
    assert [(e["boots"], e["kept"], e["before"]["good"]) for e in one.truth("reset")] == [
        (2, True, 500),
        (3, False, 500),
    ]


def test_reset_clears_the_counters_without_a_boot(plc, wire):
    one = plc("--good", 500, "--scrap", 3)
    one.do("reset")
    assert wire(one.port).holding(0, 7) == [0, 0, 0, 0, 2, 0, 1]
    assert one.truth("reset")[0]["before"] == {"good": 500, "scrap": 3, "total": 503}


def test_a_stop_has_its_reason_in_the_state_word_and_its_alarm(plc, wire):
    one = plc()
    client = wire(one.port)
    for reason, alarm, state in (
        ("fault", 101, 3),
        ("setup", 0, 4),
        ("blocked", 0, 6),
        ("starved", 0, 5),
        ("off", 0, 0),
    ):
        one.do(f"stop {reason} {alarm}")
        assert client.holding(4, 2) == [state, alarm]
        one.do("start")
        assert client.holding(4, 2) == [2, 0]
    assert next((e["reason"], e["alarm"]) for e in one.truth("stop")) == ("fault", 101)
    assert one.ask("stop lunch")["error"].startswith("'stop' got 'lunch'; allowed: command, micro, fault, ")


def test_the_job_id_is_written_in_one_request_and_the_truth_knows(pair):
    one, client = pair
    text = b"100241-0010     "
    assert client.request(struct.pack(">BHHB", 16, 8, 8, 16) + text) == struct.pack(">BHH", 16, 8, 8)
    assert client.holding(8, 8) == list(struct.unpack(">8H", text))
    assert client.request(struct.pack(">BHH", 6, 8, 0x4142)) == struct.pack(">BHH", 6, 8, 0x4142)
    one.do("job by hand")
    assert [(e["job"], e.get("by")) for e in one.truth("job")] == [
        ("100241-0010", "write"),
        ("AB0241-0010", "write"),
        ("by hand", None),
    ]


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (struct.pack(">BHHB2H", 16, 7, 2, 4, 1, 1), 2),  # reaches out of the job id in front
        (struct.pack(">BHHB2H", 16, 15, 2, 4, 1, 1), 2),  # behind
        (struct.pack(">BHHB1H", 16, 8, 2, 4, 1), 3),  # too short
        (struct.pack(">BHHB2H", 16, 8, 1, 4, 1, 1), 3),  # says one, brings two
        (struct.pack(">BHHB", 16, 8, 0, 0), 3),
        (struct.pack(">BHH", 5, 0, 1), 3),  # a coil is FF00 or 0000
        (struct.pack(">BHHB", 15, 0, 8, 1) + b"\xff", 1),
        (struct.pack(">BHH", 3, 65_535, 2), 2),
        (struct.pack(">BH", 3, 1), 3),
        (b"\x2b\x0e\x01\x00", 1),
    ],
)
def test_a_write_that_cannot_be_is_refused_and_changes_nothing(pair, pdu, code):
    _, client = pair
    before = client.holding(8, 8)
    assert client.request(pdu) == bytes([pdu[0] | 0x80, code])
    assert client.holding(8, 8) == before
