from __future__ import annotations

from pathlib import Path

import pytest

from config.bytesize import ByteSize
from config.errors import ConfigErrors
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.model import MachineState
from gateway.core.rules_confirming import RetentionRule

FULL = Path(__file__).parent / "good" / "full.yaml"


def test_a_full_document(load_file):
    settings = load_file(FULL)
    asm = settings.sources["asm"]
    assert (asm.driver, asm.stale_after, asm.backoff_max) == ("press", Duration("3 s"), Duration("60 s"))
    assert asm.driver_settings.signals["hex"].register == 16
    assert type(asm.driver_settings).__name__ == "PressSettings"
    assert settings.sources["box"].stale_after is None
    assert settings.work_units["ASM-01"].state.map == {"0": MachineState.OFF, "2": MachineState.PRODUCING}
    erp = settings.connectors["erp"]
    assert (erp.connector, erp.poll_orders, erp.parallel_lanes) == ("post", Duration("2 s"), 4)
    assert (erp.wait_precondition, erp.auth_probe) == (Duration("15 min"), Duration("15 min"))
    assert settings.connectors["archive"].orders is False
    assert settings.connectors["archive"].connector_settings.folder == "out"
    assert (settings.mqtt.port, settings.mqtt.client_id) == (8883, "linegate-box-1")
    assert settings.mqtt.tls.ca_file == "ca.pem"
    assert settings.buffer.max_size == ByteSize("1536 MiB")
    assert (settings.log.level, settings.log.repeat_interval) == ("debug", Duration("30 s"))
    assert settings.base_dir == FULL.parent
    assert settings.warnings == ()


def test_a_machine_state_off_costs_no_schema(load_file, monkeypatch):
    """Its word is looked at wherever it stands; to make the schema of the whole document takes a third of a start."""

    def made(*_):
        pytest.fail("the schema of the document was made")

    monkeypatch.setattr("config.loader._described", made)  # what the tests keep of it would hide a call below
    assert load_file(FULL).work_units["ASM-01"].state.map["0"] is MachineState.OFF


def test_places(load_file):
    settings = load_file(FULL)
    assert settings.place("sources.asm.host") == f"{FULL}:11:11"
    assert settings.place("work_units.ASM-01.counters.0.signal").startswith(f"{FULL}:30:")
    assert settings.place("work_units.ASM-01.state.map.0").startswith(f"{FULL}:32:")
    assert settings.place("sources.asm.port") == settings.place("sources.asm")
    assert settings.place("") == f"{FULL}:1:1"


def test_optional_sections_may_be_absent_or_empty(load_text, good_text):
    text = good_text[: good_text.index("mqtt:")]
    settings = load_text(text + "mqtt:\nbuffer:\nlog: ~\n")
    assert settings.mqtt is None
    assert settings.buffer == load_text(text).buffer
    assert settings.log.level == "info"


def test_ages_have_an_older_name_or_a_section_of_their_own(load_text, good_text):
    text = good_text[: good_text.index("mqtt:")]
    assert load_text(text).retention == RetentionRule()
    old = load_text(text + "buffer: { journal_keep: 40 d, posted_keep: 50 d }\n").retention
    assert (old.raw_journal, old.cycles, old.states, old.notices) == (Duration("40 d"),) * 4
    assert (old.orders, old.confirmations) == (Duration("50 d"),) * 2
    assert load_text(text + "buffer: { journal_keep: 1 h }\n").retention.cycles == Duration("1 d")
    new = load_text(text + "retention: { cycles: 30 d }\n").retention
    assert new == RetentionRule(cycles=Duration("30 d"))
    with pytest.raises(ConfigErrors, match=r"buffer\.posted_keep: is an old name of ages in the section retention"):
        load_text(text + "buffer: { posted_keep: 50 d }\nretention: { cycles: 30 d }\n")


def test_digest_follows_the_content_and_not_the_form(load_text, good_text):
    digest = load_text(good_text).digest
    assert load_text("# a comment\n" + good_text.replace('"0": OFF', "'0': OFF")).digest == digest
    assert load_text(good_text.replace("L1", "L2")).digest != digest
    assert load_text(good_text, {"LINEGATE_GATEWAY__LINE": "L2"}).digest != digest
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("tls", "port"), [("true", 8883), ("{}", 8883), ("false\n  insecure: true", 1883), ("~\n  insecure: true", 1883)]
)
def test_the_mqtt_port_follows_tls(load_text, good_text, tls, port):
    settings = load_text(good_text.replace("tls: { ca_file: ca.pem }", f"tls: {tls}"))
    assert settings.mqtt.port == port
    assert (settings.mqtt.tls is not None) is (port == 8883)


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("broker", "10.0.0.1", "localhost.example", "")))


def test_a_counter_without_any_rate_limit_is_a_warning(load_text, good_text):
    text = good_text.replace("    ideal_cycle: 2.4 s\n", "").replace(', max_rate: "40 /min"', "")
    (warning,) = load_text(text).warnings
    assert "linegate.yaml:29:9: work_units.ASM-01.counters.0: neither max_rate nor" in warning
    assert "roll-over" in warning


def test_anchors_are_allowed(load_text, good_text):
    text = good_text.replace("good: { register: 1 }", "good: &one { register: 1 }").replace("{ register: 17 }", "*one")
    assert load_text(text).sources["box"].driver_settings.signals["carton"].register == 1


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(load_file, good_text, tmp_path):
    path = tmp_path / "linegate.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + good_text.replace("\n", "\r\n").encode())
    settings = load_file(path)
    assert settings.digest == load_file(FULL).digest
    assert settings.place("sources.asm.host") == f"{path}:11:11"


def test_without_any_driver_the_document_is_still_judged(good_text, tmp_path, connectors):
    from config.loader import load

    path = tmp_path / "linegate.yaml"
    path.write_text(good_text.replace("plant: RQ1", "plant: 1"), encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load(path, drivers={}, connectors=connectors, env={})
    assert "gateway.plant" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [("2 GiB", 2**31, "2 GiB"), ("1.5KiB", 1536, "1536 B"), ("0 B", 0, "0 B"), ("1 TiB", 2**40, "1 TiB")],
)
def test_byte_sizes(text, size, shown):
    assert ByteSize(text) == size
    assert str(ByteSize(text)) == shown
    assert repr(ByteSize(size)) == f"ByteSize({shown!r})"


@pytest.mark.parametrize("text", ["2", "2 GB", "GiB", "-1 B", "0.5 B", "1e3 B", "², B"])
def test_byte_sizes_refused(text):
    with pytest.raises(ValueError, match=r"size|unit|byte"):
        ByteSize(text)
