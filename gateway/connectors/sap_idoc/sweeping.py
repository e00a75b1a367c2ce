"""Clears away what the connector itself left in its folders, once it is old and nobody asks for it. Blocking.

Its own are the traces in ``.sent``, the IDocs that it moved to ``done`` and ``error``, and what it keeps of orders of
PP-PDC whose operations SAP has all deleted. What nobody has read yet is never touched. The trace of a posting that is
not over stays, however old it is: without it that posting would be given a second time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.connectors.file.handover import PROOFS, read, told
from gateway.connectors.file.place import FolderError
from gateway.connectors.sap_idoc.inbox import DONE, ERROR, KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePosixPath

    from gateway.connectors.file.place import Place

#: Files at a time: the share is not held up for long.
SWEPT_MAX: Final = 200


class Folders(NamedTuple):
    """Where the connector keeps files; ``owner``: whose traces are its own."""

    orders: PurePosixPath
    confirmations: PurePosixPath
    statuses: PurePosixPath | None
    owner: str


def sweep(place: Place, folders: Folders, before_ns: int, asked: frozenset[str]) -> bool:
    """Clear away what changed last before an instant; whether there is more. Raises FolderError."""
    left = SWEPT_MAX
    for path in _old(place, folders, before_ns, asked):
        if not left:
            return True
        left -= 1
        try:
            place.remove(path)
        except OSError as error:
            raise FolderError(f"{path}: cannot be removed: {told(error)}") from error
    return False


def _old(place: Place, folders: Folders, before_ns: int, asked: frozenset[str]) -> Iterator[PurePosixPath]:
    traces = folders.confirmations / PROOFS / folders.owner
    yield from (path for path in _listed(place, traces, before_ns) if path.name not in asked)
    for folder in (folders.orders, folders.statuses):
        if folder is not None:
            yield from _listed(place, folder / DONE, before_ns)
            yield from _listed(place, folder / ERROR, before_ns)
    yield from (path for path in _listed(place, folders.orders / KNOWN, before_ns) if _is_over(place, path))


def _listed(place: Place, folder: PurePosixPath, before_ns: int) -> list[PurePosixPath]:
    try:
        if not place.is_folder(folder):
            return []
        return [folder / name for name, changed_ns in place.listed(folder) if changed_ns < before_ns]
    except OSError as error:
        raise FolderError(f"{folder}: cannot be looked into: {told(error)}") from error


def _is_over(place: Place, path: PurePosixPath) -> bool:
    """Whether SAP has deleted each operation of the order."""
    found = read(place, path)
    try:
        known = json.loads(found.content or b"") if found is not None else None
        return known is not None and all(row["deleted"] for row in known["operations"].values())
    except (ValueError, TypeError, KeyError, AttributeError):
        return True  # a draft, or cut short by a power cut: it is of no use
