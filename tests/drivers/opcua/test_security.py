"""Secured connections against a real server: pins, policies, users, and everything that is refused."""

import time

import pytest
from asyncua import ua

from drivers.base import DriverError
from drivers.opcua import certificates
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.testing import DriverContract

SHOTS = {"shots": {"node": "nsu=m;s=Shots"}}
ENCRYPTED = {"security": "sign_and_encrypt"}


@pytest.fixture
def trust(tmp_path, secured):
    certificates.pin(tmp_path / certificates.FOLDER, "imm", secured.certificate.der)


@pytest.mark.parametrize(
    "chosen",
    [
        {"security": "sign"},
        {"security": "sign_and_encrypt"},
        {"security": "sign_and_encrypt", "policy": "aes128_sha256_rsaoaep"},
        {"security": "sign_and_encrypt", "policy": "aes256_sha256_rsapss"},
    ],
    ids=lambda chosen: "-".join(chosen.values()),
)
@pytest.mark.usefixtures("trust")
async def test_each_policy_reads_and_uses_what_was_asked_for(secured, drive, next_of, chosen):
    driver = await drive(secured.port, SHOTS, **chosen)
    assert (await next_of(driver.readings(), "shots")).value == 41
    policy = driver._session.client.security_policy
    assert policy.Mode.name.lower() == chosen["security"].replace("_and_", "and")
    assert policy.URI.rpartition("#")[2].lower() == chosen.get("policy", "basic256sha256")
    assert driver._session.client.application_uri == certificates.default_application_uri()
    assert driver.notices() == {}


async def test_without_a_pin_nothing_is_trusted_and_the_command_is_named(secured, drive):
    driver = await drive(secured.port, SHOTS, opened=False, **ENCRYPTED)
    with pytest.raises(
        DriverError,
        match="nobody has trusted this server's certificate yet; run 'linegate opcua trust imm --config FILE'",
    ):
        await driver.open()


async def test_another_certificate_than_the_pinned_one_is_refused_with_both_fingerprints(
    secured, drive, tmp_path, make_certificate
):
    other = make_certificate("other")
    certificates.pin(tmp_path / certificates.FOLDER, "imm", other.der)
    driver = await drive(secured.port, SHOTS, opened=False, **ENCRYPTED)
    with pytest.raises(DriverError) as caught:
        await driver.open()
    assert certificates.fingerprint(other.der) in str(caught.value)
    assert certificates.fingerprint(secured.certificate.der) in str(caught.value)
    assert "linegate opcua trust imm" in str(caught.value)


@pytest.mark.usefixtures("trust")
async def test_what_is_not_offered_is_answered_with_what_is(secured, drive):
    driver = await drive(secured.port, SHOTS, opened=False, security="sign", policy="aes256_sha256_rsapss")
    with pytest.raises(DriverError) as caught:
        await driver.open()
    assert "does not offer security sign with aes256_sha256_rsapss; it offers none (" in str(caught.value)
    assert "sign_and_encrypt with aes256_sha256_rsapss (" in str(caught.value)


async def test_an_open_connection_to_a_server_that_wants_security_says_so(make_server, drive, make_certificate):
    certificate = make_certificate("strict")

    async def prepare(server):
        await server.load_certificate(str(certificate.file))
        await server.load_private_key(str(certificate.key_file))
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_Sign])

    driver = await drive(make_server(prepare=prepare).port, SHOTS, opened=False)
    with pytest.raises(DriverError, match="does not offer security none; it offers sign with basic256sha256"):
        await driver.open()


NAMED = {"name": "gateway", "password": {"file": "unused"}}


@pytest.mark.parametrize("security", ["sign", "sign_and_encrypt"])
@pytest.mark.usefixtures("trust")
async def test_a_user_logs_in_with_its_password(secured, drive, next_of, security):
    driver = await drive(secured.port, SHOTS, security=security, user=NAMED, secrets={"user.password": "s3cret"})
    assert (await next_of(driver.readings(), "shots")).status is Status.GOOD
    assert ("gateway", "s3cret") in secured.users.seen


@pytest.mark.usefixtures("trust")
async def test_a_wrong_password_is_named_but_not_shown(secured, drive):
    driver = await drive(secured.port, SHOTS, opened=False, user=NAMED, secrets={"user.password": "wr0ng"}, **ENCRYPTED)
    with pytest.raises(DriverError, match="refuses the user: check user, its rights, and its secret") as caught:
        await driver.open()
    assert "wr0ng" not in str(caught.value)


