"""A connector is renamed or removed while confirmations wait for it: they stay in sight, and nothing is sent astray."""

from __future__ import annotations

import json

import pytest

SHARE = "share: { connector: file, folder: share, poll_orders: 100 ms }"
PLANT = "plant: { connector: file, folder: other, poll_orders: 100 ms }"
ARCHIVE = "archive: { connector: file, folder: archive, orders: false }"


@pytest.fixture
def ask(linegate, tmp_path):
    return lambda *arguments: linegate(*arguments, "-d", tmp_path / "state")


@pytest.fixture
def warnings(ask):
    return lambda: json.loads(ask("status", "--json").out)["warnings"]


@pytest.fixture
def renamed(start_daemon, config_text, ask, tmp_path):
    """One confirmation waits for ``share`` and a running order came from there, when it gets another name."""

    def rename(*connectors):
        daemon = start_daemon(confirmations=False)
        daemon.take_orders()
        assert ask("order", "start", "M-1", "4711").code == 0
        assert ask("order", "finish", "M-1", "4711").code == 0
        assert ask("order", "start", "M-1", "4712", "0010").code == 0
        for name in ("orders", "confirmations"):
            (tmp_path / "other" / name).mkdir(parents=True)
        return start_daemon(config_text.replace(SHARE, "\n  ".join(connectors)), confirmations=False)

    return rename


def test_what_waits_for_the_old_name_is_shown_and_can_be_given_up(renamed, ask, warnings):
    daemon = renamed(PLANT)
    (warning,) = warnings()
    assert "connector 'share': 1 confirmation waiting since " in warning
    assert "linegate outbox discard" in warning
    assert "connector 'share': 1 confirmation waiting" in daemon.text()
    assert warning in ask("status").out
    (posting,) = json.loads(ask("outbox", "list", "--json").out)
    code, out, err = ask("outbox", "discard", posting["no"], "--reason", "booked by hand")
    assert code == 0, err
    assert "4711/0010 number 1 for share is given up" in out
    assert warnings() == []
    assert json.loads(ask("outbox", "list", "--json").out)[0]["state"] == "superseded"


def test_orders_of_the_old_name_are_confirmed_to_the_only_target(renamed, ask):
    daemon = renamed(PLANT)
    assert ask("order", "finish", "M-1", "4712", "0010").code == 0
    folder = daemon.folder / "other" / "confirmations"
    daemon.until(lambda: list(folder.glob("4712-0010-000001-*.csv")), "the confirmation")


def test_among_several_targets_nobody_guesses(renamed, ask, warnings):
    daemon = renamed(PLANT, ARCHIVE)
    assert ask("order", "finish", "M-1", "4712", "0010").code == 0
    targets = {posting["target"] for posting in json.loads(ask("outbox", "list", "--json").out)}
    assert targets == {"share"}
    (warning,) = warnings()
    assert "connector 'share': 2 confirmations waiting" in warning
    assert "confirmation without a target" in daemon.text()


def test_orders_from_a_connector_without_confirmations_and_several_targets_are_warned_of(
    start_daemon, config_text, warnings
):
    orders = SHARE.replace("share,", "share, confirmations: false,")
    start_daemon(config_text.replace(SHARE, f"{orders}\n  {ARCHIVE}\n  {PLANT}"))
    assert any("nothing says which of archive, plant gets them" in text for text in warnings())
