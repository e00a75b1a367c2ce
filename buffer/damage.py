"""Keeps a damaged database for a person and makes room for a new one. Decides nothing: the caller does, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buffer.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def set_aside(path: Path, *, at_ns: int) -> Path:
    """Rename the database with its write-ahead log; returns its new path.

    The new database gets a new epoch, so no confirmation key is used twice. Raises StoreError.
    """
    kept = path.with_name(f"{path.name}.damaged-{at_ns}")
    try:
        path.rename(kept)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
    except OSError as error:
        raise StoreError(f"{path}: cannot be set aside as {kept.name}: {error}; move it away by hand") from error
    return kept
