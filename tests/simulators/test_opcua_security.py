"""Secured endpoints of the OPC UA machines: policies, certificate, users, trusted clients."""

import datetime as dt
import hashlib
import shutil
import stat
import subprocess
import sys
import time

import pytest
import warm
from asyncua import Client, ua
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.uaerrors import BadCertificateUntrusted, BadIdentityTokenRejected, BadUserAccessDenied, UaError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

POLICIES = (SecurityPolicyBasic256Sha256, SecurityPolicyAes128Sha256RsaOaep, SecurityPolicyAes256Sha256RsaPss)
MODES = (ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Certificate and key files of two clients."""
    made = {}
    for name in ("known", "stranger"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
        )  # fmt: skip
        folder = tmp_path_factory.mktemp(name)
        (folder / "own.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        (folder / "own.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made[name] = (folder / "own.der", folder / "own.pem")
    return made


@pytest.fixture(scope="module")
def secured(long_simulator, tmp_path_factory):
    pki = tmp_path_factory.mktemp("server") / "pki"
    one = long_simulator("fil-02", "--security", "sign,encrypt", "--pki", pki)
    one.pki = pki
    return one


async def secure(simulator, policy, mode, files):
    client = Client(simulator.ready["endpoint"], timeout=30)
    await client.set_security(policy, *files, mode=mode)
    return client


async def works(client):
    async with client:
        return await client.get_node("i=2259").read_value() == 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", MODES)
async def test_every_policy_in_both_modes(secured, keys, policy, mode):
    assert await works(await secure(secured, policy, mode, keys["known"]))


async def test_what_is_offered_is_what_was_asked_for(secured):
    offered = await Client(secured.ready["endpoint"], timeout=30).connect_and_get_server_endpoints()
    assert {(one.SecurityPolicyUri, one.SecurityMode) for one in offered} == {
        (policy.URI, mode) for policy in POLICIES for mode in MODES
    }
    assert secured.ready["security"] == ["sign", "encrypt"]
    with pytest.raises(UaError):
        await Client(secured.ready["endpoint"], timeout=30).connect()


async def test_the_ready_line_names_the_certificate_that_the_server_shows(secured):
    (shown,) = {
        one.ServerCertificate
        for one in await Client(secured.ready["endpoint"], timeout=30).connect_and_get_server_endpoints()
    }
    assert hashlib.sha256(shown).hexdigest() == secured.ready["fingerprint"]
    assert (secured.pki / "own-certificate.der").read_bytes() == shown
    assert secured.ready["certificate"] == str(secured.pki / "own-certificate.der")
    names = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:simulators:fil-02"]
    mode = (secured.pki / "own-key.pem").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_a_kept_certificate_is_used_again_and_a_new_one_can_be_about_to_expire(secured, simulator, tmp_path):
    again = simulator("imm-01", "--security", "encrypt", "--pki", secured.pki)
    assert again.ready["fingerprint"] == secured.ready["fingerprint"]
    other = simulator("imm-01", "--security", "none,encrypt", "--certificate-days", -3, "--pki", tmp_path)
    ends = x509.load_der_x509_certificate((tmp_path / "own-certificate.der").read_bytes()).not_valid_after_utc
    assert dt.timedelta(days=2.9) < dt.datetime.fromtimestamp(time.time(), dt.UTC) - ends < dt.timedelta(days=3.1)
    assert other.ready["fingerprint"] != secured.ready["fingerprint"]
    assert await works(Client(other.ready["endpoint"], timeout=30))


async def test_only_trusted_clients_when_there_is_a_folder_and_at_once(simulator, keys, tmp_path):
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    one = simulator("imm-01", "--security", "encrypt", "--trust", trusted)
    assert "certificate" not in one.ready  # made in memory
    policy, mode = SecurityPolicyBasic256Sha256, ua.MessageSecurityMode.SignAndEncrypt
    with pytest.raises(BadCertificateUntrusted):
        await works(await secure(one, policy, mode, keys["known"]))
    shutil.copy(keys["known"][0], trusted / "known.der")
    assert await works(await secure(one, policy, mode, keys["known"]))
    with pytest.raises(BadCertificateUntrusted):
        await works(await secure(one, policy, mode, keys["stranger"]))


async def test_a_user_with_a_password(simulator, keys, tmp_path):
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    one = simulator(
        "imm-01", "--security", "none,sign,encrypt", "--user", "line", "--password-file", password,
    )  # fmt: skip

    async def client(name, text, *, plain=False):
        if plain:
            made = Client(one.ready["endpoint"], timeout=30)
        else:
            made = await secure(one, SecurityPolicyBasic256Sha256, MODES[0], keys["known"])
        made.set_user(name)
        made.set_password(text)
        return made

    assert await works(await client("line", "s3cret"))
    assert await works(await client("line", "s3cret", plain=True))
    for name, text in (("line", "secret"), ("other", "s3cret"), ("admin", "")):
        with pytest.raises(BadUserAccessDenied):
            await works(await client(name, text))
    with pytest.raises((BadIdentityTokenRejected, UaError)):
        await works(Client(one.ready["endpoint"], timeout=30))


async def test_a_user_with_a_certificate(simulator, keys):
    one = simulator("imm-01", "--security", "encrypt", "--user-certificate", keys["known"][0])
    for name in ("known", "stranger"):
        client = await secure(one, SecurityPolicyBasic256Sha256, MODES[1], keys["stranger"])
        await client.load_client_certificate(str(keys[name][0]))
        await client.load_private_key(str(keys[name][1]))
        if name == "known":
            assert await works(client)
        else:
            with pytest.raises(BadUserAccessDenied):
                await works(client)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--security", "tls"], "--security: found 'tls', allowed none, sign, encrypt, joined by commas"),
        (["--user", "line"], "--user and --password-file belong together"),
        (["--user", "line", "--password-file", "none"], "--password-file none: "),
        (["--user-certificate", "none"], "none: No such file"),
        (["--security", "sign", "--pki", "half"], "--pki half: one of own-certificate.der, own-key.pem is missing"),
        (["--security", "sign", "--certificate-days", "-400"], "--certificate-days: found -400, allowed -399 to 36500"),
    ],
)
def test_wrong_options_are_said_in_plain_words(tmp_path, options, said):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "own-key.pem").write_text("x")
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", "imm-01", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"imm-01: {said}")
    assert done.stderr.count("\n") == 1
