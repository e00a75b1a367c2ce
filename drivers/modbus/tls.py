"""The TLS context of a Modbus connection. Opens no connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from drivers.base import DriverError

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.modbus.endpoint import ModbusTlsSettings

NO_HANDSHAKE: Final = "the device ended it in the TLS handshake; does it speak TLS on this port?"
HUNG_UP: Final = (
    "the device ended it without an answer; does it want a certificate of this gateway (tls: cert_file), or refuse it?"
)


def context_of(settings: ModbusTlsSettings, base_dir: Path, where: str) -> ssl.SSLContext:
    """Verifies the device's certificate and its name; TLS 1.2 or newer. Relative paths start at ``base_dir``.

    Raises DriverError for files of no use.
    """
    try:
        ca_file = None if settings.ca_file is None else base_dir / settings.ca_file
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise DriverError(
            f"{where}: tls: ca_file: {settings.ca_file} cannot be used ({_reason(error)}); allowed: certificates in PEM"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None and settings.key_file is not None:
        try:
            # An empty password: an encrypted key must not make the daemon ask on a terminal.
            context.load_cert_chain(base_dir / settings.cert_file, base_dir / settings.key_file, lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise DriverError(
                f"{where}: tls: cert_file {settings.cert_file} and key_file {settings.key_file} cannot be used "
                f"({_reason(error)}); allowed: a certificate and its key in PEM, the key without a password"
            ) from error
    return context


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, in words that say what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is refused: {error.verify_message}; name the authority that signed it in tls: ca_file, "
            f"or the name it is made out to in tls: server_name"
        )
    return (
        f"no TLS ({_reason(error)}); does it speak TLS 1.2 or newer on this port, and does it want a certificate of "
        f"this gateway (tls: cert_file)?"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
