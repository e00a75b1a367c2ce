import subprocess
import sys

import pytest
import warm
import yaml

#: Keys of the gateway's work unit and source that every machine needs.
MACHINES = ("asm-01", "tst-01", "pck-01")


@pytest.fixture
def printed():
    def run(*arguments):
        return warm.run(
            [sys.executable, "-P", "-m", "simulators", *map(str, arguments), "--print-config"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("name", MACHINES)
def test_the_gateway_accepts_what_a_machine_prints(printed, name, tmp_path):
    done = printed(name)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "linegate.yaml"
    path.write_text(done.stdout)
    checked = warm.run(
        [sys.executable, "-P", "-m", "gateway", "check", str(path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert done.stdout.startswith(f"# Start the simulator with:  linegate simulate {name}")


@pytest.mark.parametrize("transport", ["tcp", "rtu", "rtu_over_tcp", "udp", "tls"])
def test_a_source_names_the_way_to_the_device(printed, transport, tmp_path):
    made = ["--make-certificates", "certificates"] if transport == "tls" else []
    done = printed("asm-01", "--transport", transport, "--unit", 3, *made)
    source = yaml.safe_load(done.stdout)["sources"]["asm"]
    assert source["unit"] == 3
    assert source.get("transport", "tcp") == transport
    if transport == "rtu":
        assert f"--link {source['device']}" in done.stdout
    else:
        assert (source["host"], source["port"]) == ("127.0.0.1", 15020)
        assert "--port 15020" in done.stdout
    assert ("tls" in source) is (transport == "tls")


def test_given_places_are_kept(printed, tmp_path):
    text = printed("asm-01", "--port", 4321, "--host", "0.0.0.0", "--seed", 2).stdout
    source = yaml.safe_load(text)["sources"]["asm"]
    assert (source["host"], source["port"]) == ("127.0.0.1", 4321)
    assert text.startswith(
        "# Start the simulator with:  linegate simulate asm-01 --port 4321 --host 0.0.0.0 --seed 2\n"
    )
    socket_path = tmp_path / "p.sock"
    assert yaml.safe_load(printed("pck-01", "--socket", socket_path).stdout)["sources"]["box"]["socket"] == str(
        socket_path
    )
    line = tmp_path / "line"
    assert yaml.safe_load(printed("tst-01", "--link", line).stdout)["sources"]["tst"]["device"] == str(line)


def test_servers_print_their_section(printed):
    assert yaml.safe_load(printed("erp", "--port", 4000).stdout)["connectors"]["erp"]["url"] == "http://127.0.0.1:4000"
    assert yaml.safe_load(printed("broker").stdout)["mqtt"]["port"] == 11883


@pytest.mark.parametrize("name", ["erp", "sap_odata", "d365"])
def test_a_double_of_an_erp_prints_the_command_that_starts_it(printed, name):
    command = printed(name).stdout.partition("\n")[0].removeprefix("# Start the simulator with:  linegate ")
    assert command.startswith("simulate erp" if name == "erp" else f"simulate erp {name} ")
    words = command.split()
    help_of = [*words[: words.index("--port")], "--help"]
    done = warm.run(
        [sys.executable, "-P", "-m", "gateway", *help_of],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"python -m simulators {name}" in done.stdout
