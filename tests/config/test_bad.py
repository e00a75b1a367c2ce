"""Every broken configuration of ``bad/`` is told what ``bad/<name>.error.txt`` says, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ConfigErrors

BAD = Path(__file__).parent / "bad"
CASES = sorted(path.stem for path in BAD.glob("*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_errors_are_the_golden_ones(name, load_file, monkeypatch):
    monkeypatch.chdir(BAD)
    with pytest.raises(ConfigErrors) as caught:
        load_file(f"{name}.yaml")
    assert str(caught.value) + "\n" == Path(f"{name}.error.txt").read_text(encoding="utf-8")


def test_no_case_is_without_its_errors():
    assert len(CASES) >= 25
    assert sorted(path.name.removesuffix(".error.txt") for path in BAD.glob("*.error.txt")) == CASES


def test_errors_are_ordered_by_place_and_number_is_bounded(load_text, good_text):
    many = "".join(f"  key_{n}: 1\n" for n in range(150))
    with pytest.raises(ConfigErrors) as caught:
        load_text(good_text.replace("gateway:\n", "gateway:\n" + many))
    errors = caught.value.errors
    assert len(errors) == 150
    assert [error.place for error in errors] == sorted(error.place for error in errors)
    assert str(caught.value).splitlines()[-1] == "and 50 more errors"


def test_unreadable_files(load_file, tmp_path):
    for path, expected in (
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / "x" / "y.yaml", "no such file"),
    ):
        with pytest.raises(ConfigErrors, match=expected):
            load_file(path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigErrors, match="larger than the allowed 1024 KiB"):
        load_file(large)
