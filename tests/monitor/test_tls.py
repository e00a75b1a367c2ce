import datetime as dt
import gc
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for an address, and a context that trusts it."""

    def make(address):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
        start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=36500))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        certificate_file, key_file = tmp_path / "broker.crt", tmp_path / "broker.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        lines = ("allow_anonymous true", f"certfile {certificate_file}", f"keyfile {key_file}")
        return lines, ssl.create_default_context(cafile=str(certificate_file))

    return make


async def test_tls_with_a_trusted_certificate(certificate, mosquitto, watch, monitor_on, until):
    lines, context = certificate("127.0.0.1")
    broker = mosquitto(*lines)
    monitor = monitor_on(broker.port, tls=context)
    await until(lambda: monitor.view().connected)
    watcher = watch(broker.port, context=context)
    await until(lambda: watcher.last("linegate/gw/state"))


async def test_tls_for_another_address_is_refused(certificate, mosquitto, monitor_on, until):
    lines, context = certificate("127.0.0.2")
    broker = mosquitto(*lines)
    monitor = monitor_on(broker.port, tls=context)
    await until(lambda: "cannot be reached" in monitor.view().last_error)
    assert "CERTIFICATE_VERIFY_FAILED" in monitor.view().last_error
    gc.collect()  # a socket left open would be an error here


async def test_plain_tcp_where_the_broker_wants_tls(certificate, mosquitto, monitor_on, until):
    lines, _context = certificate("127.0.0.1")
    broker = mosquitto(*lines)
    monitor = monitor_on(broker.port)
    await until(lambda: "did not answer" in monitor.view().last_error)
    assert not monitor.view().connected
