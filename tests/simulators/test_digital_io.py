import json
import socket
import time
from argparse import Namespace
from itertools import pairwise

import pytest

from simulators.digital_io import ACTIVE_NS, BOUNCE_NS, CasePacker
from simulators.machine import Cycle, Stop

SPEED = 400  # a carton every 135 ms, active 0.2 ms


class Gateway:
    """The gateway's end of the wire: listens, and reads lines."""

    def __init__(self, path):
        self.path = path
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.server.settimeout(60)
        self.lines = None

    def accept(self):
        self.connection, _ = self.server.accept()
        self.connection.settimeout(60)
        self.lines = self.connection.makefile("r")
        return self.line()

    def line(self):
        return json.loads(self.lines.readline())

    def drop(self):
        self.lines.close()
        self.connection.close()
        self.lines = None

    def close(self):
        if self.lines is not None:
            self.drop()
        self.server.close()

    def rest(self):
        """Everything up to the end of the connection."""
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def gateway(tmp_path):
    one = Gateway(tmp_path / "pins.sock")
    yield one
    one.close()


@pytest.fixture
def pck(simulator, tmp_path):
    def start(*arguments):
        return simulator(
            "pck-01", "--socket", tmp_path / "pins.sock", "--steady", *arguments, truth=tmp_path / "truth.jsonl"
        )

    return start


def pulses(lines, pin, debounce_ns):
    """Rising edges that stay up longer than the debounce time: an independent count of the cartons."""
    edges = [(line["t_ns"], line["level"]) for line in lines if line.get("pin") == pin]
    return [
        (t, after - t)
        for (t, level), (after, _) in zip(edges, [*edges[1:], (edges[-1][0] + 10**9, 0)], strict=True)
        if level and after - t > debounce_ns
    ]


def wall_less_monotonic_ns():
    """Both clocks at one instant: of many looks the one that took the shortest."""
    looks = []
    for _ in range(100):
        before_ns, wall_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        looks.append((after_ns - before_ns, wall_ns - before_ns))
    return min(looks)[1]


