"""What is said of the gateway's manners is found where it is planted, and nowhere else."""

from __future__ import annotations

import json
import random

import pytest
import storms

S = storms.S


def line(at_s, key="P/e/100240/0010/1", *, status=201, fault="", took_s=0.1, method="POST", path="/confirmations"):
    return storms.Asked(
        round(at_s * S), round((at_s + took_s) * S), method, path, key, key.split("/")[2], status, fault
    )  # fmt: skip


def test_good_manners_are_not_complained_of():
    second = "P/e/100240/0010/2"
    log = [
        line(0, status=0, fault="cut"),
        line(1, status=404, method="GET", path="/confirmations/x"),
        line(2),
        line(2.5, second),
        line(2.5, "P/e/100500/0010/1"),
    ]
    assert list(storms.bad_manners(log)) == []
    assert storms.failing_per_s(log) == 1


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([line(0), line(5)], "again 4.900 s after a clean success"),
        ([line(0, took_s=2), line(1, "P/e/100240/0010/2")], "another of its lane was under way"),
        ([line(0, status=500, fault="error", took_s=2), line(1)], "another of its lane was under way"),
    ],
)
def test_bad_manners_are_found(log, said):
    (found,) = storms.bad_manners(log)
    assert said in found


def test_two_of_a_lane_at_an_erp_that_was_kept_waiting_say_nothing_and_a_repeat_still_does():
    asked = []

    def kept_waiting(from_s, to_s):
        asked.append((from_s, to_s))
        return True

    two = [line(10, took_s=2), line(11, "P/e/100240/0010/2")]
    assert list(storms.bad_manners(two, kept_waiting)) == []
    assert asked == [(11 - storms.BEFORE_S, 12)]
    assert list(storms.bad_manners([line(0), line(5)], kept_waiting))


def test_the_worst_second_is_found_wherever_it_begins():
    at = [0, 3.0, 3.4, 3.6, 3.95, 4.1, 9]
    assert storms.failing_per_s([line(one, status=503, fault="error", took_s=0) for one in at]) == 4
    assert storms.failing_per_s([]) == 0


def test_a_line_that_is_not_written_whole_is_left_out(tmp_path):
    rows = [line(0)._asdict(), line(1, method="GET", path="/ledger")._asdict(), line(2, "P/e/1/1/2")._asdict()]
    text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "log").write_text(text)
    assert [one.key for one in storms.asked(tmp_path / "log")] == ["P/e/100240/0010/1"]


def test_every_fault_comes_before_any_comes_again_and_the_seed_says_when():
    drawn = [storms.drawn(random.Random(3), storms.ERP_FAULTS, 40) for _ in range(2)]
    assert drawn[0] == drawn[1]
    names = [one.split()[0] for one in drawn[0][: len(storms.ERP_FAULTS)]]
    assert len(set(names)) == len(names)
