import pytest
from pymodbus.client import ModbusTcpClient

OK, NOK = "ok", "nok"


@pytest.fixture
def tester(simulator, tmp_path):
    def start(*arguments):
        return simulator("tst-01", "--transport", "tcp", *arguments, truth=tmp_path / "truth.jsonl")

    return start


@pytest.fixture
def module():
    """The input module as a client sees it."""
    opened = []

    class Module:
        def __init__(self, port):
            self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=60, retries=0)
            opened.append(self.client)
            assert self.client.connect()

        def levels(self):
            return [int(bit) for bit in self.client.read_discrete_inputs(0, count=6, device_id=7).bits[:6]]

        def words(self, address, count):
            return self.client.read_input_registers(address, count=count, device_id=7).registers

        def counters(self):
            words = self.words(16, 12)
            return [high * 65_536 + low for high, low in zip(words[::2], words[1::2], strict=True)]

    yield Module
    for one in opened:
        one.close()


def shown(pieces, nest, verdict):
    return sum(verdict in piece["shown"] for piece in pieces if piece["nest"] == nest)


def test_counters_levels_and_truth_agree_for_both_nests(tester, module, eventually):
    one = tester("--speed", 500, "--steady")
    eventually(lambda: one.do("totals")["scrap_total"] > 3, "some scrap")
    one.do("stop")
    pieces = one.truth("pieces")
    client = module(one.port)
    # The last parts have gone and the next ones lie there; nobody tests them.
    eventually(lambda: client.levels() == [1, 0, 0, 1, 0, 0], "the next parts")
    counters = client.counters()
    for nest in (1, 2):
        present, ok, nok = counters[3 * nest - 3 : 3 * nest]
        tested = [piece for piece in pieces if piece["nest"] == nest]
        assert (ok, nok) == (sum(p["good"] for p in tested), sum(p["scrap"] for p in tested))
        assert (ok, nok) == (shown(pieces, nest, OK), shown(pieces, nest, NOK))
        assert present == len(tested) + 1
    assert [piece["nest"] for piece in pieces[:4]] == [1, 2, 1, 2]
    assert pieces[0]["machine"] == "TST-01"
    assert client.words(48, 1) == [0b001001]


def test_a_verdict_is_shown_with_its_leak_rate_and_then_gone(tester, module, eventually):
    one = tester("--speed", 2, "--steady")
    client = module(one.port)
    eventually(lambda: client.levels()[:3] == [1, 0, 0], "a part")

    def verdict():
        """Of one piece from the first look to the last: it is shown for a quarter of a second."""
        looks = []
        for _ in range(2):
            made = [piece for piece in one.truth("pieces") if piece["nest"] == 1]
            looks.append((client.levels()[:3], client.words(40, 1), made))
        return looks[0] == looks[1] and looks[0][0] == [1, 1, 0] and (looks[0][1], looks[0][2][-1])

    leak, piece = eventually(verdict, "the verdict")
    assert leak == [piece["leak"] % 65_536]
    assert -12 <= piece["leak"] <= 18
    eventually(lambda: client.levels()[:3] == [0, 0, 0], "the empty nest")
    eventually(lambda: client.levels()[:3] == [1, 0, 0], "the next part")


def test_missing_and_double_verdicts_are_not_what_really_happened(tester, module, eventually):
    one = tester("--speed", 500, "--steady")
    one.do("missing 3")
    one.do("both 2")
    eventually(lambda: sum(one.do("totals")[key] for key in ("good_total", "scrap_total")) > 20, "parts")
    one.do("stop")
    pieces = one.truth("pieces")
    assert [len(piece["shown"]) for piece in pieces].count(0) == 3
    assert [len(piece["shown"]) for piece in pieces].count(2) == 2
    assert all(piece["good"] + piece["scrap"] == 1 for piece in pieces)
    counters = module(one.port).counters()
    assert sum(counters[1:3] + counters[4:6]) == len(pieces) - 3 + 2


