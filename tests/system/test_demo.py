"""``linegate demo`` as somebody runs it who has just installed the product."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm

from gateway.demo import plan
from gateway.demo.stage import Stage

#: Four processes that load all of their libraries, and an end that waits for what is on its way.
pytestmark = pytest.mark.timeout(600)
#: The demo with one module that cannot be found, as where the extra is not installed.
WITHOUT_BROKER = (
    "-c",
    """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] == "amqtt" else real(name, package)
from gateway.cli import main
sys.exit(main(sys.argv[1:]))
""",
)


@pytest.fixture
async def demo(tmp_path):
    """Start a demo in a folder of its own; at the end nothing of it may be left."""
    folder = tmp_path / "demo"
    running = []

    async def start(*options, launcher=("-m", "gateway"), cwd=tmp_path, directory=folder):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", *launcher, "demo", "--dir", str(directory), *options,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=cwd, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    start.folder = folder
    yield start
    for process in running:
        if process.returncode is None:
            process.terminate()
            await process.communicate()
    for pid in left_behind(tmp_path):
        os.kill(pid, signal.SIGKILL)


async def end(process, timeout_s=240):
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def left_behind(folder):
    """Processes whose command line names the folder, or that have a file of it open; this one excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        other = entry.name.isdecimal() and int(entry.name) != os.getpid()
        if other and any(str(folder) in text for text in names_of(entry)):
            found.append(int(entry.name))
    return found


def names_of(process):
    """The command line of a process, and the files that it has open; it may end meanwhile."""
    with contextlib.suppress(OSError):
        yield (process / "cmdline").read_bytes().decode(errors="replace")
        for file in list((process / "fd").iterdir()):
            with contextlib.suppress(OSError):
                yield str(file.readlink())


async def test_with_planted_faults_it_balances_and_says_so_to_programs(demo, tmp_path):
    process = await demo("--seconds", "12", "--speed", "20", "--seed", "3", "--chaos", "--json")
    code, out, err = await end(process)
    assert code == 0, out + err
    result = json.loads(out)  # nothing else on the output
    assert result["balanced"] is True
    assert {row["machine"] for row in result["machines"]} == {"ASM-01", "IMM-01", "PCK-01"}
    assert all(sum(row["made"]) > 0 for row in result["machines"])
    kinds = " ".join(result["faults"])
    assert all(word in kinds for word in ("ERP down", "answers", "link to the PLC", "SIGKILL")), kinds
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_second_one_is_refused_and_a_signal_ends_it_with_the_table_and_no_process_left(demo, tmp_path, number):
    process = await demo("--speed", "50")
    lines = []
    while "posted" not in "".join(lines):  # the live view: the gateway is running
        lines.append((await asyncio.wait_for(process.stdout.readline(), 60)).decode())
        assert lines[-1], lines
    assert len(left_behind(demo.folder)) >= 3
    if number == signal.SIGINT:
        refused, _out, said = await end(await demo("--seconds", "1"))
        assert refused == 1
        assert "a demo runs there (process id" in said
    process.send_signal(number)
    code, out, err = await end(process)
    assert code == 0, out + err
    assert "MACHINE / ORDER" in out
    assert "BALANCED: every piece" in out
    assert "Traceback" not in err
    assert left_behind(tmp_path) == []
    assert not (demo.folder / "state" / "control.sock").exists()


async def test_a_folder_that_is_not_its_own_is_left_alone(demo, tmp_path):
    demo.folder.mkdir()
    (demo.folder / "thesis.txt").write_text("ten years of work")
    code, out, err = await end(await demo("--seconds", "1"))
    assert code == 1, out
    assert f"{demo.folder}: it is not empty and not a demo's folder" in err
    assert (demo.folder / "thesis.txt").read_text() == "ten years of work"
    file = tmp_path / "file"
    file.write_text("")
    code, _out, err = await end(await demo("--seconds", "1", directory=file))
    assert code == 1
    assert f"{file}: it cannot be made or emptied: Not a directory" in err
    assert "Traceback" not in err


async def test_busy_ports_are_replaced_and_without_a_broker_it_says_so_and_runs(demo):
    document = plan.example()
    wanted = [
        document["sources"]["asm"]["port"],
        int(document["sources"]["imm"]["endpoint"].split(":")[2].split("/")[0]),
        int(document["connectors"]["erp"]["url"].rsplit(":", 1)[1]),
    ]
    busy = []
    with contextlib.ExitStack() as held:
        for port in wanted:
            taken = held.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # another program's, who may give it free before the demo looks
                taken.bind(("127.0.0.1", port))
                taken.listen()
                busy.append(port)
        code, out, err = await end(await demo("--seconds", "2", "--speed", "50", launcher=WITHOUT_BROKER))
    assert code == 0, out + err
    assert "no MQTT broker: install the extra for one (pip install 'linegate[demo]')" in out
    written = (demo.folder / "linegate.yaml").read_text()
    assert not any(re.search(rf"\b{port}\b", written) for port in busy), written  # 4840 stands in 48401, too
    assert "mqtt" not in written


async def test_a_port_that_is_taken_in_the_last_moment_is_replaced(tmp_path, monkeypatch):
    forked = SimpleNamespace(PIPE=subprocess.PIPE, Popen=warm.Popen)
    monkeypatch.setattr(asyncio.unix_events, "subprocess", forked)  # how they start is not the matter here
    real, offers = plan.free_ports, []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def offered(document):
            free = real(document)
            offers.append(free if offers else free._replace(erp=taken.getsockname()[1]))
            return offers[-1]

        monkeypatch.setattr(plan, "free_ports", offered)
        stage = Stage(tmp_path / "demo", seed=1, speed=Fraction(50))
        try:
            await stage.open()
            await stage.produce()
            await stage.until(lambda view: all(unit["counted_good"] for unit in view["work_units"]), "pieces")
            assert len(left_behind(tmp_path)) >= 3
            await stage.halt()
            result = await stage.reconcile(await stage.settled())
        finally:
            await stage.close()
    assert len(offers) >= 2  # of the second one, too, a port may be somebody's in the last moment
    assert result.balanced, result.to_json()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--speed", "51"), "--speed: found 51, allowed 1 to 50"),
        (("--speed", "0.5"), "--speed: found 0.5, allowed 1 to 50"),
        (("--speed", "nan"), "--speed: found nan, allowed 1 to 50"),
        (("--seconds", "0"), "--seconds: found 0, allowed more than 0"),
        (("--seconds", "nan"), "--seconds: found nan, allowed more than 0"),
        (("--seconds", "inf"), "--seconds: found inf, allowed more than 0, up to 86400"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_starts(tmp_path, options, said):
    words = [sys.executable, "-P", "-m", "gateway", "demo", "--dir", str(tmp_path / "demo"), *options]
    done = warm.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
