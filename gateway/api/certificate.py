"""The certificate and the key by which the API proves itself, opened as the server will; a changed pair is taken anew.

A renewed pair is used from the next connection on, without a restart; one that cannot be used changes nothing. Serves
nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import structlog

from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from config.api_settings import ApiTlsSettings

LOOK_EVERY_S: Final = 2.0
#: So long before its end a certificate is warned of.
ENDS_SOON_NS: Final = 14 * NS_PER_UNIT["d"]
#: Under which a status shows what is wrong; no machine can have this name.
TROUBLE: Final = "api certificate"

log = structlog.get_logger(__name__)


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


class Certificate:
    """The pair of one run. ``context`` is the server's, and stays the same. Raises CertificateError.

    A renewed pair is a context of its own, to which each new connection is handed: what cannot be used never reaches
    the server, even where the files change while they are read.
    """

    def __init__(self, base_dir: Path, tls: ApiTlsSettings) -> None:
        self._base_dir = base_dir
        self._tls = tls
        self._seen = self._stamps()
        self._ends_at_ns: int | None = None  # not read yet
        self.context = self._current = tls_context(base_dir, tls)
        self.context.sni_callback = self._hand_over

    async def run(self, trouble: Callable[[str, str], None], utc_now_ns: Callable[[], int]) -> None:
        """Look again and again, for ever. ``trouble`` hears what is wrong, and "" once nothing is."""
        said = ""
        while True:
            text = await self.look(utc_now_ns())
            if text != said:
                said = text
                trouble(TROUBLE, text)
                if text:
                    log.warning(
                        "api certificate", code="NOT_TAKEN" if text.startswith("api.tls") else "ENDS", reason=text
                    )
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, utc_now_ns: int) -> str:
        """Take a pair that was changed; what is wrong with the one there is, "" where nothing is."""
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._current = await asyncio.to_thread(tls_context, self._base_dir, self._tls)
                self._seen, self._ends_at_ns = stamps, None
                log.info("api certificate renewed", file=self._tls.cert_file)
            if self._ends_at_ns is None:
                self._ends_at_ns = await asyncio.to_thread(self._ends_ns)
            ends_ns = self._ends_at_ns
        except CertificateError as error:
            return f"{error}; the one before is used"
        if ends_ns - utc_now_ns > ENDS_SOON_NS:
            return ""
        ended = "ended" if ends_ns <= utc_now_ns else "ends"
        return f"{self._tls.cert_file} {ended} {utc(ends_ns)}; put a new one in its place, no restart is needed"

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called at the start of each connection, whether or not it says a name."""
        connection.context = self._current

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [(self._base_dir / name).stat() for name in (self._tls.cert_file, self._tls.key_file)]
        except OSError as error:
            raise CertificateError(f"api.tls: {error.filename}: {error.strerror}; put it back") from error
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _ends_ns(self) -> int:
        from cryptography.x509 import load_pem_x509_certificate

        try:
            found = load_pem_x509_certificate((self._base_dir / self._tls.cert_file).read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateError(f"api.tls: {self._tls.cert_file}: {error}") from error
        return int(found.not_valid_after_utc.timestamp()) * NS_PER_S
