"""One confirmation on its way through the folders: given away once, found again, and what the ERP made of it. Blocking.

What is sent again is never given twice. Who refused it gave it back: what a person sends again then goes out anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.connectors.base import Lookup, LookupKind, Outcome, OutcomeKind
from gateway.connectors.file import handover, receipts
from gateway.connectors.file.handover import Parcel, Semaphore, told
from gateway.connectors.file.lines_out import csv_head
from gateway.connectors.file.place import FolderError, SignInError
from gateway.connectors.file.receipts import NOT_YET, Receipt, Standing
from gateway.core.foreign_text import clean
from gateway.core.orders.erp_notice import BESIDE, NOTICE
from gateway.core.orders.order_answer import ACK

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from gateway.connectors.base import Posting
    from gateway.connectors.file.place import Place
    from gateway.connectors.file.settings import FileSettings

DONE: Final = "done"
ERROR: Final = "error"
ERROR_TEXTS: Final = (".err.txt", ".error.txt")
MESSAGE_MAX_CHARS: Final = 300
#: Refused ones of one confirmation that are kept; a person sent it anew after each.
REFUSED_KEPT_MAX: Final = 9
#: Where a file lies that the ERP has booked, by the ``ack``; by the others that cannot be seen.
_BOOKED_AT: Final = {"moved": DONE, "deleted": "given"}


class Outbound:
    """The way of confirmations, of answers to orders and of notices, at one place."""

    def __init__(self, place: Place, base: PurePosixPath, settings: FileSettings, owner: str) -> None:
        self._place = place
        self._owner = owner
        self._base = base
        self._settings = settings
        self._marker = None if settings.marker_file is None else base / settings.marker_file

    def require(self, folder: PurePosixPath) -> None:
        """Raises FolderError where the folder cannot be used, or the share is not there."""
        handover.require(self._place, folder, self._marker)

    def send(self, posting: Posting) -> Outcome:
        """Give it away, unless it is given already. Raises FolderError."""
        parcel = self._parcel(posting)
        self.require(parcel.folder)
        shared, semaphore = self._settings.append_to, self._semaphore(parcel.folder)
        try:
            if semaphore is not None:
                handover.give_back(self._place, semaphore)
            receipt = self._receipt(posting)
            at = self._where(parcel)
            if receipt.standing is Standing.BOOKED:
                return Outcome(OutcomeKind.POSTED, reference=receipt.reference or parcel.name)
            if receipt.standing is Standing.REFUSED or at == ERROR:
                self._set_aside(posting, parcel)
            elif at is not None:
                handover.finish_trigger(self._place, parcel)
                return self._accepted(posting, parcel)
        except SignInError as error:
            raise FolderError(told(error), signed_out=True) from error
        except OSError as error:
            raise FolderError(f"{parcel.folder}: cannot be looked into: {told(error)}") from error
        if shared is None or semaphore is None or posting.kind in BESIDE:
            handover.give(self._place, parcel, posting.rendered.body)
        else:
            head, body = csv_head(self._settings), posting.rendered.body
            handover.append(self._place, parcel, parcel.folder / shared, semaphore, head, body)
        self._still_there(parcel)
        return self._accepted(posting, parcel)

    def look_up(self, posting: Posting) -> Lookup:
        """What became of it. Raises FolderError."""
        parcel = self._parcel(posting)
        self.require(parcel.folder)
        semaphore = self._semaphore(parcel.folder)
        try:
            if semaphore is not None:
                handover.give_back(self._place, semaphore)
            receipt = self._receipt(posting)
            at = self._where(parcel)
            if at is not None:
                handover.finish_trigger(self._place, parcel)  # of a process that ended before it
        except SignInError as error:
            raise FolderError(told(error), signed_out=True) from error
        except OSError as error:
            raise FolderError(f"{parcel.folder}: cannot be looked into: {told(error)}") from error
        if receipt.standing is Standing.BOOKED:
            return Lookup(LookupKind.FOUND, receipt.reference or parcel.name)
        if receipt.standing is Standing.REFUSED:
            detail = receipt.message or f"the receipt says {receipt.code}"
            return Lookup(LookupKind.REFUSED, receipt.reference, detail, receipt.code)
        if at == ERROR:
            return Lookup(LookupKind.REFUSED, parcel.name, self._why(parcel), ERROR)
        if at is None:
            return Lookup(LookupKind.ABSENT)
        # An answer or a notice is over when it is there; a confirmation is not booked by lying in a folder.
        is_booked = posting.kind in BESIDE or at == _BOOKED_AT.get(self._settings.ack)
        return Lookup(LookupKind.FOUND if is_booked else LookupKind.ACCEPTED, parcel.name)

    def _still_there(self, parcel: Parcel) -> None:
        """Where the share went away meanwhile, the file may lie below its mount point. Raises FolderError."""
        try:
            is_there = self._marker is None or self._place.exists(self._marker)
        except OSError as error:
            raise FolderError(f"{parcel.final}: the share went away: {told(error)}", written=True) from error
        if not is_there:
            raise FolderError(f"{parcel.final}: the share went away while it was written", written=True)

    def _accepted(self, posting: Posting, parcel: Parcel) -> Outcome:
        kind = OutcomeKind.POSTED if posting.kind in BESIDE else OutcomeKind.ACCEPTED
        return Outcome(kind, reference=parcel.name)

    def _where(self, parcel: Parcel) -> str | None:
        """``here``, ``done``, ``error``, ``given`` (our trace says so, and nothing else), or None. Raises OSError."""
        if self._settings.append_to is None:
            if self._place.exists(parcel.final):
                return "here"
            for name in (DONE, ERROR):
                if self._place.exists(parcel.folder / name / parcel.name):
                    return name
        return "given" if handover.given(self._place, parcel) else None

    def _receipt(self, posting: Posting) -> Receipt:
        """What the ERP wrote of it. A receipt is kept in ``done``: a repeated look-up finds it again."""
        if self._settings.ack != "file" or posting.kind in BESIDE:
            return NOT_YET
        folder = self._base / self._settings.receipts_folder
        self.require(folder)
        stem = posting.rendered.name.rpartition(".")[0]
        ids = (posting.message_id, posting.key, posting.rendered.name, stem, posting.message_id.replace("-", ""))
        for name in receipts.names(stem, posting.message_id):
            for path in (folder / name, folder / DONE / name):
                found = handover.read(self._place, path)
                if found is None or found.content is None:
                    continue
                receipt = receipts.read(name, found.content, ids, self._settings)
                if receipt.standing is not Standing.WAITING:
                    if path.parent == folder:
                        handover.move(self._place, path, folder / DONE)
                    return receipt
        return NOT_YET

    def _set_aside(self, posting: Posting, parcel: Parcel) -> None:
        """What was refused is kept under another name, so that it may be sent anew. Raises OSError."""
        place = self._place
        for name in (parcel.folder / ERROR / parcel.name, parcel.final):
            if place.exists(name):
                place.rename(name, self._free(name))
        if self._settings.ack == "file":
            folder = self._base / self._settings.receipts_folder / DONE
            stem = posting.rendered.name.rpartition(".")[0]
            for one in receipts.names(stem, posting.message_id):
                if place.exists(folder / one):
                    place.rename(folder / one, self._free(folder / one))
        if parcel.proof:
            place.remove(parcel.trace)

    def _free(self, path: PurePosixPath) -> PurePosixPath:
        for number in range(1, REFUSED_KEPT_MAX):
            if not self._place.exists(kept := path.with_name(f"{path.name}.refused{number}")):
                return kept
        return path.with_name(f"{path.name}.refused{REFUSED_KEPT_MAX}")  # instead of the last one

    def _why(self, parcel: Parcel) -> str:
        for ending in ERROR_TEXTS:
            found = handover.read(self._place, parcel.folder / ERROR / f"{parcel.name}{ending}")
            if found is not None and found.content:
                return clean(found.content.decode("utf-8", "replace"), MESSAGE_MAX_CHARS)
        return f"the ERP moved it to {ERROR}; look there why, correct it there, then retry"

    def _parcel(self, posting: Posting) -> Parcel:
        settings, name = self._settings, posting.rendered.name
        if posting.kind == ACK:
            return Parcel(self._base / str(settings.acknowledgements_folder), name)
        if posting.kind == NOTICE:
            return Parcel(self._base / str(settings.notices_folder), name)
        stem = name.rpartition(".")[0]
        return Parcel(
            self._base / settings.confirmations_folder,
            name,
            trigger=f"{stem}{settings.confirmations_trigger}" if settings.confirmations_trigger else "",
            checksum=settings.checksum,
            # Whoever takes a file away without leaving it in done or error at once leaves no trace of it.
            proof=settings.ack != "none" or settings.append_to is not None,
            owner=self._owner,
        )

    def _semaphore(self, folder: PurePosixPath) -> Semaphore | None:
        settings = self._settings
        if settings.semaphore is None or settings.semaphore_held is None:
            return None
        return Semaphore(folder / settings.semaphore, folder / settings.semaphore_held)
