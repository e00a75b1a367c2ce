"""The suite has teeth: each planted bug is caught by the check that is named beside it, which passes without the bug.

``make test`` runs seven of them, ``make soak`` all.
"""

from __future__ import annotations

import asyncio
import os
import sys

import history
import lossyfs
import planted
import pytest
import scripts
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from outbox_model import OutboxMachine
from rig import Rig

from gateway.cli import main

#: So many histories at most until a bug shows itself; without a bug all of them pass.
HISTORIES = 200
SHORT_HISTORIES = 20
#: The cheapest of those that matter most: each for another promise, each found by its check within a second or two.
SHORT = (
    "two_transactions", "sending_not_committed", "blind_repeat", "first_contact_is_booked", "synchronous_normal",
    "step_before_the_reference", "baseline_after_the_send",
)  # fmt: skip
#: Bugs that a real daemon shows in the rig of the fault profiles.
IN_THE_DAEMON = ("baseline_in_memory", "synchronous_off")
DAEMON_S = 30.0
MODEL = settings(
    max_examples=300, stateful_step_count=50, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture
def card(tmp_path):
    """A file system that loses what was not fsynced."""
    if why := lossyfs.no_device():
        pytest.skip(why)
    if why := lossyfs.missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with lossyfs.LossyFs(tmp_path / "lossy") as mounted:
        yield mounted


@pytest.fixture
def check(request, tmp_path):
    """Run a check by its name, with the name of the bug that is in ("": none)."""

    def run(name, bug="", histories=HISTORIES):
        if name == "history":
            history.check(range(histories))
        elif name == "model":
            run_state_machine_as_test(OutboxMachine, settings=MODEL)
        elif name == "card":
            scripts.card(request.getfixturevalue("card"), bug)
        else:
            asyncio.run(getattr(scripts, name)(tmp_path))

    return run


def caught(check, name):
    bug = planted.BUGS[name]
    with planted.planted(name), pytest.raises(AssertionError) as found:
        check(bug.check, name)
    told = f"{found.value}".partition("\n")[0] or f"an assertion of {bug.check} that speaks for itself"
    sys.stdout.write(f"{name}: {bug.wrong}\n  caught by {bug.check}: {told[:300]}\n")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHORT)
def test_a_planted_bug_is_caught(check, name):
    caught(check, name)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(planted.BUGS))
def test_every_planted_bug_is_caught(check, name):
    caught(check, name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["history", "card"])
def test_without_a_bug_the_check_passes(check, name):
    check(name, histories=SHORT_HISTORIES)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted({bug.check for bug in planted.BUGS.values()}))
def test_without_a_bug_every_check_passes(check, name):
    check(name)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_histories():
    history.check(range(HISTORIES, 10 * HISTORIES))


def test_there_are_enough_of_them_and_none_is_forgotten():
    assert len(planted.BUGS) >= 20
    marks = test_every_planted_bug_is_caught.pytestmark
    (named,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    assert named == sorted(planted.BUGS)
    assert len(set(SHORT)) >= 5
    assert set(SHORT) <= set(planted.BUGS)
    for bug in planted.BUGS.values():
        assert bug.wrong
        assert bug.check in ("history", "model", "card") or callable(getattr(scripts, bug.check))


@pytest.mark.parametrize("name", sorted(planted.BUGS))
def test_a_bug_goes_in_and_out_without_a_trace(name):
    """A patch that no longer fits the product would plant nothing, or stay."""
    put_in = []
    real = planted.BUGS[name].plant
    real(lambda where, attribute, value: put_in.append((where, attribute, where.__dict__[attribute], value)))
    assert put_in
    before = [(where, attribute, was) for where, attribute, was, _ in put_in]
    assert all(value is not was for _, _, was, value in put_in)
    with planted.planted(name):
        assert all(where.__dict__[attribute] is not was for where, attribute, was in before)
    assert all(where.__dict__[attribute] is was for where, attribute, was in before)


def test_the_launcher_runs_the_command_line_with_the_bug(capsys):
    with planted.planted("synchronous_off"):
        assert any("synchronous=OFF" in pragma for pragma in planted.schema._WRITING)
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
    assert ended.value.code == 0
    assert "linegate" in capsys.readouterr().out


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*IN_THE_DAEMON, ""])
async def test_a_daemon_with_a_planted_bug_is_caught_from_outside(tmp_path, card, name):
    """The whole gateway, started with the bug, in the rig of the fault profiles: its power fails while it produces."""
    launcher = (planted.__file__, name, "run") if name else ("-m", "gateway", "run")
    async with Rig(tmp_path / "plant", seed=7, card=card, launcher=launcher) as rig:

        async def story():
            await rig.open()
            await rig.produce()
            for _ in range(4):
                await asyncio.sleep(rig.rng.uniform(0.5, 1.5))  # the moment of the cut is random: that is the test
                await rig.power_cut("drop")
                await rig.status_where(lambda view: view["sources"][0]["state"] == "up", "reading again", DAEMON_S)
            await rig.settled(timeout_s=DAEMON_S)
            rig.check()

        if not name:
            await story()
            return
        with pytest.raises(AssertionError) as found:
            await story()
        assert "seed 7" in str(found.value)