def test_a_stuck_input_stays_on_and_a_bouncing_one_counts_twice(tester, module, eventually):
    one = tester("--speed", 500, "--steady", "--seed", 3)
    one.do("stop")
    client = module(one.port)
    before = client.counters()
    one.do("stuck 1 600")
    one.do("bounce 4 2")
    one.do("start")
    eventually(lambda: one.do("totals")["good_total"] > 40, "parts")
    one.do("stop")
    pieces, counters = one.truth("pieces"), client.counters()
    assert client.levels()[1] == 1
    assert counters[1] == before[1]  # however many before: the processor may come late to the first stop
    assert shown(pieces, 1, OK) > 10
    assert counters[4] == shown(pieces, 2, OK) + 2
    one.do("faults off")
    assert client.levels()[1] == 0


def test_counters_roll_over_at_32_bits(tester, module, eventually):
    one = tester("--speed", 500, "--steady")
    one.do(f"set ok-1 {2**32 - 3}")
    eventually(lambda: one.do("totals")["good_total"] > 20, "parts")
    one.do("stop")
    lines = one.truth()
    (at,) = [at for at, line in enumerate(lines) if line["event"] == "set"]
    assert lines[at]["counter"] == "ok-1"
    since = shown([line for line in lines[at:] if line["event"] == "pieces"], 1, OK)
    assert since > 3
    assert module(one.port).counters()[1] == since - 3


def test_a_client_clears_a_counter_by_writing_1_and_nothing_else(tester, module):
    one = tester("--speed", 0.001)
    client = module(one.port)
    for name, value in (("present-1", 5), ("ok-1", 6), ("nok-1", 7)):
        one.do(f"set {name} {value}")
    assert client.counters()[:3] == [5, 6, 7]
    write = client.client.write_coil
    assert not write(273, True, device_id=7).isError()
    assert client.counters()[:3] == [5, 0, 7]
    assert write(273, False, device_id=7).exception_code == 3
    assert write(300, True, device_id=7).exception_code == 2
    assert write(256, True, device_id=7).exception_code == 2
    assert client.client.read_coils(272, count=2, device_id=7).bits[:2] == [False, False]
    assert client.client.read_coils(256, count=2, device_id=7).bits[:2] == [True, True]
    assert [(e["counter"], e["before"], e.get("by")) for e in one.truth("set")][-1] == ("ok-1", 6, "write")


@pytest.mark.parametrize(
    ("method", "address", "count", "code"),
    [
        ("read_input_registers", 63, 2, 2),
        ("read_discrete_inputs", 15, 2, 2),
        ("read_holding_registers", 0, 1, 1),
        ("read_coils", 0, 1, 2),
    ],
)
def test_what_the_module_does_not_have_is_refused(tester, module, method, address, count, code):
    client = module(tester("--speed", 0.001).port).client
    assert getattr(client, method)(address, count=count, device_id=7).exception_code == code


def test_restart_reset_zero_and_frozen(tester, module, eventually):
    one = tester("--speed", 500, "--steady")
    eventually(lambda: one.do("totals")["good_total"] > 10, "parts")
    one.do("stop")
    before = module(one.port).counters()
    one.do("zero 600")
    assert module(one.port).counters() == [0] * 6
    one.do("faults off")
    one.do("restart 0 keep")
    # The next part may have come meanwhile; the verdicts are what they were.
    assert module(one.port).counters()[1] == before[1] > 0
    one.do("frozen 600")
    frozen = module(one.port).counters()
    one.do("restart")
    assert module(one.port).counters() == frozen
    one.do("frozen 0")
    assert module(one.port).counters()[1] == 0
    assert [event["kept"] for event in one.truth("reset")] == [True, False]


def test_it_is_on_a_serial_line_unless_told_otherwise(simulator):
    one = simulator("tst-01")
    assert (one.ready["transport"], one.ready["unit"]) == ("rtu", 7)
    assert one.ready["device"].startswith("/dev/")
