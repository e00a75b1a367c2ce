"""The certificate and the key by which the API proves itself, opened as the server will. Serves nothing."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from config.api_settings import ApiTlsSettings


class CertificateError(Exception):
    """Certificate or key cannot be used; says why and what to do."""


def tls_context(base_dir: Path, tls: ApiTlsSettings) -> ssl.SSLContext:
    """What the server shows itself with; both files relative to ``base_dir``. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A passphrase would be asked for at a terminal that a daemon has not.
        context.load_cert_chain(base_dir / tls.cert_file, base_dir / tls.key_file, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"api.tls: certificate or key cannot be used: {error}; check both files: {tls.cert_file}, {tls.key_file}"
        ) from error
    return context
