"""The file connector: orders from CSV files, confirmations as one CSV file each.

The cursor of a page names the files it was read from. When it comes back, their orders are committed, and only then are
the files moved away. A share that hangs holds up nothing but its own calls.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
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
    RefusedOrder,
    Rendered,
)
from gateway.connectors.file import acknowledgement as csv_answer
from gateway.connectors.file import confirmation as csv_confirmation
from gateway.connectors.file import folder as files
from gateway.connectors.file.orders import parse_file
from gateway.connectors.file.share_thread import ShareThread
from gateway.core.foreign_text import clean
from gateway.core.orders.order_answer import ACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.file.settings import FileSettings
    from gateway.core.model import ProductionOrder

DONE: Final = "done"
ERROR: Final = "error"
NAME_MAX_CHARS: Final = 100


class FileConnector:
    """One folder that an ERP shares with the gateway."""

    def __init__(self, settings: FileSettings, context: ConnectorContext) -> None:
        self._settings = settings
        base = context.base_dir / Path(settings.folder).expanduser()
        self._orders = base / settings.orders_folder
        self._confirmations = base / settings.confirmations_folder
        answers = settings.acknowledgements_folder
        self._answers = None if answers is None else base / answers
        self._share = ShareThread(str(base), timeout_ns=int(settings.timeout))
        self._unfinished: dict[str, tuple[int, int]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """The same name with the same bytes: a repeat changes nothing."""
        answers = self._answers is not None
        correction = self._settings.correction
        return Capabilities(
            idempotent=True, can_lookup=True, acknowledgements=answers, correction=correction, cursor_moves=True
        )

    async def open(self) -> None:
        """Nothing to make; a missing folder is no error here."""

    async def close(self) -> None:
        """Nothing to release."""

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Move away the files that the cursor names, then read those that wait. Raises ConnectorError."""
        try:
            return await self._share.run(partial(self._fetch, cursor))
        except files.FolderError as error:
            raise ConnectorError(clean(f"orders: {error}")) from error

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The CSV file's bytes and name. Raises MappingError."""
        if confirmation.get("type") == "order_ack":
            return csv_answer.render(confirmation, self._settings)
        return csv_confirmation.render(confirmation, self._settings)

    async def send(self, posting: Posting) -> Outcome:
        """Put the file there, unless it is already, or the ERP has already moved it on."""
        try:
            await self._share.run(partial(self._write, self._folder(posting), posting.rendered))
        except files.FolderError as error:
            return Outcome(OutcomeKind.UNCERTAIN if error.written else OutcomeKind.NOT_SENT, clean(str(error)))
        return Outcome(OutcomeKind.POSTED, reference=posting.rendered.name)

    async def lookup(self, posting: Posting) -> Lookup:
        """Whether the file is there, or where the ERP moved it."""
        try:
            found = await self._share.run(partial(self._find, self._folder(posting), posting.rendered.name))
        except files.FolderError as error:
            return Lookup(LookupKind.UNKNOWN, detail=clean(str(error)))
        return Lookup(LookupKind.FOUND, found.name) if found is not None else Lookup(LookupKind.ABSENT)

    async def probe(self) -> Health:
        """Whether the folder of the confirmations is there and writable."""
        try:
            await self._share.run(partial(files.require, self._confirmations))
        except files.FolderError as error:
            return Health(ok=False, detail=clean(str(error)))
        return Health(ok=True, detail=f"{self._confirmations}: is there")

    def _folder(self, posting: Posting) -> Path:
        return self._answers if posting.kind == ACK and self._answers is not None else self._confirmations

    def _write(self, folder: Path, rendered: Rendered) -> None:
        if self._find(folder, rendered.name) is None:
            files.write_atomically(folder, rendered.name, rendered.body)

    def _find(self, folder: Path, name: str) -> Path | None:
        files.require(folder)
        return files.find((folder, folder / DONE, folder / ERROR), name)

    def _fetch(self, cursor: str) -> OrderPage:
        files.require(self._orders)
        for name, digest in _names(cursor).items():
            self._finish(name, digest)
        orders: list[ProductionOrder] = []
        refused: list[RefusedOrder] = []
        read: dict[str, str] = {}
        unfinished = self._unfinished
        self._unfinished = {}
        for found in files.waiting(self._orders):
            if _looks_unfinished(found) and unfinished.get(found.name) != found.stamp:
                self._unfinished[found.name] = found.stamp
                continue
            taken, reasons = self._parsed(found)
            orders += taken
            if reasons:
                refused.append(RefusedOrder(clean(found.name, NAME_MAX_CHARS), reasons))
            read[found.name] = found.digest
        return OrderPage(tuple(orders), tuple(refused), json.dumps(read, sort_keys=True) if read else "")

    def _finish(self, name: str, digest: str) -> None:
        path = self._orders / name
        found = files.read(path)
        if found is None or found.digest != digest:
            return  # moved already, or replaced by a new file that is still to be read
        _, reasons = self._parsed(found)
        if reasons:
            text = "".join(f"{reason}\n" for reason in reasons)
            files.move(path, self._orders / ERROR, error_text=text)
        else:
            files.move(path, self._orders / DONE)

    def _parsed(self, found: files.Found) -> tuple[tuple[ProductionOrder, ...], tuple[str, ...]]:
        if found.content is None:
            return (), (f"found {found.stamp[0]} bytes, allowed at most {files.FILE_MAX_BYTES}",)
        return parse_file(found.content, self._settings)


def _names(cursor: str) -> dict[str, str]:
    try:
        names = json.loads(cursor) if cursor else {}
    except ValueError:
        names = None
    if not isinstance(names, dict) or not all(Path(str(name)).name == name for name in names):
        return {}  # a cursor of another connector that had this name before: it moves nothing
    return {str(name): str(digest) for name, digest in names.items()}


def _looks_unfinished(found: files.Found) -> bool:
    # Some programs write into the final name. A file without its last line's end is given until the next poll.
    return found.content is not None and not found.content.endswith(b"\n")
