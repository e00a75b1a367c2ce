"""Clears away what linegate itself left in the folders, once it is old and nobody can ask for it any more. Blocking.

Its own are the traces in ``.sent``, what it moved to ``done`` and ``error`` of orders and receipts, and what it set
aside as ``.refused``, and the notices that it wrote: several gateways may share their folder, so each is read for whose
it is. What the ERP moved, and what nobody has read yet of all else, is never touched. A trace, receipt or notice of a
posting that is not over stays, however old it is: without it that posting would be given a second time.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from gateway.connectors.file.handover import PROOFS, read, told
from gateway.connectors.file.inbound import day_of
from gateway.connectors.file.notice_file import NAME
from gateway.connectors.file.outbound import DONE, ERROR
from gateway.connectors.file.place import FolderError
from gateway.connectors.file.receipts import PREFIX
from gateway.core.orders.erp_notice import NOTICE_LANE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import PurePosixPath

    from gateway.connectors.file.place import Place
    from gateway.connectors.file.settings import FileSettings

#: Files at a time: the share is not held up for long.
SWEPT_MAX: Final = 200
#: Notices that are read at a time for whose they are.
READ_MAX: Final = 200
_REFUSED: Final = re.compile(r"(.+)\.refused\d+")
_DAY: Final = re.compile(r"\d{8}")


class Sweep:
    """One going through the folders of a place. ``owner``: whose traces they are; ``before_ns``: older ones are old.

    ``gateway_id`` and ``target``: whose notices they are. ``behind``: the notice that was looked at last, "" for none;
    the next sweep goes on there.
    """

    def __init__(
        self,
        place: Place,
        base: PurePosixPath,
        settings: FileSettings,
        owner: str,
        before_ns: int,
        *,
        gateway_id: str,
        target: str,
        behind: str = "",
    ) -> None:
        self._place = place
        self._base = base
        self._settings = settings
        self._owner = owner
        self._before_ns = before_ns
        self._gateway_id = gateway_id
        self._target = target
        self.behind = behind
        self._has_more = False

    def run(self, asked: frozenset[str]) -> bool:
        """Clear away; whether there is more. Raises FolderError."""
        stems = asked | {name.rpartition(".")[0] for name in asked}

        def is_free(name: str) -> bool:
            """Whether neither this file nor a receipt of this name belongs to what may be asked for."""
            bare = found.group(1) if (found := _REFUSED.fullmatch(name)) else name
            stem = bare.removeprefix(PREFIX)
            return not {bare, stem, stem.rpartition(".")[0]} & stems

        left = SWEPT_MAX
        for folder, name in self._old(is_free):
            if not left:
                return True
            left -= 1
            try:
                self._place.remove(folder / name)
            except OSError as error:
                raise FolderError(f"{folder / name}: cannot be removed: {told(error)}") from error
        return self._has_more

    def _old(self, is_free: Callable[[str], bool]) -> Iterator[tuple[PurePosixPath, str]]:
        settings = self._settings
        orders, sent = self._base / settings.orders_folder, self._base / settings.confirmations_folder
        receipts = self._base / settings.receipts_folder
        for folder in (orders / DONE, orders / ERROR):
            yield from ((folder, name) for name in self._listed(folder))
        for folder in self._days(orders / DONE):
            yield from ((folder, name) for name in self._listed(folder))
            self._empty(folder)
        mine = [sent / PROOFS / self._owner]
        if settings.ack == "file":
            mine.append(receipts / DONE)
        for folder in mine:
            yield from ((folder, name) for name in self._listed(folder) if is_free(name))
        for folder in (sent, sent / ERROR):
            names = [name for name in self._listed(folder) if _REFUSED.fullmatch(name)]
            yield from ((folder, name) for name in names if is_free(name))
        yield from self._notices(is_free)

    def _notices(self, is_free: Callable[[str], bool]) -> Iterator[tuple[PurePosixPath, str]]:
        """Our own old ones, of those that follow the last one that was looked at: foreign ones stay, and are many."""
        if self._settings.notices_folder is None:
            return
        folder = self._base / self._settings.notices_folder
        names = sorted(name for name in self._listed(folder) if NAME.fullmatch(name) and is_free(name))
        behind = [name for name in names if name > self.behind] or names
        own = [name for name in behind[:READ_MAX] if self._is_own(folder / name)]
        self.behind = behind[READ_MAX - 1] if len(behind) > READ_MAX else ""
        self._has_more = bool(own and self.behind)
        yield from ((folder, name) for name in own)

    def _is_own(self, path: PurePosixPath) -> bool:
        """Whether this gateway wrote it for this target: what cannot be read as that is nobody's to remove."""
        try:
            found = read(self._place, path)
            document = json.loads((found and found.content) or b"null")
        except (ValueError, RecursionError):
            return False
        if not isinstance(document, dict) or document.get("gateway_id") != self._gateway_id:
            return False
        return f"/{NOTICE_LANE}/{self._target}/" in str(document.get("idempotency_key"))

    def _listed(self, folder: PurePosixPath) -> list[str]:
        try:
            if not self._place.is_folder(folder):
                return []
            return [name for name, changed_ns in self._place.listed(folder) if changed_ns < self._before_ns]
        except OSError as error:
            raise FolderError(f"{folder}: cannot be looked into: {told(error)}") from error

    def _days(self, done: PurePosixPath) -> list[PurePosixPath]:
        if not self._settings.done_by_day:
            return []
        last = day_of(self._before_ns)
        try:
            names = self._place.folders(done) if self._place.is_folder(done) else []
        except OSError as error:
            raise FolderError(f"{done}: cannot be looked into: {told(error)}") from error
        return [done / name for name in names if _DAY.fullmatch(name) and name < last]

    def _empty(self, folder: PurePosixPath) -> None:
        """The day's own folder, when nothing is left in it."""
        try:
            if not self._place.listed(folder):
                self._place.remove_folder(folder)
        except OSError as error:
            raise FolderError(f"{folder}: cannot be removed: {told(error)}") from error
