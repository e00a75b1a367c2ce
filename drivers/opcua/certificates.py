"""Certificates of OPC UA: the gateway's own, made once and kept, and the servers' that a person has trusted.

Knows files and X.509, no protocol. Nothing here is ever trusted, replaced or deleted without being asked to.
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.base import DriverError
from gateway.core.duration import NS_PER_S, Duration

#: Below the state directory.
FOLDER: Final = "opcua"
#: All policies allow 2048 to 4096 bits; a small computer and a small PLC are slow with more.
KEY_BITS: Final = 2048
#: A certificate that runs out stops a line in the middle of a shift, so ours lasts as long as the machine.
VALID_YEARS: Final = 20
#: A computer without a battery may believe that it is 1970: our certificate is valid at least from and to here.
VALID_FROM_AT_LATEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
VALID_TO_COUNTED_FROM_AT_LEAST: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: A person gets this long to replace a certificate.
WARN_BEFORE_NS: Final = Duration("30 d")
CERTIFICATE_BYTES_MAX: Final = 64 * 1024
#: RFC 5280 allows no longer common name.
COMMON_NAME_MAX: Final = 64
OWNER_ONLY: Final = 0o600

_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The gateway's certificate with its key.

    Attributes:
        certificate_file: in DER form, to be put on the servers' trust lists.
        key_file: the private key, PEM, readable by its owner only.
        der: the certificate.
        key: the private key.
        application_uri: how the certificate names the gateway; what it says to a server must be the same.
    """

    certificate_file: Path
    key_file: Path
    der: bytes
    key: Any
    application_uri: str


def default_application_uri() -> str:
    """The name of a gateway that has no certificate yet."""
    return f"urn:linegate:{socket.gethostname()}"


def own(folder: Path, now_ns: int) -> OwnCertificate:
    """The gateway's certificate; made if neither it nor its key is there. Takes a while then: not in the event loop.

    Raises DriverError where a file is missing, unreadable or does not fit its key: nothing is replaced.
    """
    certificate_file, key_file = folder / "own" / "certificate.der", folder / "own" / "key.pem"
    with _making:
        try:
            if not key_file.exists() and not certificate_file.exists():
                _make_key(key_file)
            if key_file.exists() and not certificate_file.exists():
                _make_certificate(certificate_file, _load_key(key_file), now_ns)
            key, der = _load_key(key_file), certificate_file.read_bytes()
        except (OSError, ValueError, TypeError) as error:
            raise DriverError(
                f"the gateway's own OPC UA certificate in {folder / 'own'} cannot be used: {error}; check owner and "
                f"mode, restore it from a backup, or move the folder away to get a new one (which every server must "
                f"then trust)"
            ) from error
    certificate = load(der)
    if certificate.public_key() != key.public_key():
        raise DriverError(
            f"{certificate_file} does not belong to {key_file}; restore both from one backup, or move both away to "
            f"get new ones (which every server must then trust)"
        )
    uris = _uris(certificate)
    return OwnCertificate(certificate_file, key_file, der, key, uris[0] if uris else default_application_uri())


def existing_application_uri(folder: Path) -> str:
    """How the gateway names itself, without making a certificate."""
    try:
        uris = _uris(x509.load_der_x509_certificate((folder / "own" / "certificate.der").read_bytes()))
    except (OSError, ValueError):
        uris = []
    return uris[0] if uris else default_application_uri()


def pin_file(folder: Path, source: str) -> Path:
    """Where the trusted certificate of a source's server is."""
    return folder / "trusted" / f"{source}.der"


def pinned(folder: Path, source: str) -> bytes | None:
    """The certificate that a person trusted for this source; None if nobody did. Raises DriverError."""
    file = pin_file(folder, source)
    try:
        der = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DriverError(f"{file} cannot be read: {error.strerror}; check its owner") from error
    load(der)
    return der


def pin(folder: Path, source: str, der: bytes) -> Path:
    """Keep a server's certificate as the trusted one of this source; replaces a former one. Raises OSError."""
    file = pin_file(folder, source)
    _make_folder(file.parent)
    _write(file, der, 0o644)
    return file


def load(der: bytes) -> x509.Certificate:
    """A certificate from DER; of a chain the first. Raises DriverError."""
    try:
        return x509.load_der_x509_certificate(first_of_chain(der))
    except ValueError as error:
        raise DriverError(f"a certificate of {len(der)} bytes cannot be read: {error}") from error


