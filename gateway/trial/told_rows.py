"""What people tell of orders (allocations, splits, merges, numbers) and material as rows of a recording, and back.

Persons are not named. Opens no file.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.core.entries import (
    AllocateEntry,
    ExternalEntry,
    LotEntry,
    MaterialEntry,
    MergeEntry,
    ReportEntry,
    SplitEntry,
    UnmergeEntry,
)
from gateway.core.model import Role
from gateway.trial.nobody import WHO
from gateway.trial.plain_rows import plain

if TYPE_CHECKING:
    from gateway.core.model import JobRecord

OrderEntry = (
    AllocateEntry | ExternalEntry | SplitEntry | MergeEntry | UnmergeEntry | ReportEntry | LotEntry | MaterialEntry
)

_KINDS: Final[dict[str, type[OrderEntry]]] = {
    "allocate": AllocateEntry,
    "split": SplitEntry,
    "merge": MergeEntry,
    "unmerge": UnmergeEntry,
    "report": ReportEntry,
    "external": ExternalEntry,
    "lot": LotEntry,
    "material": MaterialEntry,
}
KINDS: Final = frozenset(_KINDS)
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_PERSON: Final = frozenset({"who", "role", "auth", "client", "known"})


def row_of(given: OrderEntry) -> list[Any]:
    """The entry without its person; ``known`` of an allocation is the caller's."""
    fields = {name: plain(value) for name, value in given._asdict().items() if name not in _PERSON}
    return [_NAMES[type(given)], fields]


def entry_of(data: list[Any], known: JobRecord | None) -> OrderEntry:
    """The entry of a row. Raises KeyError, TypeError or ValueError for anything else."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data[1].items()
    }
    kind = _KINDS[data[0]]
    if kind is SplitEntry:
        fields["quantities"] = tuple(Decimal(one) for one in fields["quantities"])
    if kind is AllocateEntry:
        fields["from_role"] = Role(fields["from_role"])
        fields["to_role"] = None if fields["to_role"] is None else Role(fields["to_role"])
        fields["known"] = known
    if fields.get("quantity") is not None:
        fields["quantity"] = Decimal(fields["quantity"])
    made: OrderEntry = kind(**fields, who=WHO)
    return made
