"""A certificate that is renewed under a server: each half of it on the way changes nothing for who connects."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.api_settings import ApiTlsSettings
from gateway.api import certificate as certificates
from gateway.api.certificate import Certificate

NOW_NS = 1_780_000_000 * 10**9
TLS = ApiTlsSettings(cert_file="api.pem", key_file="api.key")


def pair(serial):
    """Certificate and key as texts, for a year from NOW_NS."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box-1")])
    now = dt.datetime.fromtimestamp(NOW_NS // 10**9, dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(serial).not_valid_before(now).not_valid_after(now + dt.timedelta(days=365))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(*plain)


def shown(context):
    """The serial number of the certificate that a client is shown; it says no name."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ends = [ssl.MemoryBIO() for _ in range(4)]
    ours, theirs = client.wrap_bio(ends[0], ends[1]), context.wrap_bio(ends[2], ends[3], server_side=True)
    for _ in range(6):
        for one, sent, to in ((ours, ends[1], ends[2]), (theirs, ends[3], ends[0])):
            with contextlib.suppress(ssl.SSLWantReadError):
                one.do_handshake()
            to.write(sent.read())
    return x509.load_der_x509_certificate(ours.getpeercert(binary_form=True)).serial_number


@pytest.fixture
def folder(tmp_path):
    for file, text in zip(("api.pem", "api.key"), pair(1), strict=True):
        (tmp_path / file).write_bytes(text)
    return tmp_path


async def test_a_pair_that_is_written_piece_by_piece_is_taken_once_it_is_whole(folder):
    own = Certificate(folder, TLS)
    assert (shown(own.context), await own.look(NOW_NS)) == (1, "")
    cert, key = pair(2)
    for file, text in (("api.pem", b""), ("api.pem", cert[:99]), ("api.pem", cert), ("api.key", key[:99])):
        (folder / file).write_bytes(text)
        assert "the one before is used" in await own.look(NOW_NS), (file, text)
        assert shown(own.context) == 1, (file, text)
    (folder / "api.key").write_bytes(key)
    assert (await own.look(NOW_NS), shown(own.context)) == ("", 2)
    (folder / "api.key").unlink()
    assert "put it back" in await own.look(NOW_NS)
    assert shown(own.context) == 2


async def test_a_pair_that_changes_while_it_is_taken_reaches_nobody_by_halves(folder, monkeypatch):
    own, (cert, key), opened = Certificate(folder, TLS), pair(2), certificates.tls_context
    (folder / "api.pem").write_bytes(cert)
    (folder / "api.key").write_bytes(key)

    def then_half_of_a_third(base_dir, tls):
        made = opened(base_dir, tls)
        (folder / "api.pem").write_bytes(pair(3)[0])
        later_ns = (folder / "api.key").stat().st_mtime_ns + 10**9  # some file systems' clocks are slower than this is
        os.utime(folder / "api.pem", ns=(later_ns, later_ns))
        return made

    monkeypatch.setattr(certificates, "tls_context", then_half_of_a_third)
    await own.look(NOW_NS)
    assert shown(own.context) == 2
    monkeypatch.setattr(certificates, "tls_context", opened)
    assert "the one before is used" in await own.look(NOW_NS), "it is looked at again"
    assert shown(own.context) == 2