def load_file(file: Path) -> tuple[x509.Certificate, bytes]:
    """A certificate from a PEM or DER file, and its DER. Raises DriverError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(CERTIFICATE_BYTES_MAX)
        in_text = b"-----BEGIN" in content
        found = x509.load_pem_x509_certificate(content) if in_text else x509.load_der_x509_certificate(content)
    except (OSError, ValueError) as error:
        raise DriverError(f"{file}: the certificate cannot be read: {error}; check path and owner") from error
    return found, found.public_bytes(serialization.Encoding.DER)


def first_of_chain(der: bytes) -> bytes:
    """The server's own certificate, where it sends those of its issuers along."""
    if len(der) < 4 or der[0] != 0x30 or der[1] != 0x82:  # noqa: PLR2004 - the head of a DER sequence, 4 bytes
        return der
    return der[: int.from_bytes(der[2:4], "big") + 4]


def fingerprint(der: bytes) -> str:
    """SHA-256 of the certificate, as server interfaces show it: AB:CD:..."""
    return _colons(load(der).fingerprint(hashes.SHA256()))


def thumbprint(der: bytes) -> str:
    """SHA-1 of the certificate: the name that OPC UA servers file it under; no security rests on it."""
    return _colons(load(der).fingerprint(hashes.SHA1()))  # noqa: S303 - a file name by OPC 10000-6, no signature


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are equal, whatever their colons, spaces and case."""
    return _bare(one) == _bare(other)


def facts(der: bytes) -> dict[str, str]:
    """What a person compares before trusting: subject, issuer, names, validity, fingerprints."""
    certificate = load(der)
    issuer = certificate.issuer.rfc4514_string()
    subject = certificate.subject.rfc4514_string()
    return {
        "subject": subject,
        "issuer": "itself (self-signed)" if issuer == subject else issuer,
        "application_uri": ", ".join(_uris(certificate)),
        "valid_from": _iso(certificate.not_valid_before_utc),
        "valid_to": _iso(certificate.not_valid_after_utc),
        "sha256": fingerprint(der),
        "sha1": thumbprint(der),
    }


def validity_notice(what: str, der: bytes, now_ns: int) -> str | None:
    """A sentence from 30 days before a certificate ends, after it, and before it begins; else None."""
    certificate = load(der)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    if now >= end:
        return f"{what} expired on {_iso(end)}; replace it"
    if now < begin:
        return f"{what} is valid from {_iso(begin)} only, and the clock shows {_iso(now)}; check the clock"
    left_ns = (end - now) // timedelta(seconds=1) * NS_PER_S
    if left_ns <= WARN_BEFORE_NS:
        return f"{what} expires on {_iso(end)}, in {left_ns // Duration('1 d')} days; replace it"
    return None


def _make_key(file: Path) -> None:
    _make_folder(file.parent)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(file, pem, OWNER_ONLY)


def _make_certificate(file: Path, key: Any, now_ns: int) -> None:
    host = socket.gethostname()
    now = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"linegate@{host}"[:COMMON_NAME_MAX])])
    names = [x509.UniformResourceIdentifier(default_application_uri()), x509.DNSName(host)]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,  # a self-signed certificate is its own issuer (OPC 10000-6, 6.2.2)
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now - timedelta(days=1), VALID_FROM_AT_LATEST))
        .not_valid_after(max(now, VALID_TO_COUNTED_FROM_AT_LEAST) + timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(file, certificate.public_bytes(serialization.Encoding.DER), 0o644)


def _load_key(file: Path) -> Any:
    return serialization.load_pem_private_key(file.read_bytes(), password=None)


def _make_folder(folder: Path) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _give_to_owner_of(made.parent if made is missing[-1] else missing[-1].parent, made)


def _write(file: Path, content: bytes, mode: int) -> None:
    """All or nothing, also through a power cut."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:  # noqa: PTH123 - mode
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    _give_to_owner_of(file.parent, draft)
    draft.replace(file)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """The superuser's commands must not leave files that the daemon cannot read."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.chown(path, status.st_uid, status.st_gid)


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _colons(digest: bytes) -> str:
    return digest.hex(":").upper()


def _bare(text: str) -> str:
    return "".join(character for character in text.upper() if character not in ": \t")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(pem: str, what: str) -> Any:
    """A private key from PEM text. Raises DriverError, without the text."""
    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise DriverError(f"{what}: not a private key as PEM text without a password; convert it") from None
