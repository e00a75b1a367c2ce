"""The file connector against a real server with SFTP: a process that is killed and started again."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import asyncssh
import pytest

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN
from gateway.connectors.file.settings import FileSettings
from gateway.contract import ConnectorContract
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

SERVER = Path(__file__).with_name("sftp_server.py")
ORDER = "order;operation;work_center;product;quantity\n100240;0010;WC-ASM;ASSY-D20;24\n"


class Server:
    """The server of a test; it keeps its port and its key when it is started again."""

    def __init__(self, folder, port):
        self.root = folder / "root"
        for name in ("orders", "confirmations", "receipts"):
            (self.root / "base" / name).mkdir(parents=True)
        self.base = self.root / "base"
        self._key = folder / "host_key"
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self._key)
        self.host_key = key.export_public_key().decode().strip()
        self.port = port
        self._process = None

    def start(self, *faults):
        command = [sys.executable, SERVER, str(self.port), self.root, self._key, *map(str, faults)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert int(self._process.stdout.readline()) == self.port

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory, port_for_later):
    # One that nobody else takes while it is killed.
    server = Server(tmp_path_factory.mktemp("sftp"), port_for_later())
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def running(server):
    """Each test finds the server there, and its folders empty."""
    for path in sorted(server.base.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
        elif path.parent != server.base:
            path.rmdir()
    if server._process is None or server._process.poll() is not None:
        server.kill()
        server.start()


@pytest.fixture
async def make(server, context):
    made = []

    def build(secrets=None, **changes):
        settings = {
            "connector": "file",
            "url": f"sftp://linegate@127.0.0.1:{server.port}/base",
            "host_key": server.host_key,
            "password": SecretRef(env="X"),
            "timeout": Duration("60 s"),
            **changes,
        }
        made.append(PLUGIN.build(FileSettings(**settings), context(**{"password": "secret", **(secrets or {})})))
        return made[-1]

    yield build
    for connector in made:
        await connector.close()


@pytest.fixture
def posting(document):
    def made(connector, seq=1):
        image = document(seq)
        return Posting(
            image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], seq, 1,
            connector.render(image),
        )  # fmt: skip

    return made


class TestContract(ConnectorContract):
    @pytest.fixture
    def bench(self, make, server, document):
        def bookings(key):
            return sum(f";{key};" in path.read_text() for path in (server.base / "confirmations").glob("*.csv"))

        return SimpleNamespace(
            build=lambda: make(orders_claim=True, ack="file"),
            document=document,
            release=lambda order: (server.base / "orders" / "a.csv").write_text(ORDER.replace("100240", order)),
            take_away=server.kill,
            bookings=bookings,
        )


async def test_a_rename_whose_answer_was_lost_is_found(make, server, posting):
    connector = make(ack="deleted")
    one = posting(connector)
    server.kill()
    server.start("lose-renames", 1)
    outcome = await connector.send(one)
    assert outcome.kind is OutcomeKind.UNCERTAIN, outcome
    assert (await connector.lookup(one)).kind is LookupKind.UNKNOWN  # it is down
    server.kill()
    (server.base / "confirmations" / one.rendered.name).unlink()  # the ERP took it meanwhile
    server.start()
    assert (await connector.lookup(one)).kind is LookupKind.FOUND
    assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    assert list((server.base / "confirmations").glob("*.csv")) == []


async def test_a_server_that_comes_back_is_used_again(make, server, posting):
    connector = make()
    first, second = posting(connector, 1), posting(connector, 2)
    assert (await connector.send(first)).kind is OutcomeKind.ACCEPTED
    server.kill()
    assert (await connector.send(second)).kind is OutcomeKind.NOT_SENT
    server.start()
    assert (await connector.send(second)).kind is OutcomeKind.ACCEPTED
    assert (server.base / "confirmations" / second.rendered.name).read_bytes() == second.rendered.body


async def test_another_host_key_is_never_trusted(make, server, posting):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    connector = make(host_key=other)
    outcome = await connector.send(posting(connector))
    assert (outcome.kind, "another host key" in outcome.detail) == (OutcomeKind.NOT_SENT, True), outcome


async def test_a_wrong_password_is_told_and_never_shown(make, posting):
    connector = make(secrets={"password": "wr0ng"})
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.AUTH, outcome
    assert "wr0ng" not in outcome.detail
    with pytest.raises(ConnectorError, match="user linegate is refused"):
        await connector.fetch_orders("")


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
@pytest.mark.parametrize("passphrase", [None, "Grüße 1"])
async def test_a_private_key_with_and_without_a_passphrase(make, server, posting, kind, passphrase):
    key = asyncssh.generate_private_key(kind)
    server.root.with_name("host_key.client").write_bytes(key.export_public_key())
    own = {"private_key": key.export_private_key("pkcs8-pem" if passphrase else "openssh", passphrase).decode()}
    named = {"password": None, "private_key": SecretRef(env="X")}
    if passphrase is not None:
        own["passphrase"], named["passphrase"] = passphrase, SecretRef(env="X")
    connector = make(own | {"password": None}, **named)
    assert (await connector.send(posting(connector))).kind is OutcomeKind.ACCEPTED
    other = asyncssh.generate_private_key(kind).export_private_key().decode()
    outcome = await (stranger := make({"private_key": other, "password": None}, **named)).send(posting(stranger, 2))
    assert outcome.kind is OutcomeKind.AUTH
    assert "PRIVATE KEY" not in outcome.detail


@pytest.mark.parametrize("given", ["wrong", None])
async def test_a_wrong_passphrase_is_refused_credentials_and_never_shown(make, posting, given):
    text = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", "right one").decode()
    secrets = {"password": None, "private_key": text, "passphrase": given}
    connector = make(secrets, password=None, private_key=SecretRef(env="X"))
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.AUTH
    assert "passphrase" in outcome.detail
    assert "wrong" not in outcome.detail
    assert text[40:80] not in outcome.detail


async def test_a_key_that_ssh_keygen_encrypted(make, server, posting, tmp_path):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    path = tmp_path / "key"
    made = await asyncio.create_subprocess_exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "Pass 1", "-f", path)
    assert await made.wait() == 0
    server.root.with_name("host_key.client").write_bytes(path.with_name("key.pub").read_bytes())
    secrets = {"password": None, "private_key": path.read_text(), "passphrase": "Pass 1"}
    connector = make(secrets, password=None, private_key=SecretRef(env="X"), passphrase=SecretRef(env="X"))
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome


async def test_a_folder_that_is_missing_is_said(make, server, posting):
    connector = make(confirmations_folder="elsewhere")
    outcome = await connector.send(posting(connector))
    assert (outcome.kind, "is missing" in outcome.detail) == (OutcomeKind.NOT_SENT, True), outcome


def test_without_the_extra_it_is_said_what_to_install(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(ValueError, match=r"pip install 'linegate\[sftp\]'"):
        FileSettings(connector="file", url="sftp://u@h/p", host_key=server.host_key, password=SecretRef(env="X"))
