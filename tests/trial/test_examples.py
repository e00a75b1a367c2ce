"""The example configurations pass their own tests, and their tests notice a rule that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "config/examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_an_example_passes_its_tests(linegate, file):
    ended = linegate("test", file)
    assert (ended.code, ended.err) == (0, ""), ended.out + ended.err
    assert re.search(r": [1-9]\d* passed, 0 failed$", ended.out.rstrip())


WRONG = [
    ("demo", "role: good, modulus: 65536", "role: good, modulus: 4096"),
    ("demo", '"2": PRODUCING', '"2": SETUP'),
    ("demo", "role: good, pieces: 8", "role: good, pieces: 6"),
    ("demo", "stop_detect: 36 s", "stop_detect: 90 s"),
    ("demo", "role: good, pieces: 24, min_cycle: 20 s", "role: good, pieces: 24, min_cycle: 1 s"),
    ("plant", '{ start: "10:00", end: "10:30" }', '{ start: "11:00", end: "11:30" }'),
    ("plant", '"3": STOPPED, "4": SETUP', '"3": STARVED, "4": SETUP'),
    ("plant", "ok: tst.ok_1, nok: tst.nok_1", "ok: tst.nok_1, nok: tst.ok_1"),
    ("plant", "ok: tst.ok_2, nok: tst.nok_2, window: 35 min", "ok: tst.ok_2, nok: tst.nok_2, window: 50 min"),
]


@pytest.mark.parametrize(("name", "old", "new"), WRONG)
def test_a_wrong_rule_is_noticed(linegate, tmp_path, name, old, new):
    text = next(file for file in EXAMPLES if file.stem == name).read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "wrong.yaml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    ended = linegate("test", file)
    assert ended.code == 1, ended.out
    assert "FAILED" in ended.out, ended.err
