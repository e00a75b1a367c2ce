"""What a template gives, and what the source says itself. The mistakes are in ``bad/template_*``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from config.errors import ConfigErrors
from config.schema import document_schema
from config.templates import names

FOLDER = Path(__file__).parent / "templates" / "press"


@pytest.fixture
def source(load_text, good_text):
    """Loads the good document with one more source, ``p1``; returns that source (and the settings)."""

    def loading(text, env=None, *, everything=False):
        settings = load_text(good_text.replace("  box:\n", f"  p1: {text}\n  box:\n", 1), env)
        return settings if everything else settings.sources["p1"].driver_settings

    return loading


WITH_NAME = "template: { name: eccentric, with: { name: north } }"


def test_signals_defaults_and_parameters_of_a_template(source):
    settings = source(f"{{ driver: press, {WITH_NAME} }}", everything=True)
    press = settings.sources["p1"].driver_settings
    assert press.host == "press-north.local"
    assert press.scan == 200_000_000
    assert press.password.file == "p1.secret", "{source} is the name of the source"
    assert {name: signal.register for name, signal in press.signals.items()} == {
        "strokes": 100,
        "state": 7,
        "braces": 8,
    }
    assert press.signals["state"].telemetry is True
    assert settings.sources["p1"].template.name == "eccentric"
    assert settings.sources["p1"].template.with_ == {"name": "north"}


def test_a_parameter_keeps_its_type_as_a_whole_and_is_text_within_one(source):
    press = source("{ driver: press, template: { name: eccentric, with: { name: 7, base: 300 } } }")
    assert (press.host, press.signals["strokes"].register) == ("press-7.local", 300)


def test_what_the_source_says_wins_key_by_key(source):
    own = "signals: { strokes: { register: 5 }, state: { telemetry: false }, braces: ~, more: { register: 9 } }"
    press = source(f"{{ driver: press, host: mine, {WITH_NAME}, {own} }}")
    assert press.host == "mine"
    assert press.scan == 200_000_000
    found = {name: (signal.register, signal.telemetry) for name, signal in press.signals.items()}
    assert found == {"strokes": (5, False), "state": (7, False), "more": (9, False)}, (
        "a signal set to nothing is left out"
    )


def test_an_empty_signals_key_takes_all_of_the_template(source):
    assert len(source(f"{{ driver: press, {WITH_NAME}, signals: }}").signals) == 3


def test_rules_may_use_signals_of_a_template(source, load_text, good_text):
    text = good_text.replace("  box:\n", f"  p1: {{ driver: press, {WITH_NAME} }}\n  box:\n", 1)
    load_text(text.replace("asm.boots", "p1.strokes"))
    with pytest.raises(
        ConfigErrors, match=r"p1\.stroke', source 'p1' has no such signal; allowed: strokes, state, braces"
    ):
        load_text(text.replace("asm.boots", "p1.stroke"))


def test_a_template_beside_the_configuration(source, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        'title: Mine\nfacts: measured\nsettings: { host: "{{{source}}}" }\nsignals: { a: { register: 1 } }\n'
    )
    press = source("{ driver: press, template: mine.yaml }")
    assert press.host == "{p1}", "two braces are one"
    assert list(press.signals) == ["a"]


def test_places_lead_to_the_template_or_to_the_value_that_was_given(source, tmp_path):
    settings = source(f"{{ driver: press, {WITH_NAME} }}", everything=True)
    assert settings.place("sources.p1.signals.state.register") == "templates/press/eccentric.yaml:12:22"
    with pytest.raises(
        ConfigErrors, match=r"linegate\.yaml:19:76: sources\.p1\.signals\.strokes\.register: found 'far'"
    ):
        source("{ driver: press, template: { name: eccentric, with: { name: a, base: far } } }")


def test_the_digest_follows_the_template(source, tmp_path):
    text = "title: Mine\nfacts: measured\nsettings: { host: a }\nsignals: { a: { register: 1 } }\n"
    (tmp_path / "mine.yaml").write_text(text)
    before = source("{ driver: press, template: mine.yaml }", everything=True).digest
    (tmp_path / "mine.yaml").write_text(text.replace("facts: measured", "facts: read"))
    assert source("{ driver: press, template: mine.yaml }", everything=True).digest == before
    (tmp_path / "mine.yaml").write_text(text.replace("register: 1", "register: 2"))
    assert source("{ driver: press, template: mine.yaml }", everything=True).digest != before


def test_a_variable_overrides_what_a_template_gives_and_chooses_none(source):
    given = f"{{ driver: press, {WITH_NAME} }}"
    press = source(given, {"LINEGATE_SOURCES__P1__SIGNALS__STROKES__REGISTER": "11"})
    assert press.signals["strokes"].register == 11
    for variable in ("LINEGATE_SOURCES__P1__TEMPLATE", "LINEGATE_SOURCES__P1__TEMPLATE__NAME"):
        with pytest.raises(ConfigErrors, match=f"{variable}.*: a template is chosen in the file|is a mapping"):
            source(given, {variable: "hydraulic"})
    with pytest.raises(ConfigErrors, match=r"a template is chosen in the file"):
        source("{ driver: press, host: a, template: hydraulic }", {"LINEGATE_SOURCES__P1__TEMPLATE": "eccentric"})


def test_a_source_of_an_unknown_driver_is_told_that_and_no_more(source):
    with pytest.raises(ConfigErrors) as caught:
        source("{ driver: pres, template: eccentric }")
    assert re.fullmatch(r".*:19:17: sources\.p1\.driver: found 'pres', .*", str(caught.value))


def test_names_of_a_folder():
    assert names(FOLDER) == ("eccentric", "hydraulic")
    assert names(None) == ()


def test_an_editor_does_not_ask_for_what_a_template_gives(drivers, connectors):
    press = document_schema(drivers, connectors)["$defs"]["press_driver"]
    assert press["required"] == ["driver"]
    assert press["anyOf"] == [{"required": ["host", "signals"]}, {"required": ["template"]}]
    use = document_schema(drivers, connectors)["$defs"]["TemplateUse"]
    assert set(use["properties"]) == {"name", "with"}
    assert json.dumps(use)
