from __future__ import annotations

import pytest

from config.errors import ConfigErrors


@pytest.fixture
def folder(tmp_path, good_text):
    """The good document, its sources and work units in files of their own."""
    at = good_text.index("sources:"), good_text.index("work_units:"), good_text.index("connectors:")
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "a.yaml").write_text(good_text[at[0] : at[1]], encoding="utf-8")
    (tmp_path / "machines" / "b.yaml").write_text("include: [deep/rules.yaml]\n", encoding="utf-8")
    (tmp_path / "machines" / "deep").mkdir()
    (tmp_path / "machines" / "deep" / "rules.yaml").write_text(good_text[at[1] : at[2]], encoding="utf-8")
    main = good_text[: at[0]] + "include: ['machines/*.yaml']\n" + good_text[at[2] :]
    (tmp_path / "main.yaml").write_text(main, encoding="utf-8")
    return tmp_path


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_sections_are_united(folder, load_file, load_text, good_text):
    settings = load_file(folder / "main.yaml")
    assert settings.digest == load_text(good_text).digest
    assert settings.place("sources.asm.host") == f"{folder}/machines/a.yaml:4:11"
    assert settings.place("work_units.ASM-01").startswith(f"{folder}/machines/deep/rules.yaml:")


def test_cross_errors_name_the_file_they_are_in(folder, load_file):
    rules = folder / "machines" / "deep" / "rules.yaml"
    write(rules, rules.read_text(encoding="utf-8").replace("WC-PCK", "WC-ASM"))
    with pytest.raises(ConfigErrors) as caught:
        load_file(folder / "main.yaml")
    (error,) = caught.value.errors
    assert error.place.file == str(rules)
    assert f"at {rules}:3:18" in error.text


def test_all_errors_of_all_files_at_once(folder, load_file):
    write(folder / "machines" / "a.yaml", "sources: { x: [ }\n")
    write(folder / "machines" / "deep" / "rules.yaml", "work_units: { x: 010 }\n")
    with pytest.raises(ConfigErrors) as caught:
        load_file(folder / "main.yaml")
    assert [error.place.file for error in caught.value.errors] == [
        f"{folder}/machines/a.yaml",
        f"{folder}/machines/deep/rules.yaml",
    ]


def test_a_pattern_without_files_is_a_warning(folder, load_file):
    main = folder / "main.yaml"
    write(main, main.read_text(encoding="utf-8").replace("['machines/*.yaml']", "['machines/*.yaml', 'more/*']"))
    (warning,) = load_file(main).warnings
    assert warning.endswith("include: 'more/*' matches no file")
    assert "main.yaml:8:" in warning


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("[machines/a.yaml, machines/a.yaml]", "already included at"),
        ("[machines]", "is a directory"),
        ("['**/*.yaml']", "allowed: '\\*'"),
        ("['/tmp/*']", "from the root"),
        ("['a\\0b']", "there is no file|not a path"),
        ('["a\\0b"]', "NUL"),
        ("[{ a: b }]", "found a mapping"),
        ("['']", "allowed: a file"),
    ],
)
def test_wrong_includes(folder, load_file, listed, expected):
    main = folder / "main.yaml"
    write(main, main.read_text(encoding="utf-8").replace("['machines/*.yaml']", listed))
    with pytest.raises(ConfigErrors, match=expected):
        load_file(main)


def test_loops_and_depth(tmp_path, load_file):
    write(tmp_path / "a.yaml", "include: [b.yaml]\n")
    write(tmp_path / "b.yaml", "include: [a.yaml]\n")
    with pytest.raises(ConfigErrors, match=r"b\.yaml:1:11: include: .*a\.yaml includes itself"):
        load_file(tmp_path / "a.yaml")
    for level in range(10):
        write(tmp_path / f"{level}.yaml", f"include: [{level + 1}.yaml]\n")
    with pytest.raises(ConfigErrors, match=r"7\.yaml:1:11: include: .*8\.yaml is included through more than .* 8"):
        load_file(tmp_path / "0.yaml")


def test_too_many_files(tmp_path, load_file):
    for number in range(300):
        write(tmp_path / f"part_{number:03}.yaml", "log:\n")
    write(tmp_path / "main.yaml", "include: ['part_*.yaml']\n")
    with pytest.raises(ConfigErrors, match="allowed 256 files"):
        load_file(tmp_path / "main.yaml")


def test_sections_of_different_kinds_do_not_unite(tmp_path, load_file):
    write(tmp_path / "main.yaml", "include: [part.yaml]\nlog: { level: info }\n")
    write(tmp_path / "part.yaml", "log: [a]\n")
    with pytest.raises(ConfigErrors, match=r"part\.yaml:1:1: log: this section is already at .*main\.yaml:2:1"):
        load_file(tmp_path / "main.yaml")
