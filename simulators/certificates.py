"""Certificates for trying TLS: an authority of our own, one certificate for the server and one for the client.

For tests and demonstrations only: the keys lie beside the certificates, without a password.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from simulators.control import SimulatorError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName, Name

VALID: Final = dt.timedelta(days=3650)
#: Clocks beside a line are not always right.
BACKDATED: Final = dt.timedelta(days=1)
KEY_MODE: Final = 0o600


class Certificates(NamedTuple):
    """Where everything lies, as PEM."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def paths(folder: Path) -> Certificates:
    """The names of the files in a folder."""
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in names))


def make_certificates(folder: Path, host: str) -> Certificates:
    """Make what is not there yet; the server's is for ``host``, localhost and the loopback addresses.

    Raises SimulatorError if the folder cannot be written.
    """
    found = paths(folder)
    if all(path.exists() for path in found):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(found, host)
    except OSError as error:
        text = f"--make-certificates {folder}: {error.strerror}; name a folder that can be written"
        raise SimulatorError(text) from error
    return found


def _make(found: Certificates, host: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    authority = _certificate("simulators test authority", keys[0], "simulators test authority", keys[0], hosts=None)
    _write(found.ca, authority, None, None)
    for name, key, hosts, where in (
        ("simulator", keys[1], {"localhost", "127.0.0.1", "::1", host}, (found.server_cert, found.server_key)),
        ("gateway", keys[2], set(), (found.client_cert, found.client_key)),
    ):
        _write(where[0], _certificate(name, key, "simulators test authority", keys[0], hosts=hosts), where[1], key)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: EllipticCurvePrivateKey,
    *,
    hosts: set[str] | None,
) -> Certificate:
    """``hosts`` None: an authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = dt.datetime.now(tz=dt.UTC)  # noqa: TID251 - simulators live by the wall clock
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if hosts:
        names = [_general_name(host) for host in sorted(hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(where: Path, certificate: Certificate, key_path: Path | None, key: EllipticCurvePrivateKey | None) -> None:
    from cryptography.hazmat.primitives import serialization

    where.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    if key_path is not None and key is not None:
        key_path.touch(mode=KEY_MODE)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
