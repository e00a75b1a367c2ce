"""The MES double's own broker: a port of its choice that was taken is chosen again, one that was named is told."""

import shutil
import socket

import pytest

from simulators.__main__ import main


@pytest.fixture
def broker_that_ends(monkeypatch, tmp_path):
    """Put a mosquitto in front of the real one that ends so many times as one does whose port is taken."""

    def place(times):
        real = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        (tmp_path / "bin").mkdir()
        program, count = tmp_path / "bin" / "mosquitto", tmp_path / "started"
        program.write_text(
            f'#!/bin/sh\necho >> "{count}"\n[ "$(wc -l < "{count}")" -le {times} ] && exit 1\nexec {real} "$@"\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        return lambda: len(count.read_text().splitlines())

    return place


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_of_its_own_choice_that_was_taken_is_chosen_again(simulator, broker_that_ends):
    started = broker_that_ends(2)
    one = simulator("mes")
    host, _, port = one.ready["broker"].rpartition(":")
    socket.create_connection((host, int(port)), timeout=60).close()
    assert started() == 3


def test_a_named_port_whose_broker_ends_is_a_sentence(simulator, broker_that_ends, port_for_later):
    started = broker_that_ends(9)
    port = next(one for one in iter(port_for_later, None) if is_free(one + 1))
    with pytest.raises(AssertionError, match=f"mosquitto does not listen on port {port + 1} of 127.0.0.1"):
        simulator("mes", "--port", port)
    assert started() == 1


@pytest.mark.parametrize("more", [(), ("--print-config",)])
def test_no_port_is_behind_the_last_one(more, capfd):
    assert main(["mes", "--port", "65535", "--no-stdin", *more]) == 1
    told = capfd.readouterr().err
    assert told.startswith("mes: --port 65535 is the last one, and its broker takes the one behind it; give one up to ")
    assert "65534" in told
