"""The file connector: orders from files, confirmations as files, in a folder, on a share or on a server with SFTP.

A share that hangs holds up nothing but its own calls. What the files say is others' business, and so is how they change
hands (``inbound``, ``outbound``).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from gateway.connectors.base import (
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    MappingError,
    OrderPage,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.connectors.file import acknowledgement as csv_answer
from gateway.connectors.file import confirmation as written
from gateway.connectors.file import notice_file
from gateway.connectors.file.folder import LocalPlace
from gateway.connectors.file.inbound import Inbound, day_of
from gateway.connectors.file.outbound import Outbound
from gateway.connectors.file.place import FolderError
from gateway.connectors.file.share_thread import ShareThread
from gateway.connectors.file.sweeping import Sweep
from gateway.connectors.file.xml_out import read_template
from gateway.core.foreign_text import clean
from gateway.core.orders.erp_notice import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.file.place import Place
    from gateway.connectors.file.settings import FileSettings

#: A connection whose server does not answer is left alone after so long, in seconds.
CLOSE_MAX_S: Final = 2.0
OWNER_MAX_CHARS: Final = 80
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


class FileConnector:
    """One folder that an ERP shares with the gateway."""

    def __init__(self, settings: FileSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._place, base = _place(settings, context)
        self._confirmations = base / settings.confirmations_folder
        self._base = base
        self._owner = _UNSAFE.sub("_", f"{context.gateway_id}-{context.name}")[:OWNER_MAX_CHARS]
        self._outbound = Outbound(self._place, base, settings, self._owner)
        self._inbound = Inbound(
            self._place,
            base,
            settings,
            plant_zone=context.time_zone,
            today=lambda: day_of(context.now_ns()),
        )
        self._share = ShareThread(str(base), timeout_ns=int(settings.timeout))
        self._template: str | None = None
        self._looked_at = ""

    @cached_property
    def capabilities(self) -> Capabilities:
        """Looked up before any repeat: a folder shows what became of a file."""
        settings = self._settings
        return Capabilities(
            can_lookup=True,
            acknowledgements=settings.acknowledgements_folder is not None,
            correction=settings.correction,
            readback=settings.ack != "none",
            accepted_blocks=settings.wait_for_booking,
            cursor_moves=True,
            sweeps=settings.keep_files is not None,
            notices=frozenset(settings.notices),
        )

    async def open(self) -> None:
        """Nothing to make; a missing folder is no error here."""

    async def close(self) -> None:
        """End the connection to a server, behind the call that is on."""
        if self._settings.url is not None:
            with contextlib.suppress(FolderError, TimeoutError):
                async with asyncio.timeout(CLOSE_MAX_S):
                    await self._share.run(self._place.close)

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Move away the files that the cursor names, then read those that wait. Raises ConnectorError."""
        try:
            return await self._share.run(partial(self._inbound.fetch, cursor, self._context.now_ns()))
        except FolderError as error:
            raise ConnectorError(clean(f"orders: {error}")) from error

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The file's bytes and name. Raises MappingError."""
        if confirmation.get("type") == "order_ack":
            return csv_answer.render(confirmation, self._settings)
        if confirmation.get("type") == NOTICE:
            return notice_file.render(confirmation)
        return written.render(
            confirmation,
            self._settings,
            plant_zone=self._context.time_zone,
            gateway=self._context.gateway_id,
            template=self._template_text(),
        )

    async def send(self, posting: Posting) -> Outcome:
        """Put the file there, unless it is already, or the ERP has already moved it on."""
        try:
            return await self._share.run(partial(self._outbound.send, posting))
        except FolderError as error:
            return Outcome(_kind(error), clean(str(error)))

    async def lookup(self, posting: Posting) -> Lookup:
        """What became of the file."""
        try:
            return await self._share.run(partial(self._outbound.look_up, posting))
        except FolderError as error:
            return Lookup(LookupKind.UNKNOWN, detail=clean(str(error)))

    async def sweep(self, asked: frozenset[str]) -> bool:
        """Clear away own files that are older than ``keep_files``; whether there is more. Raises ConnectorError."""
        if self._settings.keep_files is None:
            return False
        before_ns = self._context.now_ns() - self._settings.keep_files
        sweep = Sweep(
            self._place,
            self._base,
            self._settings,
            self._owner,
            before_ns,
            gateway_id=self._context.gateway_id,
            target=self._context.name,
            behind=self._looked_at,
        )
        try:
            has_more = await self._share.run(partial(sweep.run, asked))
        except FolderError as error:
            raise ConnectorError(clean(str(error))) from error
        self._looked_at = sweep.behind
        return has_more

    async def probe(self) -> Health:
        """Whether the folder of the confirmations is there and writable."""
        try:
            self._template_text()
            await self._share.run(partial(self._outbound.require, self._confirmations))
        except (FolderError, MappingError) as error:
            return Health(ok=False, detail=clean(str(error)))
        return Health(ok=True, detail=f"{self._confirmations}: is there")

    def _template_text(self) -> str:
        """The template, read once: a later change of the file comes with the next start. Raises MappingError."""
        if self._settings.template is None:
            return ""
        if self._template is None:
            self._template = read_template(self._context.base_dir / Path(self._settings.template).expanduser())
        return self._template


def _kind(error: FolderError) -> OutcomeKind:
    if error.signed_out:
        return OutcomeKind.AUTH
    if error.busy:
        return OutcomeKind.BUSY
    return OutcomeKind.UNCERTAIN if error.written else OutcomeKind.NOT_SENT


def _place(settings: FileSettings, context: ConnectorContext) -> tuple[Place, PurePosixPath]:
    if settings.url is None:
        return LocalPlace(), PurePosixPath(context.base_dir / Path(settings.folder).expanduser())
    from gateway.connectors.file.sftp import SSH_PORT, SftpLogin, SftpPlace

    parts = urlsplit(settings.url)
    login = SftpLogin(
        parts.hostname or "",
        parts.port or SSH_PORT,
        unquote(parts.username or ""),
        settings.host_key or "",
        context.secrets.get("password"),
        context.secrets.get("private_key"),
        context.secrets.get("passphrase"),
    )
    return SftpPlace(login, timeout_ns=int(settings.timeout)), PurePosixPath(unquote(parts.path) or ".")
