"""What can go wrong with the buffer. Each message names the file, what happened and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Nothing of the refused write was kept, or the read did not happen.

    ``temporary``: the same write may succeed later in this process (no room, a busy file, a failed flush). ``full``:
    there is no room on the device, or in the file.
    """

    def __init__(self, message: str, *, temporary: bool = False, full: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary
        self.full = full


class NewerSchemaError(StoreError):
    """The database was written by a newer linegate than this one."""


class DamagedStoreError(StoreError):
    """The file is not a sound database; ``buffer.damage.set_aside`` keeps it for a person and makes room."""


class PostingMovedError(StoreError):
    """A posting that was to become void may be under way already: whoever decided it looks again."""


class OutboxError(StoreError):
    """A posting is not in a state that allows the change, or there is no such posting.

    ``found``: the state it is in, "" where there is none; ``allowed``: those in which it can be done.
    """

    def __init__(self, message: str, *, found: str = "", allowed: str = "") -> None:
        super().__init__(message)
        self.found = found
        self.allowed = allowed
