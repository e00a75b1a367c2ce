"""Who may connect to a simulated OPC UA server, and how: policies, its self-made certificate, users, trusted clients.

Makes keys for a test bench only: the private key lies unencrypted in the folder that ``--pki`` names.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from simulators.control import SimulatorError

if TYPE_CHECKING:
    import argparse

    from asyncua.server.server import Server

#: Word of ``--security`` -> the library's policies.
POLICIES: Final = {
    "none": (ua.SecurityPolicyType.NoSecurity,),
    "sign": (
        ua.SecurityPolicyType.Basic256Sha256_Sign,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
        ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
    ),
    "encrypt": (
        ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
        ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    ),
}
CERTIFICATE_FILE: Final = "own-certificate.der"
KEY_FILE: Final = "own-key.pem"
#: How long a certificate is valid by default; how long ago its validity began (days).
VALID_DAYS: Final = 3650
BEGAN_DAYS: Final = 400
MAX_DAYS: Final = 36_500
KEY_BITS: Final = 2048


class Identity(NamedTuple):
    """A server's certificate (DER) and its private key (PEM); ``path`` is the certificate's file, None in memory."""

    certificate: bytes
    key: bytes
    path: Path | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, 64 hexadecimal digits."""
        return hashlib.sha256(self.certificate).hexdigest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options about security."""
    words = ",".join(POLICIES)
    parser.add_argument("--security", default="none", help=f"what is offered: one or more of {words}, with commas")
    parser.add_argument("--pki", type=Path, metavar="DIR", help="keep the server's certificate here; made if missing")
    parser.add_argument("--certificate-days", type=int, default=VALID_DAYS, metavar="N", help="validity of a new one")
    parser.add_argument("--trust", type=Path, metavar="DIR", help="accept only clients whose certificate is in here")
    parser.add_argument("--user", metavar="NAME", help="demand this user; needs --password-file")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="the user's password, first line")
    parser.add_argument("--user-certificate", type=Path, metavar="FILE", help="demand a user with this certificate")


class Access:
    """What the options say. Raises SimulatorError where they make no sense."""

    def __init__(self, options: argparse.Namespace, *, name: str, application_uri: str) -> None:
        self.words = tuple(options.security.split(","))
        unknown = [word for word in self.words if word not in POLICIES]
        if unknown:
            raise SimulatorError(f"--security: found {unknown[0]!r}, allowed {', '.join(POLICIES)}, joined by commas")
        if (options.user is None) != (options.password_file is None):
            raise SimulatorError("--user and --password-file belong together: give both or neither")
        self.application_uri = application_uri
        self._trust: Path | None = options.trust
        self._user: str | None = options.user
        self._password = b"" if options.password_file is None else _first_line(options.password_file)
        self._user_certificate = None if options.user_certificate is None else _der(options.user_certificate)
        self.identity: Identity | None = None
        if self.words != ("none",):
            self.identity = _identity(options, name=name, application_uri=application_uri)

    def users(self) -> UserManager:
        """The library's question who a user is."""
        return _Users(self._user, self._password, self._user_certificate)

    async def apply(self, server: Server) -> None:
        """Tell the server, before it starts."""
        server.set_security_policy([policy for word in self.words for policy in POLICIES[word]])
        tokens: list[type] = []
        if self._user is not None:
            tokens.append(ua.UserNameIdentityToken)
        if self._user_certificate is not None:
            tokens.append(ua.X509IdentityToken)
        server.set_identity_tokens(tokens or [ua.AnonymousIdentityToken])
        if self.identity is not None:
            await server.load_certificate(self.identity.certificate, "der")
            await server.load_private_key(self.identity.key, format="pem")
        if self._trust is not None:
            server.set_certificate_validator(self._check_client)

    def ready_facts(self) -> dict[str, object]:
        """What the ready line says about it."""
        facts: dict[str, object] = {"security": list(self.words)}
        if self.identity is not None:
            facts["fingerprint"] = self.identity.fingerprint
            if self.identity.path is not None:
                facts["certificate"] = str(self.identity.path)
        return facts

    async def _check_client(self, certificate: x509.Certificate, _description: object) -> None:
        # The folder is read each time: a certificate laid there counts at once.
        assert self._trust is not None, "only set with a folder"
        shown = certificate.public_bytes(serialization.Encoding.DER)
        files = sorted(self._trust.iterdir()) if self._trust.is_dir() else []
        if not any(_der(file) == shown for file in files if file.suffix in {".der", ".pem", ".crt"}):
            raise ServiceError(StatusCodes.BadCertificateUntrusted)


class _Users(UserManager):
    """One user with a password, or with a certificate, or anybody."""

    def __init__(self, name: str | None, password: bytes, certificate: bytes | None) -> None:
        self._name = name
        self._password = password
        self._certificate = certificate

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """The user, None: access denied. The kind of token was checked before."""
        del iserver
        if self._name is None and self._certificate is None:
            return User(role=UserRole.User)
        if username is not None:
            known = username == self._name and hmac.compare_digest((password or "").encode(), self._password)
        else:
            known = self._certificate is not None and certificate == self._certificate
        return User(role=UserRole.User, name=username) if known else None


def _identity(options: argparse.Namespace, *, name: str, application_uri: str) -> Identity:
    if not 1 - BEGAN_DAYS <= options.certificate_days <= MAX_DAYS:
        found = options.certificate_days
        raise SimulatorError(f"--certificate-days: found {found}, allowed {1 - BEGAN_DAYS} to {MAX_DAYS}")
    if options.pki is None:
        certificate, key = _make(name, application_uri, options.host, options.certificate_days)
        return Identity(certificate, key, None)
    certificate_path, key_path = options.pki / CERTIFICATE_FILE, options.pki / KEY_FILE
    if certificate_path.exists() != key_path.exists():
        raise SimulatorError(f"--pki {options.pki}: one of {CERTIFICATE_FILE}, {KEY_FILE} is missing; delete the other")
    try:
        if not key_path.exists():
            certificate, key = _make(name, application_uri, options.host, options.certificate_days)
            options.pki.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key)
            certificate_path.write_bytes(certificate)
        return Identity(certificate_path.read_bytes(), key_path.read_bytes(), certificate_path)
    except OSError as error:
        raise SimulatorError(f"--pki {options.pki}: {error.strerror}; name a folder that can be written") from error


def _make(name: str, application_uri: str, host: str, days: int) -> tuple[bytes, bytes]:
    """A self-signed application instance certificate (OPC 10000-6, 6.2.2) and its key."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Simulated {name}")])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri), x509.DNSName("localhost")]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - a simulator has no clock handed in
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_cert_sign=True, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=BEGAN_DAYS))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.DER), private


def _der(path: Path) -> bytes:
    """A certificate file, DER or PEM, as DER."""
    try:
        content = path.read_bytes()
        kind = x509.load_pem_x509_certificate if content.startswith(b"-----") else x509.load_der_x509_certificate
        return kind(content).public_bytes(serialization.Encoding.DER)
    except OSError as error:
        raise SimulatorError(f"{path}: {error.strerror}; name a certificate file") from error
    except ValueError as error:
        raise SimulatorError(f"{path}: no certificate ({error}); allowed: DER or PEM") from error


def _first_line(path: Path) -> bytes:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"--password-file {path}: {error}; name a text file") from error
    if not lines or not lines[0]:
        raise SimulatorError(f"--password-file {path}: found no password, allowed: one in the first line")
    return lines[0].encode()
