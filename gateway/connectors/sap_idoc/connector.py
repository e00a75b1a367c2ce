"""The SAP IDoc connector: orders from a folder that files and SAP's own requests fill, confirmations as IDocs.

That SAP stored an IDoc is told by the answer, that it booked it only by reading back. Order and repeats are the
forwarder's.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import (
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    OrderPage,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.connectors.error_classes import table_of
from gateway.connectors.file import handover
from gateway.connectors.file.folder import LocalPlace
from gateway.connectors.file.place import FolderError
from gateway.connectors.file.share_thread import ShareThread
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import DETAIL_MAX_CHARS, kept
from gateway.connectors.mapping import moments
from gateway.connectors.material_left import left_of, sends_none
from gateway.connectors.sap_idoc import readback, tickets
from gateway.connectors.sap_idoc.answers import DEFAULT, outcome_of_http, outcome_of_soap
from gateway.connectors.sap_idoc.inbox import DONE, ERROR, Inbox
from gateway.connectors.sap_idoc.loipro import Reading
from gateway.connectors.sap_idoc.receiver import Receiver
from gateway.connectors.sap_idoc.statuses import MESSAGES, Statuses
from gateway.connectors.sap_idoc.sweeping import Folders, sweep
from gateway.connectors.signed_client import SignedClient, outcome_of_failure
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.sap_idoc.idoc_xml import Idoc
    from gateway.connectors.sap_idoc.settings import SapIdocSettings

DIGEST_CHARS: Final = 16
OWNER_MAX_CHARS: Final = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
#: How a service that only takes messages answers a question: that is no message.
_IS_THERE: Final = frozenset({200, 202, 204, 400, 405, 411, 415, 422, 500})


class SapIdocConnector:
    """One SAP system."""

    def __init__(self, settings: SapIdocSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._table = table_of(settings.error_classes, DEFAULT)
        self._client: SignedClient | None = None
        self._asked: SignedClient | None = None
        self._receiver: Receiver | None = None
        self._place = LocalPlace()
        self._statuses = Statuses(stored_is_posted=settings.stored_is == "posted")
        self._base = None if settings.folder is None else context.base_dir / Path(settings.folder).expanduser()
        self._share = ShareThread(str(self._base), timeout_ns=int(settings.timeout))
        self._owner = _UNSAFE.sub("_", f"{context.gateway_id}-{context.name}")[:OWNER_MAX_CHARS]
        self._inbox = None if self._base is None else self._made_inbox(self._base)

    @cached_property
    def capabilities(self) -> Capabilities:
        """SOAP drops repeats by their message id, a file has its name; plain HTTP does neither."""
        own = self._settings
        return Capabilities(
            orders=self._inbox is not None,
            idempotent=own.transport != "http",
            can_lookup=own.reads_back,
            correction="manual",
            readback=own.reads_back,
            accepted_blocks=False,
            cursor_moves=self._inbox is not None,
            one_at_a_time=own.receiver is not None,
            sweeps=self._base is not None and own.keep_files is not None,
        )

    async def open(self) -> None:
        """Make the clients, and listen where SAP sends. Raises ConnectorError for what cannot be used here."""
        own, context = self._settings, self._context
        if own.url is not None:
            timeout_ns = int(own.timeout)
            self._client = SignedClient(own.url, own.sign_in, context, timeout_ns=timeout_ns, ca_file=own.ca_file)
            await self._client.open()
        if own.readback is not None:
            self._asked = SignedClient(
                own.readback.url,
                own.readback.sign_in,
                context,
                timeout_ns=int(own.timeout),
                ca_file=own.ca_file,
                path="readback.sign_in",
            )
            await self._asked.open()
        if own.receiver is not None:
            token = context.secrets.get("receiver.token")
            if not token:
                raise ConnectorError(f"{context.name}: receiver.token: is empty; put the token there")
            receiver = Receiver(own.receiver.host, own.receiver.port, token, self._spooled)
            await receiver.open()
            self._receiver = receiver

    async def close(self) -> None:
        """Release everything."""
        if self._receiver is not None:
            await self._receiver.close()
        for client in (self._client, self._asked):
            if client is not None:
                await client.close()
        self._receiver = self._client = self._asked = None

    @property
    def receiver_port(self) -> int:
        """Where SAP may send to, 0 where it may not."""
        return 0 if self._receiver is None else self._receiver.port

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """The newest image of each order that waits in the folder. Raises ConnectorError."""
        if self._inbox is None:
            raise ConnectorError(f"{self._context.name}: has no folder; no orders come in")
        try:
            return await self._share.run(partial(self._inbox.fetch, cursor))
        except FolderError as error:
            raise ConnectorError(clean(f"orders: {error}")) from error

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The IDocs, one step for each reason. Raises MappingError."""
        return tickets.render(confirmation, self._settings, self._context.time_zone)

    def not_sent(self, confirmation: Mapping[str, Any]) -> tuple[str, ...]:
        """Material that a person has to post in SAP: no message tells any."""
        return left_of(confirmation, sends_none)

    def headers(self, posting: Posting) -> dict[str, str]:
        """Those of every message; a file has none."""
        if self._settings.transport == "file":
            return {}
        action = {"SOAPAction": '""'} if self._settings.transport == "soap" else {}
        return {"Content-Type": posting.rendered.content_type, "Accept": "*/*", **action}

    async def send(self, posting: Posting) -> Outcome:
        """Hand one IDoc over."""
        if self._settings.transport == "file":
            return await self._put(posting)
        booked = await self._booked_meanwhile(posting)
        if booked is not None:
            return booked
        soap = self._settings.transport == "soap"
        client = self._opened()
        try:
            answer = await client.request(
                "POST",
                self._settings.service,
                query={"sap-client": self._settings.client},
                headers=self.headers(posting),
                body=posting.rendered.body,
            )
        except TransportError as error:
            return outcome_of_failure(error)
        judge = outcome_of_soap if soap else outcome_of_http
        outcome = judge(answer, self._table, self._context.now_ns())
        if outcome.kind is OutcomeKind.ACCEPTED:
            return outcome._replace(reference=outcome.reference or tickets.docnum_of(posting.message_id))
        return kept(outcome, answer, client.secrets)

    async def lookup(self, posting: Posting) -> Lookup:
        """What SAP tells of the ticket: by OData, and by what has come back in files."""
        trouble = await self._read_statuses()
        asked = Lookup(LookupKind.ABSENT)
        if self._asked is not None and self._settings.readback is not None:
            asked = await readback.lookup(self._asked, self._settings.readback, posting)
            if asked.kind in {LookupKind.FOUND, LookupKind.REFUSED}:
                return asked
        if trouble:
            return Lookup(LookupKind.UNKNOWN, detail=trouble)
        told = self._statuses.lookup(posting.message_id)
        if told is not None:
            return told
        return self._in_doubt(posting) if asked.kind is LookupKind.ABSENT and self._is_doubtful(posting) else asked

    async def _read_statuses(self) -> str:
        """Take in what has come back in files, also where nobody needs it: the folder empties. What is wrong, or ""."""
        if self._inbox is None or self._settings.statuses_folder is None:
            return ""
        try:
            await self._share.run(partial(self._inbox.read_statuses, self._statuses))
        except FolderError as error:
            return clean(f"statuses: {error}", DETAIL_MAX_CHARS)
        return ""

    async def sweep(self, asked: frozenset[str]) -> bool:
        """Clear away own files that are older than ``keep_files``; whether there is more. Raises ConnectorError."""
        own = self._settings
        if self._base is None or own.keep_files is None:
            return False
        base = PurePosixPath(self._base)
        statuses = None if own.statuses_folder is None else base / own.statuses_folder
        folders = Folders(base / own.orders_folder, base / own.confirmations_folder, statuses, self._owner)
        before_ns = self._context.now_ns() - own.keep_files
        await self._read_statuses()
        try:
            return await self._share.run(partial(sweep, self._place, folders, before_ns, asked))
        except FolderError as error:
            raise ConnectorError(clean(str(error))) from error

    async def probe(self) -> Health:
        """The service, which refuses a question without an IDoc and so is there; the read-back; the folders."""
        found = []
        if self._settings.transport != "file":
            found.append(await self._probed(self._opened(), self._settings.service, "IDoc service"))
        if self._asked is not None and self._settings.readback is not None:
            found.append(await self._probed(self._asked, f"{self._settings.readback.path}/", "read-back"))
        if self._base is not None:
            found.append(await self._probed_folders(self._base))
        bad = [one for one in found if not one.ok]
        return Health(ok=not bad, detail=clean("; ".join(one.detail for one in bad or found), DETAIL_MAX_CHARS))

    async def _probed(self, client: SignedClient, path: str, what: str) -> Health:
        try:
            answer = await client.request("GET", path, query={"sap-client": self._settings.client})
        except TransportError as error:
            return Health(ok=False, detail=f"{what}: {error}")
        reads = client is self._asked
        ok = answer.status == HTTPStatus.OK if reads else answer.status in _IS_THERE
        is_page = "html" in answer.media_type and (reads or answer.status < HTTPStatus.BAD_REQUEST)
        if ok and not is_page:
            return Health(ok=True, detail=f"{what}: is there")
        shown = f"{path} answers HTTP {answer.status} with {answer.media_type or 'no content type'}"
        return Health(ok=False, detail=f"{what}: {shown}; check url, path, SICF and the user's rights")

    async def _probed_folders(self, base: Path) -> Health:
        own = self._settings
        names = [own.orders_folder, *([own.statuses_folder] if own.statuses_folder is not None else [])]
        try:
            for name in names if own.transport != "file" else [*names, own.confirmations_folder]:
                await self._share.run(partial(handover.require, self._place, PurePosixPath(base / name)))
        except FolderError as error:
            return Health(ok=False, detail=str(error))
        return Health(ok=True, detail=f"{base}: is there")

    def _is_doubtful(self, posting: Posting) -> bool:
        """Over plain HTTP nothing ever proves that an IDoc did not arrive: SAP may book it hours later."""
        is_known = posting.accepted and posting.attempt <= 1  # a later repeat keeps the number of the first
        return self._settings.transport == "http" and posting.sent_ns is not None and not is_known

    def _in_doubt(self, posting: Posting) -> Lookup:
        """It is asked again and again, then a person decides; it is never repeated by itself."""
        number = tickets.docnum_of(posting.message_id)
        text = f"nobody can tell whether SAP has the IDoc {number}; look at WE02 and CO16N, then retry or discard"
        return Lookup(LookupKind.UNCLEAR, detail=text, code="IN_DOUBT")

    async def _booked_meanwhile(self, posting: Posting) -> Outcome | None:
        """Before a person's repeat over plain HTTP: SAP may have booked it, or it was corrected there (CO16N)."""
        if self._settings.transport != "http" or not self._settings.reads_back or posting.attempt <= 1:
            return None
        found = await self.lookup(posting)
        if found.kind is LookupKind.FOUND:
            return Outcome(OutcomeKind.POSTED, reference=found.reference)
        if found.kind is LookupKind.UNKNOWN:
            return Outcome(OutcomeKind.NOT_SENT, f"before it is sent again: {found.detail}")
        return None

    async def _put(self, posting: Posting) -> Outcome:
        try:
            await self._share.run(partial(self._give, posting.rendered))
        except FolderError as error:
            kind = OutcomeKind.UNCERTAIN if error.written else OutcomeKind.NOT_SENT
            return Outcome(kind, clean(str(error), DETAIL_MAX_CHARS))
        return Outcome(OutcomeKind.ACCEPTED, reference=posting.rendered.name)

    def _give(self, rendered: Rendered) -> None:
        folder = self._confirmations()
        handover.require(self._place, folder)
        parcel = handover.Parcel(folder, rendered.name, proof=True, owner=self._owner)
        try:
            was_given = handover.given(self._place, parcel)
        except OSError as error:
            raise FolderError(f"{folder}: cannot be looked at: {handover.told(error)}") from error
        if not was_given and handover.find(self._place, (folder, folder / DONE, folder / ERROR), rendered.name) is None:
            handover.give(self._place, parcel, rendered.body)

    async def _spooled(self, content: bytes, idocs: tuple[Idoc, ...]) -> None:
        statuses = self._settings.statuses_folder
        are_statuses = statuses is not None and all(idoc.message_type in MESSAGES for idoc in idocs)
        name = statuses if are_statuses and statuses is not None else self._settings.orders_folder
        await self._share.run(partial(self._spool, content, idocs, name))
        (self._context.acknowledged if are_statuses else self._context.orders_came)()

    def _spool(self, content: bytes, idocs: tuple[Idoc, ...], name: str) -> None:
        assert self._base is not None, "the settings ask for a folder where there is a receiver"
        folder = PurePosixPath(self._base / name)
        digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARS]
        number = "".join(one for one in idocs[0].number if one.isascii() and one.isalnum())[:DIGEST_CHARS]
        file = f"{number}-{digest}.xml"
        handover.require(self._place, folder)
        if handover.find(self._place, (folder, folder / DONE), file) is None:
            handover.give(self._place, handover.Parcel(folder, file), content)

    def _made_inbox(self, base: Path) -> Inbox:
        own = self._settings
        statuses = None if own.statuses_folder is None else PurePosixPath(base / own.statuses_folder)
        reading = Reading(
            moments.zone_of(own.mapping, self._context.time_zone),
            own.order_numbers == "short",
            frozenset(own.skip_control_keys),
            own.mapping.activities,
        )
        return Inbox(self._place, PurePosixPath(base / own.orders_folder), statuses, reading)

    def _confirmations(self) -> PurePosixPath:
        assert self._base is not None, "the settings ask for a folder where files are written"
        return PurePosixPath(self._base / self._settings.confirmations_folder)

    def _opened(self) -> SignedClient:
        if self._client is None:
            raise ConnectorError(f"{self._context.name}: is not open; open() comes first")
        return self._client
