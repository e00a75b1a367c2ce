"""How the state of a work unit stands in its row: small, and of a length that seldom changes.

It is written with every step, so its bytes are most of what a memory card has to bear. Packed it takes a third; padded
to whole steps of length, SQLite writes over its pages and neither frees nor takes any. Never looks into the state.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

#: The first byte of what is packed; a state that stands there as it is begins with a brace.
MARKER: Final = b"\x01"
#: Shorter ones are stored as they are.
PACKED_FROM_BYTES: Final = 512
#: What is packed is padded to a multiple of this.
STEP_BYTES: Final = 512
#: A row that unpacks to more was not written by this program.
UNPACKED_MAX_BYTES: Final = 64 * 1024 * 1024
#: The fastest: the others take three times as long for a tenth less.
LEVEL: Final = 1
#: The name of ``unpacked`` in SQL.
FUNCTION: Final = "unpacked"


def pack(state: bytes) -> bytes:
    """The bytes to store."""
    if len(state) < PACKED_FROM_BYTES and not state.startswith(MARKER):
        return state
    packed = MARKER + zlib.compress(state, LEVEL)
    return packed + bytes(-len(packed) % STEP_BYTES)


def unpack(stored: bytes) -> bytes:
    """The state in what is stored, also by an older linegate. Raises ValueError where it is damaged."""
    if not stored.startswith(MARKER):
        return stored
    stream = zlib.decompressobj()
    try:
        state = stream.decompress(stored[len(MARKER) :], UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"the packed state is damaged: {error}") from error
    if not stream.eof:
        raise ValueError(f"the packed state has no end, or has more than {UNPACKED_MAX_BYTES} bytes")
    return state


def unpacked(stored: bytes) -> bytes:
    """For SQL, which has no other way to say so: what is damaged is given back as it is, and is no JSON."""
    try:
        return unpack(stored)
    except ValueError:
        return stored


def teach(connection: sqlite3.Connection) -> None:
    """Let a connection's statements call ``unpacked``."""
    connection.create_function(FUNCTION, 1, unpacked, deterministic=True)
