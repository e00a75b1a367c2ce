"""Real asyncua servers, each in a thread with its own loop; the two common ones are made once for all tests."""

import asyncio
import contextlib
import gc
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter

from drivers.opcua import PLUGIN

URI = "http://linegate.test/machine"
#: For a call in a server's thread; making one is seconds of a processor, and much longer where others want it, too.
CALL_S = 200.0


class ServerThread:
    """An OPC UA server with the namespace of the machine; ``others`` are registered before it."""

    def __init__(self, others=(), prepare=None):
        self.port = 0
        self.nodes = {}
        self._others = others
        self._prepare = prepare
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self):
        self._thread.start()
        self.call(self._start())

    def stop(self):
        self.call(self._server.stop())
        self.call(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_S)

    def add(self, name, value, kind=None, datatype=None, parent=None):
        async def add():
            if name in self.nodes:  # tests of one module may run in two parts, and the server outlives both
                await self.nodes[name].write_value(value, kind)
                return
            folder = self.nodes[parent] if parent else self._server.nodes.objects
            browse_name = ua.QualifiedName(name.rpartition(".")[2], self.index)
            self.nodes[name] = await folder.add_variable(
                ua.NodeId(name, self.index), browse_name, value, varianttype=kind, datatype=datatype
            )

        self.call(add())

    def add_object(self, name, parent=None):
        async def add():
            folder = self.nodes[parent] if parent else self._server.nodes.objects
            browse_name = ua.QualifiedName(name.rpartition(".")[2], self.index)
            self.nodes[name] = await folder.add_object(ua.NodeId(name, self.index), browse_name)

        self.call(add())

    def remove(self, name):
        self.call(self._server.delete_nodes([self.nodes.pop(name)]))

    def read(self, name):
        return self.call(self.nodes[name].read_value())

    def write(self, name, value, kind=None, status=None, source_time=None, server_time=None):
        async def write():
            variant = None if value is None else ua.Variant(value, kind)
            code = ua.StatusCode(status) if status is not None else ua.StatusCode(0)
            await self.nodes[name].write_value(ua.DataValue(variant, code, source_time, server_time))

        self.call(write())

    async def _start(self):
        self._server = Server()
        gc.disable()  # it would look again and again at the thousands of nodes of the standard, which all live on
        try:
            await self._server.init()
        finally:
            gc.enable()
        self._server.set_endpoint("opc.tcp://127.0.0.1:0/")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if self._prepare is not None:
            await self._prepare(self._server)
        for uri in self._others:
            await self._server.register_namespace(uri)
        self.index = await self._server.register_namespace(URI)
        await self._server.start()
        self.port = self._server.bserver._server.sockets[0].getsockname()[1]

    async def _settle(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="session")
def server():
    server = ServerThread()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_server():
    """Make further servers; each costs more than a second."""
    made = []

    def make(others=(), prepare=None):
        server = ServerThread(others, prepare)
        server.start()
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def server_with_other_index(make_server):
    return make_server(others=("http://linegate.test/came-first",))


class ServerCertificate:
    """A self-signed certificate of a server, with its key, in files."""

    def __init__(self, folder, name, days=365):
        self.uri = f"urn:linegate.test:{name}"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)  # noqa: TID251 - a certificate is about the real time
        names = [x509.UniformResourceIdentifier(self.uri), x509.DNSName("localhost")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.file, self.key_file = folder / f"{name}.der", folder / f"{name}.pem"
        self.file.write_bytes(self.der)
        self.key_file.write_text(self.pem)


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory):
    def make(name, days=365):
        return ServerCertificate(tmp_path_factory.mktemp("certificate"), name, days)

    return make


class Users:
    """Takes one name with one password, one certificate, and anybody."""

    def __init__(self):
        self.certificate = None
        self.seen = []

    def get_user(self, _server, username=None, password=None, certificate=None):
        self.seen.append((username, password))
        user = User(role=UserRole.User)
        if username is not None:
            return user if (username, password) == ("gateway", "s3cret") else None
        if certificate is not None and self.certificate is not None and certificate != self.certificate:
            return user  # the application's certificate of an anonymous log-in
        return user


@pytest.fixture(scope="session")
def secured(make_certificate):
    """A server with all policies, users, and its certificate as ``certificate``."""
    certificate, users = make_certificate("secured"), Users()

    async def prepare(server):
        await server.set_application_uri(certificate.uri)
        await server.load_certificate(str(certificate.file))
        await server.load_private_key(str(certificate.key_file))
        server.set_security_policy(
            [
                ua.SecurityPolicyType.NoSecurity,
                ua.SecurityPolicyType.Basic256Sha256_Sign,
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
            ]
        )
        server.iserver.user_manager = users

    server = ServerThread(prepare=prepare)
    server.start()
    server.certificate, server.users = certificate, users
    server.add("Shots", 41, ua.VariantType.UInt32)
    yield server
    server.stop()


@pytest.fixture
def configured(context, tmp_path):
    """Make a driver for signals as the configuration writes them; it is not opened."""

    def make(port, signals, *, rules=None, telemetry=(), secrets=None, **changes):
        settings = TypeAdapter(PLUGIN.settings).validate_python(
            {
                "driver": "opcua",
                "endpoint": f"opc.tcp://127.0.0.1:{port}",
                "security": "none",
                "publish": "50 ms",
                "timeout": "10 s",
                "namespaces": {"m": URI},
                "signals": signals,
                **changes,
            }
        )
        rules = set(settings.parts()) - set(telemetry) if rules is None else rules
        wanted = replace(context("imm", rules, telemetry, tmp_path), base_dir=tmp_path, secrets=secrets or {})
        return PLUGIN.build(settings, wanted)

    return make


@pytest.fixture
async def drive(configured):
    """Make and open a driver; closed at the end."""
    made = []

    async def make(port, signals, *, opened=True, **options):
        driver = configured(port, signals, **options)
        made.append(driver)
        if opened:
            await driver.open()
        return driver

    yield make
    for driver in made:
        await driver.close()


@pytest.fixture
def next_of():
    """The next sample of a signal that is accepted."""

    async def sample(readings, signal, accept=lambda _sample: True):
        async with asyncio.timeout(60):
            async for reading in readings:
                for found in reading.values:
                    if found.signal == f"imm.{signal}" and accept(found):
                        return found
        return None

    return sample


@pytest.fixture
def first_values():
    """The first value of each signal."""

    async def collect(readings, *signals):
        found = {}
        async with asyncio.timeout(60):
            while not {f"imm.{name}" for name in signals} <= set(found):
                for sample in (await anext(readings)).values:
                    found.setdefault(sample.signal, sample)
        return {name: found[f"imm.{name}"].value for name in signals}

    return collect
