from __future__ import annotations

import pytest

from config.environment import overlaid
from config.errors import ConfigErrors


def errors_of(load_text, text, env):
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, env)
    return str(caught.value).splitlines()


def test_variables_win_over_the_file(load_text, good_text):
    settings = load_text(
        good_text,
        {
            "LINEGATE_GATEWAY__STATE_DIR": "/srv/state",
            "LINEGATE_SOURCES__ASM__HOST": "192.0.2.7",
            "LINEGATE_SOURCES__ASM__STALE_AFTER": "9 s",
            "linegate_mqtt__port": "1884",
            "LINEGATE_WORK_UNITS__ASM_01__WORK_CENTER": "WC-9",
            "LINEGATE_WORK_UNITS__PCK_01__CONFIRM__EVERY_PIECES": "5",
            "LINEGATE_CONNECTORS__ARCHIVE__CONFIRMATIONS": "true",
            "LINEGATE_GATEWAY__LINE": '"7"',
            "LINEGATE_MQTT__USERNAME": "",
            "LINEGATE_LOG__LEVEL": "error",
            "PATH": "/bin",
        },
    )
    assert str(settings.gateway.state_dir) == "/srv/state"
    assert settings.sources["asm"].driver_settings.host == "192.0.2.7"
    assert str(settings.sources["asm"].stale_after) == "9 s"
    assert settings.mqtt.port == 1884
    assert settings.work_units["ASM-01"].work_center == "WC-9"
    assert settings.work_units["ASM-01"].ideal_cycle is not None, "the rest of the section stays"
    assert settings.work_units["PCK-01"].confirm.every_pieces == 5
    assert settings.gateway.line == "7"
    assert settings.mqtt.username is None
    assert settings.log.level == "error"
    assert settings.place("sources.asm.host") == "environment: LINEGATE_SOURCES__ASM__HOST"
    assert settings.place("sources.asm.driver").endswith("linegate.yaml:10:13")


def test_a_section_may_come_from_the_environment_alone(load_text, good_text):
    text = good_text[: good_text.index("mqtt:")]
    settings = load_text(text, {"LINEGATE_MQTT__HOST": "127.0.0.1", "LINEGATE_MQTT__PASSWORD__CREDENTIAL": "mqtt"})
    assert settings.mqtt.port == 1883
    assert settings.mqtt.password.credential == "mqtt"


def test_an_error_of_a_variable_names_it(load_text, good_text):
    env = {
        "LINEGATE_MQTT__PORT": "70000",
        "LINEGATE_GATEWAY__PLANT": "17",
        "LINEGATE_LOG__LEVEL": "warn",
        "LINEGATE_SOURCES__ASM__HOSST": "x",
        "LINEGATE_SOURCES__PUMP__HOST": "x",
        "LINEGATE_CONNECTORS__ARCHIVE__ORDERS": "off",
        "LINEGATE_MQTT__QUEUE_MESSAGES": "010",
    }
    lines = errors_of(load_text, good_text, env)
    assert [line.split(": ")[1] for line in lines] == sorted(env)
    by_variable = {line.split(": ")[1]: line for line in lines}
    assert by_variable["LINEGATE_MQTT__PORT"].endswith("mqtt.port: found 70000 (a number), allowed: 1 to 65535")
    assert "did you mean 'warning'?" in by_variable["LINEGATE_LOG__LEVEL"]
    assert "sources.asm.hosst: unknown key" in by_variable["LINEGATE_SOURCES__ASM__HOSST"]
    assert "sources.pump.driver: is missing; allowed: press, switch" in by_variable["LINEGATE_SOURCES__PUMP__HOST"]
    assert "leading zero" in by_variable["LINEGATE_MQTT__QUEUE_MESSAGES"]
    assert "truth value" in by_variable["LINEGATE_CONNECTORS__ARCHIVE__ORDERS"]


def test_unknown_variables_are_errors(load_text, good_text):
    lines = errors_of(load_text, good_text, {"LINEGATE_FOO": "1", "LINEGATE_GATWAY__ID": "x", "LINEGATE_MQTT__": "x"})
    assert lines[0].startswith("environment: LINEGATE_FOO: unknown; allowed: LINEGATE_GATEWAY__..., ")
    assert lines[1].endswith("did you mean 'gateway'?")
    assert len(lines) == 3


def test_a_variable_that_a_secret_names_is_no_override(load_text, good_text):
    env = {"LINEGATE_MQTT__PASSWORD": "canary-1", "LINEGATE_TOKEN": "canary-2"}
    text = good_text.replace("file: mqtt.secret", "env: LINEGATE_MQTT__PASSWORD").replace("ERP_TOKEN", "LINEGATE_TOKEN")
    settings = load_text(text, env)
    assert settings.secrets.resolve(settings.mqtt.password) == "canary-1"
    lines = errors_of(load_text, good_text, env)
    assert not any("canary" in line for line in lines)


def test_what_a_variable_cannot_mean(load_text, good_text):
    for variable, expected in (
        ("LINEGATE_WORK_UNITS__ASM_01__COUNTERS__0__PIECES", "cannot set one item of a list"),
        ("LINEGATE_WORK_UNITS__ASM_01__COUNTERS", "is a list; change the file instead"),
        ("LINEGATE_SOURCES__ASM", "is a mapping; set one of its keys: LINEGATE_SOURCES__ASM__..."),
        ("LINEGATE_GATEWAY__ID__X", "allowed: text"),
        ("LINEGATE_GATEWAY" + "__A" * 20, "deeper than the allowed 16 levels"),
    ):
        (line,) = errors_of(load_text, good_text, {variable: "1"})
        assert line.startswith(f"environment: {variable}: ")
        assert expected in line


def test_two_variables_that_contradict_each_other(load_text, good_text):
    env = {"LINEGATE_LOG__LEVEL": "info", "linegate_log__level": "error"}
    assert "sets this or something below it" in errors_of(load_text, good_text, env)[0]
    env = {"LINEGATE_GATEWAY__ID": "a", "LINEGATE_GATEWAY__ID__X": "b"}
    assert "LINEGATE_GATEWAY__ID__X" in errors_of(load_text, good_text, env)[0]


def test_a_variable_that_means_two_keys(load_text, good_text):
    text = good_text.replace("  PCK-01:", "  ASM_01:")
    (line,) = errors_of(load_text, text, {"LINEGATE_WORK_UNITS__ASM_01__WORK_CENTER": "x"})
    assert "ASM-01 as well as ASM_01" in line


def test_layers_leave_their_arguments_alone():
    document = {"a": {"b": 1, "c": [1]}, "model_config": 2, "self": 3}
    assert overlaid(document, {"a": {"b": 9}}) == {"a": {"b": 9, "c": [1]}, "model_config": 2, "self": 3}
    assert document["a"]["b"] == 1
