"""Order files on their way through the folders: complete, claimed, read, moved away once they are committed. Blocking.

The cursor of a page names the files it was read from. When it comes back, their orders are committed, and only then are
the files moved. With ``orders_number`` it carries the last number too: gaps and repeats are told over restarts.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.connectors.base import OrderPage, RefusedOrder
from gateway.connectors.file import handover
from gateway.connectors.file.handover import CHECKSUM, FILE_MAX_BYTES, FILES_PER_PAGE_MAX, Found, told
from gateway.connectors.file.order_xml import root_of
from gateway.connectors.file.orders import named_in, parse_file
from gateway.connectors.file.outbound import DONE, ERROR
from gateway.connectors.file.place import FolderError
from gateway.connectors.file.settings import SUFFIXES
from gateway.connectors.refused_orders import named
from gateway.core.duration import NS_PER_S
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.connectors.file.place import Place
    from gateway.connectors.file.settings import FileSettings
    from gateway.core.model import ProductionOrder

WORK: Final = "work"
NAME_MAX_CHARS: Final = 100
#: No file can be called so.
_NUMBER_KEY: Final = "/number"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Cursor(NamedTuple):
    files: dict[str, str]
    number: int | None


class Inbound:
    """The orders' folder of one place."""

    def __init__(
        self,
        place: Place,
        base: PurePosixPath,
        settings: FileSettings,
        *,
        plant_zone: str,
        today: Callable[[], str],
    ) -> None:
        self._place = place
        self._folder = base / settings.orders_folder
        self._marker = None if settings.marker_file is None else base / settings.marker_file
        self._settings = settings
        self._zone = plant_zone
        self._today = today
        self._pattern = settings.orders_pattern or f"*{SUFFIXES[settings.format]}"
        self._seen: dict[str, tuple[tuple[int, int], int]] = {}

    def fetch(self, cursor: str, now_ns: int) -> OrderPage:
        """Move away the files that the cursor names, then read those that wait. Raises FolderError."""
        handover.require(self._place, self._folder, self._marker)
        before = _cursor(cursor)
        for name, digest in before.files.items():
            self._finish(name, digest)
        orders: list[ProductionOrder] = []
        refused: list[RefusedOrder] = []
        read: dict[str, str] = {}
        number = before.number
        for found in self._waiting(now_ns):
            taken, reasons = self._parsed(found)
            notice, number = self._numbered(found.name, number)
            orders += taken
            if reasons or notice:
                refused.append(
                    RefusedOrder(clean(found.name, NAME_MAX_CHARS), (*notice, *reasons), self._named(found, reasons))
                )
            read[found.name] = found.digest
        told_next: dict[str, str] = dict(read)
        if number is not None:
            told_next[_NUMBER_KEY] = str(number)
        return OrderPage(tuple(orders), tuple(refused), json.dumps(told_next, sort_keys=True) if told_next else "")

    def _waiting(self, now_ns: int) -> list[Found]:
        """Complete files, by name: first those that were claimed before."""
        try:
            claimed = self._claimed()
            names = [name for name in self._place.names(self._folder) if self._is_order_file(name)]
            seen, self._seen = self._seen, {}
            found = list(claimed.values())
            present = set(self._place.names(self._folder)) if self._settings.orders_trigger else set()
            for name in names:
                if len(found) >= FILES_PER_PAGE_MAX:
                    break
                one = handover.read(self._place, self._folder / name)
                if one is None or name in claimed or not self._is_complete(one, present, seen, now_ns):
                    continue
                if self._settings.orders_claim:
                    self._claim(name)
                found.append(one)
        except OSError as error:
            raise FolderError(f"{self._folder}: cannot be read: {told(error)}") from error
        return found

    def _claimed(self) -> dict[str, Found]:
        folder = self._folder / WORK
        if not self._settings.orders_claim or not self._place.is_folder(folder):
            return {}
        found = (handover.read(self._place, folder / name) for name in self._place.names(folder))
        listed = [one for one in found if one is not None and self._is_order_file(one.name)]
        return {one.name: one for one in listed[:FILES_PER_PAGE_MAX]}

    def _claim(self, name: str) -> None:
        self._place.make_folder(self._folder / WORK)
        self._place.rename(self._folder / name, self._folder / WORK / name)
        self._place.sync(self._folder / WORK)

    def _is_order_file(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name.lower(), self._pattern.lower()) and not name.startswith((".", "~"))

    def _is_complete(
        self, one: Found, present: set[str], seen: dict[str, tuple[tuple[int, int], int]], now_ns: int
    ) -> bool:
        settings = self._settings
        if settings.orders_trigger is not None:
            return any(f"{stem}{settings.orders_trigger}" in present for stem in (one.name, _stem(one.name)))
        stable_ns = int(settings.orders_stable or 0)
        if not stable_ns and not _looks_unfinished(one, settings):
            return True
        stamp, since_ns = seen.get(one.name, (None, now_ns))
        if stamp == one.stamp and now_ns - since_ns >= stable_ns:
            return True
        self._seen[one.name] = (one.stamp, since_ns if stamp == one.stamp else now_ns)
        return False

    def _numbered(self, name: str, last: int | None) -> tuple[tuple[str, ...], int | None]:
        """What is odd about the file's number, and the last number now."""
        if self._settings.orders_number is None:
            return (), None
        matched = re.search(self._settings.orders_number, name)
        if matched is None or not (matched.group(1) or "").isdecimal():
            return (f"number: found none, allowed: {self._settings.orders_number}",), last
        number = int(matched.group(1))
        if last is None or number == last + 1:
            return (), number
        if number <= last:
            return (f"number: found {number} after {last}, so it came twice or late; its orders are taken",), last
        missing = f"{last + 1}" if number == last + 2 else f"{last + 1} to {number - 1}"
        return (
            f"number: found {number} after {last}, {missing} did not come; its orders are taken; ask for it",
        ), number

    def _finish(self, name: str, digest: str) -> None:
        folder = self._folder / WORK if self._settings.orders_claim else self._folder
        path = folder / name
        found = handover.read(self._place, path)
        if found is None and self._settings.orders_claim:
            path = self._folder / name  # read before claims were asked for
            found = handover.read(self._place, path)
        if found is None or found.digest != digest:
            return  # moved already, or replaced by a new file that is still to be read
        _, reasons = self._parsed(found)
        if reasons:
            text = "".join(f"{reason}\n" for reason in reasons)
            handover.move(self._place, path, self._folder / ERROR, error_text=text)
        else:
            done = self._folder / DONE
            if self._settings.done_by_day:
                self._make(done)
                done /= self._today()
            handover.move(self._place, path, done)
        self._sweep(name)

    def _sweep(self, name: str) -> None:
        """The trigger and the checksum of a file that is gone."""
        beside = [f"{name}{CHECKSUM}"] if self._settings.checksum else []
        if trigger := self._settings.orders_trigger:
            beside += [f"{name}{trigger}", f"{_stem(name)}{trigger}"]
        try:
            for one in beside:
                self._place.remove(self._folder / one)
        except OSError as error:
            raise FolderError(f"{self._folder}: cannot be cleared of {beside}: {told(error)}") from error

    def _make(self, folder: PurePosixPath) -> None:
        try:
            self._place.make_folder(folder)
        except OSError as error:
            raise FolderError(f"{folder}: cannot be made: {told(error)}") from error

    def _parsed(self, found: Found) -> tuple[tuple[ProductionOrder, ...], tuple[str, ...]]:
        if found.content is None:
            return (), (f"found {found.stamp[0]} bytes, allowed at most {FILE_MAX_BYTES}",)
        if self._settings.checksum and (wrong := self._checksum(found.name, found.content)):
            return (), (wrong,)
        return parse_file(found.content, self._settings, self._zone)

    def _named(self, found: Found, reasons: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        """The orders in a file that is refused as a whole."""
        if not reasons or found.content is None:
            return ()
        return named(named_in(found.content, self._settings, self._zone))

    def _checksum(self, name: str, content: bytes) -> str:
        beside = handover.read(self._place, self._folder / f"{name}{CHECKSUM}")
        if beside is None or beside.content is None:
            return f"{CHECKSUM}: is missing, allowed: {name}{CHECKSUM} beside it, put there before"
        said = beside.content.split(maxsplit=1)
        if not said or said[0].decode("ascii", "replace").lower() != hashlib.sha256(content).hexdigest():
            return f"{CHECKSUM}: is of another content, allowed: the SHA-256 of {name}"
        return ""


def day_of(now_ns: int) -> str:
    """The day as ``yyyymmdd``, UTC."""
    return (_EPOCH + dt.timedelta(seconds=now_ns // NS_PER_S)).strftime("%Y%m%d")


def _cursor(text: str) -> _Cursor:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return _Cursor({}, None)
    number = str(found.pop(_NUMBER_KEY, ""))
    if not all(PurePosixPath(str(name)).name == name for name in found):
        return _Cursor({}, None)  # a cursor of another connector that had this name before: it moves nothing
    files = {str(name): str(digest) for name, digest in found.items()}
    return _Cursor(files, int(number) if number.isdecimal() else None)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _looks_unfinished(found: Found, settings: FileSettings) -> bool:
    # Some programs write into the final name. A file without its end is given until the next poll.
    if found.content is None:
        return False
    if settings.format in {"xml", "b2mml"}:
        return root_of(found.content, settings, []) is None
    return not found.content.rstrip(b"\x1a").endswith(b"\n")  # some programs of DOS add the end of the file