@pytest.mark.usefixtures("trust")
async def test_a_user_logs_in_with_a_certificate(secured, drive, next_of, make_certificate, tmp_path):
    person = make_certificate("person", days=20)
    (tmp_path / "person.der").write_bytes(person.der)
    user = {"cert_file": "person.der", "key": {"file": "unused"}}
    driver = await drive(secured.port, SHOTS, user=user, secrets={"user.key": person.pem}, **ENCRYPTED)
    assert (await next_of(driver.readings(), "shots")).status is Status.GOOD
    assert "the user certificate expires on" in driver.notices()["user_certificate"]
    wrong = await drive(
        secured.port, SHOTS, opened=False, user=user, secrets={"user.key": make_certificate("thief").pem}, **ENCRYPTED
    )
    with pytest.raises(DriverError, match="no connection"):
        await wrong.open()


async def test_a_server_without_the_wanted_log_in_says_which_it_has(make_server, drive):
    async def prepare(server):
        server.set_identity_tokens([ua.AnonymousIdentityToken])

    server = make_server(prepare=prepare)
    driver = await drive(server.port, SHOTS, opened=False, user=NAMED, secrets={"user.password": "s3cret"})
    with pytest.raises(DriverError, match="takes no log-in by user name and password; it takes anonymous"):
        await driver.open()


async def test_a_password_is_never_sent_readable_over_a_signed_connection(secured, drive, trust, monkeypatch):
    """The server says that passwords need no encryption; only a manipulated or a careless one does."""
    driver = await drive(
        secured.port, SHOTS, opened=False, security="sign", user=NAMED, secrets={"user.password": "s3"}
    )
    client = driver._session.client
    original = client.create_session

    async def careless():
        result = await original()
        for policy in client._policy_ids:
            policy.SecurityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#None"
        return result

    monkeypatch.setattr(client, "create_session", careless)
    secured.users.seen.clear()
    with pytest.raises(DriverError, match="wants the password readable; set security: sign_and_encrypt"):
        await driver.open()
    assert ("gateway", "s3") not in secured.users.seen


async def test_certificates_that_end_are_noticed_and_those_that_ended_stand_in_the_error(
    make_server, drive, make_certificate, tmp_path
):
    certificate = make_certificate("ending", days=12)

    async def prepare(server):
        await server.load_certificate(str(certificate.file))
        await server.load_private_key(str(certificate.key_file))
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])

    server = make_server(prepare=prepare)
    certificates.pin(tmp_path / certificates.FOLDER, "imm", certificate.der)
    driver = await drive(server.port, {"started": {"node": "i=2257"}}, **ENCRYPTED)
    assert "the server certificate expires on" in driver.notices()["server_certificate"]
    later_ns = time.time_ns() + Duration("13 d")
    driver._session._now_ns = lambda: later_ns
    assert "the server certificate expired on" in driver.notices()["server_certificate"]
    assert "the server certificate expired on" in await driver._session._why(TimeoutError())


@pytest.mark.parametrize("days", [-5, 4000], ids=["before", "long after"])
@pytest.mark.usefixtures("trust")
async def test_a_wrong_clock_of_the_computer_does_not_block(secured, drive, next_of, days):
    driver = await drive(secured.port, SHOTS, opened=False, **ENCRYPTED)
    driver._session._now_ns = lambda: time.time_ns() + days * Duration("1 d") if days > 0 else Duration("100 d")
    await driver.open()
    assert (await next_of(driver.readings(), "shots")).value == 41
    assert "server_certificate" in driver.notices()


class SecuredRig:
    expected = {"imm.shots": 41}  # noqa: RUF012 - read only

    def __init__(self, proxy, drive_args):
        self._proxy = proxy
        self._make = drive_args

    def make(self):
        return self._make(self._proxy.port or 1)

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        await self._proxy.start()

    async def stop_device(self):
        await self._proxy.cut()


class TestSecuredContract(DriverContract):
    @pytest.fixture
    async def rig(self, secured, proxy, context, tmp_path, trust, configured):
        proxy.target = secured.port
        return SecuredRig(proxy, lambda port: configured(port, SHOTS, **ENCRYPTED))
