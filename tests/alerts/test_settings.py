"""What of the section is refused: a key that would do nothing, and a pace that the robots do not take."""

from __future__ import annotations

import os

import pytest

from config.errors import ConfigErrors
from config.loader import load
from gateway import changes, plugins

CONFIG = """
gateway: { id: box-1, plant: P1, state_dir: state }
sources: { pins: { driver: digital_io, pins: simulated, signals: { piece: { pin: 17 } } } }
work_units: { M-1: { work_center: WC-1, ideal_cycle: 2 s, counters: [{ mode: pulse, signal: pins.piece }] } }
connectors: { share: { connector: file, folder: share } }
"""


@pytest.fixture
def loaded(tmp_path):
    def of(section):
        path = tmp_path / "linegate.yaml"
        path.write_text(CONFIG + section)
        return load(path, drivers=plugins.drivers(), connectors=plugins.connectors(), env=dict(os.environ))

    return of


def channel(text):
    return f"alerts: {{ channels: {{ a: {{ url: {{ env: U }}, {text} }} }} }}\n"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (channel("kind: sms"), "dingtalk"),
        (channel("kind: wecom, secret: { env: S }"), "secret: found one, allowed with kind: dingtalk or webhook"),
        (channel("kind: dingtalk, token: { env: S }"), "token: found one, allowed with kind: webhook"),
        (channel("kind: webhook, mention: [ann]"), "mention, format: found with kind: webhook"),
        (channel("kind: webhook, format: markdown"), "mention, format: found with kind: webhook"),
        (channel("kind: wecom, format: markdown, mention: [ann]"), "found markdown with mention"),
        (channel("kind: wecom, tell: [piece]"), "tell"),
        (channel("kind: wecom, tell: []"), "tell"),
        (channel("kind: wecom, timeout: 1 min"), "1 s to 20 s"),
        ("alerts: { channels: {} }\n", "channels"),
        ("alerts: { every: 1 s, channels: { a: { kind: wecom, url: { env: U } } } }\n", "3 s to 1 d"),
        ("alerts: { channels: { a: { kind: wecom, url: 'https://h/' } } }\n", "alerts.channels.a.url"),
    ],
)
def test_what_would_do_nothing_is_refused(loaded, section, said):
    with pytest.raises(ConfigErrors) as failure:
        loaded(section)
    assert said in str(failure.value)
    assert "https://h/" not in str(failure.value)


def test_a_change_needs_a_restart(loaded):
    old, new = (loaded(channel(f"kind: wecom, timeout: {one} s")) for one in (5, 6))
    assert loaded("").alerts is None
    (refused,) = changes.between(old, new).refused
    assert "alerts.channels.a.timeout: found a change, which needs a restart" in refused
