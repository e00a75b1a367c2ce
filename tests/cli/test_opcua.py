"""``linegate opcua`` as a process: the own certificate, and trusting a server's after an explicit yes."""

import asyncio
import gc
import json
import os
import pty
import select
import sys
import threading
import time

import pytest
import warm
from asyncua import Server, ua

from drivers.opcua import certificates

WAIT_S = 60.0
#: For a call in the server's thread; making one is seconds of a processor.
CALL_S = 200.0


class Secured:
    """A server with security in a thread of its own; its certificate can be replaced by a restart."""

    def __init__(self, folder):
        self._own = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.certificate = certificates.own(folder, time.time_ns())
        self.call(self._start())

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_S)

    async def _start(self):
        self._server = Server()
        gc.disable()  # it would look again and again at the thousands of nodes of the standard, which all live on
        try:
            await self._server.init()
        finally:
            gc.enable()
        self._server.set_endpoint("opc.tcp://127.0.0.1:0/")
        await self._server.load_certificate(str(self.certificate.certificate_file))
        await self._server.load_private_key(str(self.certificate.key_file))
        self._server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await self._server.start()
        self.port = self._server.bserver._server.sockets[0].getsockname()[1]

    def stop(self):
        self.call(self._server.stop())
        self.call(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _settle(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    server = Secured(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def config(tmp_path, secured):
    file = tmp_path / "linegate.yaml"
    text = f"""
gateway: {{ id: box-1, plant: P1, state_dir: {tmp_path}/state }}
sources:
  imm: {{ driver: opcua, endpoint: "opc.tcp://127.0.0.1:{secured.port}", security: sign_and_encrypt,
         signals: {{ shots: {{ node: ns=2;i=1 }} }} }}
  plain: {{ driver: opcua, endpoint: "opc.tcp://127.0.0.1:{secured.port}", security: none,
           signals: {{ started: {{ node: i=2257 }} }} }}
  strict: {{ driver: opcua, endpoint: "opc.tcp://127.0.0.1:{secured.port}", security: sign,
            signals: {{ started: {{ node: i=2257 }} }} }}
  dead: {{ driver: opcua, endpoint: "opc.tcp://127.0.0.1:1", security: sign, timeout: 1 s,
          signals: {{ started: {{ node: i=2257 }} }} }}
  pins: {{ driver: digital_io, pins: simulated, signals: {{ piece: {{ pin: 17 }} }} }}
work_units:
  M-1: {{ work_center: WC-1, ideal_cycle: 2 s, counters: [{{ mode: counter, signal: imm.shots }}] }}
connectors: {{ share: {{ connector: file, folder: share }} }}
"""
    file.write_text(text)
    return file


def pin_of(config, source="imm"):
    return certificates.pinned(config.parent / "state" / certificates.FOLDER, source)


def test_the_own_certificate_is_made_shown_and_kept(linegate, tmp_path):
    first = linegate("opcua", "certificate", "-d", tmp_path)
    assert first.code == 0, first.err
    assert f"certificate         {tmp_path}/opcua/own/certificate.der" in first.out
    second = json.loads(linegate("opcua", "certificate", "-d", tmp_path, "--json").out)
    assert second["sha256"] in first.out
    assert second["application_uri"].startswith("urn:linegate:")
    (tmp_path / "opcua" / "own" / "key.pem").write_text("torn")
    broken = linegate("opcua", "certificate", "-d", tmp_path)
    assert (broken.code, broken.out) == (1, "")
    assert "cannot be used" in broken.err


def test_nobody_there_to_ask_means_no(linegate, config, secured):
    ended = linegate("opcua", "trust", "imm", "-c", config)
    assert ended.code == 1
    assert certificates.fingerprint(secured.certificate.der) in ended.out
    assert "nobody is there to ask" in ended.err
    assert pin_of(config) is None


def test_only_the_right_fingerprint_is_a_yes(linegate, config, secured):
    right = certificates.fingerprint(secured.certificate.der)
    other = ("01" if right.startswith("00") else "00") + right[2:]  # the key is drawn anew in each run
    wrong = linegate("opcua", "trust", "imm", "-c", config, "--fingerprint", other)
    assert (wrong.code, pin_of(config)) == (1, None)
    assert f"found SHA-256 {right}" in wrong.err
    done = linegate("opcua", "trust", "imm", "-c", config, "--fingerprint", right.lower().replace(":", ""))
    assert (done.code, pin_of(config)) == (0, secured.certificate.der), done.err
    assert "Trusted: " in done.out
    again = linegate("opcua", "trust", "imm", "-c", config)
    assert again.code == 0
    assert "is trusted already" in again.out


def test_a_relative_state_directory_is_shown_as_it_is_found_from_anywhere(linegate, config, secured, monkeypatch):
    monkeypatch.chdir(config.parent)
    config.write_text(config.read_text().replace(f"state_dir: {config.parent}/state", "state_dir: state"))
    done = linegate(
        "opcua", "trust", "imm", "-c", config, "--fingerprint", certificates.fingerprint(secured.certificate.der)
    )
    assert (done.code, pin_of(config)) == (0, secured.certificate.der), done.err
    assert f"Trusted: {config.parent}/state/opcua/trusted/imm.der. " in done.out
    assert "note: gateway.state_dir (state) begins at the working directory" in done.out


def test_a_changed_certificate_is_shown_with_the_trusted_one(linegate, config, secured, tmp_path):
    old = certificates.own(tmp_path / "old", time.time_ns())
    certificates.pin(config.parent / "state" / certificates.FOLDER, "imm", old.der)
    ended = linegate("opcua", "trust", "imm", "-c", config)
    assert (ended.code, pin_of(config)) == (1, old.der)
    assert f"It REPLACES the trusted one with SHA-256 {certificates.fingerprint(old.der)}." in ended.out


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("nobody", 2, "nobody: no such source; sources of OPC UA are imm, plain, strict, dead"),
        ("pins", 2, "its driver is digital_io"),
        ("plain", 2, "found security: none, which uses no certificate"),
        (
            "strict",
            1,
            "does not offer security sign with basic256sha256; it offers sign_and_encrypt with basic256sha256",
        ),
        ("dead", 1, "opc.tcp://127.0.0.1:1: no answer: ConnectionRefusedError"),
    ],
)
def test_what_cannot_be_trusted_says_why(linegate, config, source, code, words):
    ended = linegate("opcua", "trust", source, "-c", config)
    assert ended.code == code
    assert words in ended.err


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("y", 1), ("", 1)])
def test_a_person_must_type_yes(config, secured, answer, code):
    master, slave = pty.openpty()
    process = warm.Popen(
        [sys.executable, "-P", "-m", "gateway", "opcua", "trust", "imm", "-c", str(config)],
        stdin=slave, stdout=slave, stderr=slave, close_fds=True,
    )  # fmt: skip
    os.close(slave)
    try:
        shown = read_until(master, "Type yes: ")
        assert certificates.fingerprint(secured.certificate.der) in shown
        os.write(master, f"{answer}\n".encode())
        assert process.wait(WAIT_S) == code
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert pin_of(config) == (secured.certificate.der if code == 0 else None)


def read_until(terminal, words):
    shown, deadline = "", time.monotonic() + WAIT_S
    while words not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown
