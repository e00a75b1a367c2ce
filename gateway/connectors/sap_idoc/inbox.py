"""The folders in which IDocs come in: orders by page and cursor, statuses as they come. Blocking; runs in a thread.

A file of orders is taken whole or not at all, and moved once its orders are committed, which is when its cursor comes
back. Operations of PP-PDC may come one by one: what is known of such an order is kept beside the orders, in ``.known``.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import OrderPage, RefusedOrder
from gateway.connectors.file import handover
from gateway.connectors.file.place import FolderError
from gateway.connectors.sap_idoc import loipro, recorder
from gateway.connectors.sap_idoc.idoc_xml import IdocError, read
from gateway.connectors.sap_idoc.numbers import order_number
from gateway.connectors.sap_idoc.statuses import Statuses, read_statuses
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.file.handover import Found
    from gateway.connectors.file.place import Place
    from gateway.connectors.sap_idoc.loipro import Reading
    from gateway.core.model import ProductionOrder

DONE: Final = "done"
ERROR: Final = "error"
KNOWN: Final = ".known"
#: Statuses that were read before the start are read again, of so many files.
STATUS_FILES_MAX: Final = 2000
STATUS_FILES_PER_READ_MAX: Final = 200
NAME_MAX_CHARS: Final = 100
REASONS_MAX: Final = 50


class Inbox:
    """What comes in through one base folder."""

    def __init__(self, place: Place, orders: PurePosixPath, statuses: PurePosixPath | None, reading: Reading) -> None:
        self._place = place
        self._orders = orders
        self._statuses = statuses
        self._reading = reading
        self._unfinished: dict[str, tuple[int, int]] = {}
        self._unfinished_statuses: dict[str, tuple[int, int]] = {}
        self._is_first = True

    def fetch(self, cursor: str) -> OrderPage:
        """Finish the files that the cursor names, then read those that wait. Raises FolderError."""
        handover.require(self._place, self._orders)
        for name, digest in _names(cursor).items():
            self._finish(name, digest)
        orders: dict[str, ProductionOrder] = {}
        refused: list[RefusedOrder] = []
        names: dict[str, str] = {}
        known: dict[str, recorder.Known] = {}
        unfinished, self._unfinished = self._unfinished, {}
        for found in self._waiting(self._orders, handover.FILES_PER_PAGE_MAX):
            taken, reasons = self._parsed(found, known)
            if reasons and unfinished.get(found.name) != found.stamp:
                self._unfinished[found.name] = found.stamp  # perhaps somebody still writes it
                continue
            for order in taken:
                before = orders.get(order.order)
                if before is None or before.revision <= order.revision:
                    orders[order.order] = order
            if reasons:
                refused.append(RefusedOrder(clean(found.name, NAME_MAX_CHARS), reasons))
            names[found.name] = found.digest
        return OrderPage(tuple(orders.values()), tuple(refused), json.dumps(names, sort_keys=True) if names else "")

    def read_statuses(self, statuses: Statuses) -> None:
        """Add what SAP has told since, and move it away. Raises FolderError."""
        if self._statuses is None:
            return
        handover.require(self._place, self._statuses)
        if self._is_first:
            self._read_again(self._statuses / DONE, statuses)
            self._is_first = False
        unfinished, self._unfinished_statuses = self._unfinished_statuses, {}
        for found in self._waiting(self._statuses, STATUS_FILES_PER_READ_MAX):
            path = self._statuses / found.name
            try:
                told = read_statuses(found.content or b"")
            except IdocError as error:
                if unfinished.get(found.name) != found.stamp:
                    self._unfinished_statuses[found.name] = found.stamp  # perhaps somebody still writes it
                    continue
                handover.move(self._place, path, self._statuses / ERROR, error_text=f"{error}\n")
                continue
            for one in told:
                statuses.add(one)
            handover.move(self._place, path, self._statuses / DONE)

    def _read_again(self, folder: PurePosixPath, statuses: Statuses) -> None:
        try:
            listed = self._place.listed(folder) if self._place.is_folder(folder) else []
        except OSError as error:
            raise FolderError(f"{folder}: cannot be read: {handover.told(error)}") from error
        newest = sorted((changed_ns, name) for name, changed_ns in listed)[-STATUS_FILES_MAX:]
        for _, name in newest:
            found = handover.read(self._place, folder / name)
            with contextlib.suppress(IdocError):  # somebody has put something else there
                for one in read_statuses(found.content or b"") if found is not None else ():
                    statuses.add(one)

    def _waiting(self, folder: PurePosixPath, most: int) -> list[Found]:
        try:
            names = [name for name in self._place.names(folder) if not name.startswith((".", "~"))]
        except OSError as error:
            raise FolderError(f"{folder}: cannot be read: {handover.told(error)}") from error
        found = (handover.read(self._place, folder / name) for name in names[:most])
        return [one for one in found if one is not None]

    def _finish(self, name: str, digest: str) -> None:
        path = self._orders / name
        found = handover.read(self._place, path)
        if found is None or found.digest != digest:
            return  # moved already, or replaced by a new one that is still to be read
        known: dict[str, recorder.Known] = {}
        _, reasons = self._parsed(found, known)
        if reasons:
            text = "".join(f"{reason}\n" for reason in reasons)
            handover.move(self._place, path, self._orders / ERROR, error_text=text)
            return
        for order, one in known.items():
            self._keep(order, one)
        handover.move(self._place, path, self._orders / DONE)

    def _parsed(
        self, found: Found, known: dict[str, recorder.Known]
    ) -> tuple[tuple[ProductionOrder, ...], tuple[str, ...]]:
        """Orders of a file, or the reasons against it; ``known`` gets what PP-PDC's IDocs change."""
        if found.content is None:
            return (), (f"found {found.stamp[0]} bytes, allowed at most {handover.FILE_MAX_BYTES}",)
        reasons: list[str] = []
        orders: list[ProductionOrder] = []
        changes: dict[str, recorder.Known] = {}
        try:
            for idoc in read(found.content):
                if idoc.message_type == recorder.MESSAGE or idoc.basic_type.startswith(recorder.MESSAGE):
                    orders += self._recorded(idoc, {**known, **changes}, changes, reasons)
                elif idoc.message_type == loipro.MESSAGE:
                    orders += loipro.orders_of(idoc, self._reading, reasons)
                else:
                    kinds = f"{loipro.MESSAGE}, {recorder.MESSAGE}"
                    reasons.append(f"MESTYP: found {clean(idoc.message_type, 30)!r}, allowed: {kinds}")
        except IdocError as error:
            reasons.append(str(error))
        if reasons:
            return (), tuple(clean(reason) for reason in reasons[:REASONS_MAX])
        known |= changes
        return tuple(orders), ()

    def _recorded(
        self, idoc: Any, before: Mapping[str, recorder.Known], changes: dict[str, recorder.Known], reasons: list[str]
    ) -> list[ProductionOrder]:
        numbers = {one.get("ORDERID") for kind in (recorder.OPERATION, recorder.DELETION) for one in idoc.find(kind)}
        shown = {order_number(number, short=self._reading.short_numbers) for number in numbers}
        kept = {order: one for order in shown if order not in before and (one := self._kept(order)) is not None}
        changed = recorder.changed(idoc, self._reading, {**kept, **before}, reasons)
        changes |= changed
        orders = (recorder.order_of(order, one, self._reading, reasons) for order, one in changed.items())
        return [order for order in orders if order is not None]

    def _kept(self, order: str) -> recorder.Known | None:
        found = handover.read(self._place, self._orders / KNOWN / f"{_file_name(order)}.json")
        try:
            known = json.loads(found.content or b"") if found is not None else None
        except ValueError:
            return None  # cut short by a power cut: what comes next says it anew
        return known if isinstance(known, dict) else None

    def _keep(self, order: str, known: recorder.Known) -> None:
        folder = self._orders / KNOWN
        path = folder / f"{_file_name(order)}.json"
        draft = path.with_name(f"{path.name}.tmp")
        try:
            self._place.make_folder(folder)
            self._place.write(draft, json.dumps(known, sort_keys=True).encode())
            self._place.rename(draft, path)
            self._place.sync(folder)
        except OSError as error:
            raise FolderError(f"{path}: cannot be written: {handover.told(error)}") from error


def _file_name(order: str) -> str:
    return "".join(one if one.isascii() and one.isalnum() else f"_{ord(one):x}_" for one in order)


def _names(cursor: str) -> dict[str, str]:
    try:
        names = json.loads(cursor) if cursor else {}
    except ValueError:
        names = None
    if not isinstance(names, dict) or not all(PurePosixPath(str(name)).name == name for name in names):
        return {}  # a cursor of another connector that had this name before: it moves nothing
    return {str(name): str(digest) for name, digest in names.items()}
