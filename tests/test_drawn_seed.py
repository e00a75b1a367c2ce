"""A course that is drawn: repeated where a seed is given, and by the same sources in CI."""

import pytest
from drawn_seed import SEEDS, draw


@pytest.fixture(autouse=True)
def sources(tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("LINEGATE_TEST_SEED", raising=False)
    room = tmp_path / "gateway"
    room.mkdir()
    (room / "one.py").write_text("1")
    return tmp_path


def test_a_seed_that_is_given_is_taken(sources, monkeypatch):
    monkeypatch.setenv("LINEGATE_TEST_SEED", "7")
    monkeypatch.setenv("CI", "true")
    assert draw("LINEGATE_TEST_SEED", sources) == 7


def test_it_is_drawn_anew_elsewhere(sources):
    seeds = [draw("LINEGATE_TEST_SEED", sources) for _ in range(100)]
    assert len(set(seeds)) > 90
    assert all(0 < seed < SEEDS for seed in seeds)


def test_in_ci_the_same_sources_give_the_same_and_a_change_another(sources, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CI", "true")
    first = draw("LINEGATE_TEST_SEED", sources)
    assert 0 < first < SEEDS
    copy = tmp_path_factory.mktemp("copy")
    (copy / "gateway").mkdir()
    (copy / "gateway" / "one.py").write_text("1")
    assert draw("LINEGATE_TEST_SEED", copy) == first
    other = tmp_path_factory.mktemp("other")
    (other / "gateway").mkdir()
    (other / "gateway" / "one.py").write_text("2")
    assert draw("LINEGATE_TEST_SEED", other) != first