def test_greeting_edges_and_signs_of_life(pck, gateway, eventually):
    one = pck("--speed", SPEED, "--seed", 4)
    hello = gateway.accept()
    assert hello["hello"] == "pck-01"
    assert hello["levels"] == {"17": 0, "27": 0, "22": 1, "23": 0}
    assert abs(hello["t_ns"] - time.monotonic_ns()) < 60_000_000_000
    eventually(lambda: one.do("totals")["good_total"] >= 24 * 8, "8 cartons")
    one.do("stop")
    one.do("exit")
    lines = [hello, *gateway.rest()]

    cartons = one.truth("pieces")
    assert all(carton["sent"] for carton in cartons[1:])
    assert {carton["good"] + carton["scrap"] for carton in cartons} == {24}
    # Between two bounces at most 3 ms / speed; a carton covers the sensor for 80 ms / speed less the bounces.
    counted = pulses(lines, 17, 3_100_000 // SPEED)
    assert len(counted) == sum(carton["sent"] and carton["good"] > 0 for carton in cartons)
    assert all(70_000_000 // SPEED < length <= 80_100_000 // SPEED for _, length in counted)

    edges = [line for line in lines if "pin" in line]
    assert [line["t_ns"] for line in lines] == sorted(line["t_ns"] for line in lines)
    assert len([line for line in edges if line["pin"] == 17]) > 2 * len(counted)  # it bounces
    lives = [line for line in lines if "levels" in line]
    gaps = [b["t_ns"] - a["t_ns"] for a, b in pairwise(lives)]
    assert sorted(gaps)[len(gaps) // 2] < 200_000_000
    assert {line["level"] for line in edges if line["pin"] == 22} == {0}  # the lamp went out at stop
    # The truth dates a carton by its first edge.
    first_edges = [line["t_ns"] for line in edges if line["pin"] == 17 and line["level"]]
    offset = wall_less_monotonic_ns()
    sent = [carton["t_ns"] - offset for carton in cartons if carton["sent"] and carton["good"]]
    assert all(min(abs(t - edge) for edge in first_edges) < 5_000_000 for t in sent)


def test_rejects_come_on_their_own_pin(pck, gateway, eventually):
    one = pck("--speed", 5000)
    gateway.accept()
    eventually(lambda: one.do("totals")["scrap_total"] > 0, "a reject")
    one.do("exit")
    lines = gateway.rest()
    rejects = [carton for carton in one.truth("pieces") if carton["scrap"]]
    assert {carton["pin"] for carton in rejects} == {27}
    assert len(pulses(lines, 27, 3_100_000 // 5000)) == len(rejects)


def test_without_a_gateway_cartons_are_true_but_not_sent_and_it_connects_again(pck, gateway, eventually):
    one = pck("--speed", SPEED)
    gateway.accept()
    gateway.drop()
    gateway.server.close()
    gateway.path.unlink()
    before = one.do("totals")["good_total"]
    eventually(lambda: one.do("totals")["good_total"] >= before + 48, "two cartons unheard")
    one.do("stop")
    assert [carton["sent"] for carton in one.truth("pieces")][-1] is False
    again = Gateway(gateway.path)
    try:
        assert again.accept()["levels"]["22"] == 0
        one.do("start")
        assert again.line()["t_ns"]
        unheard = len(one.truth("pieces"))
        eventually(lambda: len(one.truth("pieces")) > unheard, "one more carton")
        assert one.truth("pieces")[-1]["sent"] is True
    finally:
        again.close()


def test_bounce_off_gives_two_edges_per_carton(pck, gateway, eventually):
    one = pck("--speed", SPEED)
    gateway.accept()
    one.do("bounce off")
    one.do("stop")
    made = len(one.truth("pieces"))
    one.do("start")
    eventually(lambda: len(one.truth("pieces")) >= made + 3, "three cartons")
    one.do("exit")
    cartons = one.truth("pieces")[made:]
    edges = [line for line in gateway.rest() if line.get("pin") in {17, 27}]
    clean = edges[-2 * (len(cartons) - 1) :]
    assert [line["level"] for line in clean][:2] in ([1, 0], [0, 1])
    assert all(a["level"] != b["level"] for a, b in pairwise(clean))
    assert all(b["t_ns"] - a["t_ns"] >= 79_000_000 // SPEED for a, b in pairwise(clean))


def test_a_stuck_sensor_hides_cartons_until_it_lets_go(pck, gateway, eventually):
    one = pck("--speed", SPEED, "--seed", 4)
    gateway.accept()
    one.do("stuck 1")
    eventually(lambda: any(carton.get("stuck") for carton in one.truth("pieces")), "a hidden carton")
    heard = len([carton for carton in one.truth("pieces") if carton["sent"]])
    eventually(lambda: len([c for c in one.truth("pieces") if c["sent"]]) > heard + 1, "cartons after it")
    one.do("exit")
    lines = gateway.rest()
    cartons = one.truth("pieces")
    assert any(length > 300_000_000 for _, length in pulses(lines, 17, 3_100_000 // SPEED))
    assert all(carton["sent"] is False for carton in cartons if carton.get("stuck"))
    assert len(pulses(lines, 17, 3_100_000 // SPEED)) == sum(c["sent"] and c["good"] > 0 for c in cartons)


async def test_a_late_simulator_writes_its_edges_in_order_all_the_same(gateway):
    options = Namespace(
        socket=gateway.path, seed=1, speed=SPEED, truth=None, steady=True, stop_after=None, even=False, scrap_share=None
    )
    packer = CasePacker(options)
    await packer.wire.connect({"hello": "pck-01"})
    gateway.accept()
    second = 1_000_000_000
    # Two cartons and a stop are overdue at once; the stop falls into the bounces of the second carton's end.
    for event in (
        Cycle(54 * second, 24, 0, 54 * second),
        Cycle(108 * second, 24, 0, 54 * second),
        Stop(108 * second + ACTIVE_NS - BOUNCE_NS // 2, "command"),
    ):
        await packer._apply(event)
    packer._let_go(packer.pace.monotonic_ns(200 * second))
    packer.wire.close()
    edges = [line for line in gateway.rest() if "pin" in line]
    assert [edge["t_ns"] for edge in edges] == sorted(edge["t_ns"] for edge in edges)
    assert len(pulses(edges, 17, 3_100_000 // SPEED)) == 2
    assert edges[-1]["level"] == 0


def test_a_path_too_long_for_a_socket_is_refused(simulator):
    with pytest.raises(AssertionError, match="longer than 107 bytes; use a shorter path"):
        simulator("pck-01", "--socket", "/tmp/" + "x" * 120)


def made_while(one, gateway, eventually, *commands, cartons):
    """Stop, give commands, make so many more cartons; those cartons and all edges of the carton pins since."""
    one.do("stop")
    made = len(one.truth("pieces"))
    for command in commands:
        one.do(command)
    begun_ns = time.monotonic_ns()
    one.do("start")
    eventually(lambda: len(one.truth("pieces")) >= made + cartons, "the cartons")
    one.do("stop")
    stopped_ns = time.monotonic_ns()
    lines = [gateway.line()]
    while not (lines[-1]["t_ns"] > stopped_ns and lines[-1].get("levels", {"17": 1}).items() >= {("17", 0), ("27", 0)}):
        lines.append(gateway.line())  # up to a sign of life in which the last carton has let go of its sensor
    one.do("exit")
    edges = [line for line in [*lines, *gateway.rest()] if line.get("pin") in {17, 27} and line["t_ns"] > begun_ns]
    return one.truth("pieces")[made:], edges


def test_bounce_takes_a_number_of_edges_and_a_length(pck, gateway, eventually):
    one = pck("--speed", SPEED)
    gateway.accept()
    cartons, edges = made_while(one, gateway, eventually, "bounce on 10 40", cartons=3)
    assert len(edges) == len(cartons) * 2 * 11
    first = edges[:11]
    assert [edge["level"] for edge in first] == [1, 0] * 5 + [1]
    assert 3_000_000 / SPEED < first[-1]["t_ns"] - first[0]["t_ns"] <= 40_000_000 / SPEED + 1000


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("bounce on 3", "an even number 0 to 100"),
        ("bounce on 102", "an even number 0 to 100"),
        ("bounce on 2 60", "above 0 to 50"),
        ("bounce on 2 0", "above 0 to 50"),
        ("double 100 1", "a number from 200"),
        ("bounce maybe", "on, off"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(pck, command, allowed):
    assert one_error(pck(), command).endswith(f"allowed: {allowed}")


def one_error(one, command):
    answer = one.ask(command)
    assert answer["ok"] is False
    return answer["error"]


def test_a_carton_may_trigger_twice_and_is_still_one(pck, gateway, eventually):
    one = pck("--speed", SPEED)
    gateway.accept()
    cartons, edges = made_while(one, gateway, eventually, "bounce off", "double 300 2", cartons=4)
    assert [carton.get("double", False) for carton in cartons] == [True, True, *[False] * (len(cartons) - 2)]
    rises = [edge["t_ns"] for edge in edges if edge["level"]]
    assert len(rises) == len(edges) / 2 == len(cartons) + 2
    assert [round((b - a) * SPEED / 1e6) for a, b in zip(rises[:4:2], rises[1:4:2], strict=True)] == [300, 300]


def test_a_cut_wire_hears_nothing_while_the_machine_goes_on(pck, gateway, eventually):
    one = pck("--speed", SPEED)
    gateway.accept()
    one.do("cut 600")
    assert gateway.rest() is not None  # up to the end of the connection
    before = len(one.truth("pieces"))
    eventually(lambda: len(one.truth("pieces")) > before + 2, "cartons unheard")
    assert one.truth("pieces")[-1]["sent"] is False
    assert "cut" in one.do("faults show")["faults"]
    gateway.drop()
    one.do("faults off")
    assert gateway.accept()["hello"] == "pck-01"


@pytest.mark.parametrize("ending", ["faults off", "stuck 0"])
def test_a_stuck_sensor_can_be_let_go(pck, gateway, eventually, ending):
    one = pck("--speed", SPEED, "--seed", 4)
    gateway.accept()
    one.do("stuck 3600")
    eventually(lambda: any(carton.get("stuck") for carton in one.truth("pieces")), "a hidden carton")
    one.do(ending)
    seen = len([carton for carton in one.truth("pieces") if carton["sent"]])
    eventually(lambda: len([c for c in one.truth("pieces") if c["sent"] and c["good"]]) > seen, "a carton that is seen")


def test_a_change_of_the_order_is_in_the_truth(pck):
    one = pck()
    one.do("job 100240-0030")
    assert [event["job"] for event in one.truth("job")] == ["100240-0030"]
