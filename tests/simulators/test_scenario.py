import json
import subprocess
import sys

import pytest
import warm

from simulators.control import SimulatorError
from simulators.scenario import Entry, Scenario


@pytest.fixture
def write(tmp_path):
    def text(content):
        path = tmp_path / "day.yaml"
        path.write_text(content)
        return path

    return text


def test_entries_are_read_with_their_lines(write):
    found = Scenario.load(write("# a day\n- { at: 60, do: cut 6 }\n- at: 1.5\n  every: 2\n  do: job 1 2\n")).entries
    assert found == (Entry(60.0, "cut 6", None, 2), Entry(1.5, "job 1 2", 2.0, 3))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ":1: found no list; allowed: entries like"),
        ("at: 1", ":1: found no list"),
        ("- { at: 1, do: stop }\n- 7", ":2: found no entry; allowed: {"),
        ("- { at: soon, do: stop }", ":1: at: found 'soon', allowed a number of seconds from 0 to"),
        ("- { at: nan, do: stop }", "at: found 'nan'"),
        ("- { at: -1, do: stop }", "at: found '-1'"),
        ("- { at: 1, every: 0, do: stop }", "every: found '0', allowed a number of seconds from 0.1 to"),
        ("- { at: 1 }", ":1: found no do; every entry has at and do"),
        ("- { do: stop }", ":1: found no at;"),
        ("- at: 1\n  when: 2", ":2: found the key 'when'; allowed: at, every, do"),
        ("- at: 1\n  at: 2", ":2: found the key 'at' twice"),
        ("- { at: 1, do: [stop] }", ":1: do: found no single value"),
        ("- { at: 1", "no YAML"),
        ("\0", "no YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(write, content, expected):
    path = write(content)
    with pytest.raises(SimulatorError) as refused:
        Scenario.load(path)
    assert expected in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_a_file_that_is_not_there_or_too_large_is_named(tmp_path, write):
    with pytest.raises(SimulatorError, match="No such file"):
        Scenario.load(tmp_path / "none.yaml")
    with pytest.raises(SimulatorError, match="allowed 1048576"):
        Scenario.load(write("#" * 1_048_577))
    with pytest.raises(SimulatorError, match="found 10001 entries, allowed 10000"):
        Scenario.load(write("- 1\n" * 10_001))


def test_commands_are_given_in_machine_time_and_the_machine_goes_on(simulator, write, tmp_path, eventually):
    path = write(
        "- { at: 400, do: job C }\n"
        "- { at: 100, do: job A }\n"
        "- { at: 100, do: stop }\n"
        "- { at: 150, every: 100, do: set good 7 }\n"
        "- { at: 300, do: start }\n"
    )
    files = iter(range(100))

    def played():
        truth = tmp_path / f"truth-{next(files)}.jsonl"
        one = simulator("asm-01", "--speed", 500, "--steady", "--scenario", path, truth=truth, stderr=True)
        eventually(lambda: len(one.truth("set")) >= 4, "the repeated command")
        (stop,), (start,) = one.truth("stop"), one.truth("start")
        # 200 s of machine time at 500 times life's speed; a busy computer may be late with the first of them.
        return start["t_ns"] - stop["t_ns"] > 0.35e9 and one

    one = eventually(played, "a stop in time")
    eventually(lambda: len(one.errors()) >= 6, "what was said of the commands")
    said = [json.loads(line) for line in one.errors()]
    assert [line["do"] for line in said[:6]] == ["job A", "stop", "set good 7", "set good 7", "start", "set good 7"]
    assert [line["at"] for line in said[:6]] == [100, 100, 150, 250, 300, 350]
    assert all(line["ok"] for line in said)
    # The answers of standard input are not mixed with the scenario's.
    assert one.do("totals")["producing"] is True
    eventually(lambda: len(one.truth("pieces")) > 60, "pieces after the scenario")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("frobnicate", ":2: do: unknown command 'frobnicate'; allowed: "),
        ("cut soon", ":2: do: 'cut' got 'soon' for SECONDS; allowed: a number"),
    ],
)
@pytest.mark.parametrize("name", ["asm-01", "erp"])
def test_a_wrong_command_is_found_before_the_start(name, write, line, expected):
    if name == "erp":
        line, expected = line.replace("cut", "down"), expected.replace("'cut'", "'down'")
    path = write(f"# x\n- {{ at: 0, do: {line} }}\n")
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", name, "--scenario", str(path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_sample_of_the_read_me_is_a_scenario(root, write, simulator, tmp_path, eventually):
    text = (root / "simulators/README.md").read_text().split("```yaml scenario.yaml\n")[1].split("```")[0]
    one = simulator(
        "asm-01", "--speed", 10_000, "--steady", "--scenario", write(text), truth=tmp_path / "truth.jsonl", stderr=True
    )
    eventually(lambda: one.truth("reset"), "the last command")
    assert all(json.loads(line)["ok"] for line in one.errors())
    assert [event["reason"] for event in one.truth("stop")] == ["setup", "fault", "command"]
    assert [event["job"] for event in one.truth("job")] == ["100240-0010", "100241-0010"]
