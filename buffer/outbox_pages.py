"""The question for a page of postings, newest first: for the store and for other processes. Asks nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer.entry import ANY_TARGET, COLUMNS, OVER_SQL

if TYPE_CHECKING:
    from buffer.entry import OutboxState

PAGE_MAX: Final = 1000

#: Message ids and names of what is not over.
ASKED: Final = f"SELECT message_id, name FROM outbox WHERE target = ? AND state NOT IN {OVER_SQL} LIMIT ?"  # noqa: S608 - constants
#: What most of the bytes of a posting are, and what stands there where they are left out.
_CONTENTS: Final = {"payload": "x''", "body": "NULL"}
_BARE: Final = ", ".join(f"{_CONTENTS[one]} AS {one}" if one in _CONTENTS else one for one in COLUMNS.split(", "))
assert _BARE.count(" AS ") == len(_CONTENTS), "a column has another name; its bytes would not be left out"
_STANDING: Final = "state IN ('needs_approval', 'held', 'accepted', 'uncertain', 'retry_wait', 'parked')"
#: What most postings are.
_USUAL: Final = "partial"


def standing_query(state: OutboxState) -> str:
    """SQL of the postings of a target that stand in one state, newest first. Its values: target, how many at most.

    Id, order, operation, number, code and text of its error, and when it was made.
    """
    where = f"state = '{state.value}' AND {_STANDING}"
    return (
        "SELECT id, order_id, operation, seq, error_code, error_text, created_ns "  # noqa: S608 - one of ours
        f"FROM outbox WHERE target = ? AND {where} ORDER BY id DESC LIMIT ?"
    )


def page_query(
    *,
    target: str | None = None,
    state: OutboxState | None = None,
    order: str | None = None,
    key: str | None = None,
    kind: str | None = None,
    before_id: int | None = None,
    limit: int = 100,
    contents: bool = True,
) -> tuple[str, tuple[Any, ...]]:
    """SQL and values of a page of postings, newest first. Raises ValueError for a limit out of range.

    Without ``contents`` payload and body are left out: they are most of the bytes.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit: found {limit}, allowed 1 to {PAGE_MAX}")
    filters = {"target = ?": target, "order_id = ?": order, "key = ?": key, "kind = ?": kind, "id < ?": before_id}
    given = {condition: value for condition, value in filters.items() if value is not None}
    conditions = list(given)
    if target is None and (order is not None or key is not None):
        conditions.insert(0, ANY_TARGET)
    if state is not None:  # one of ours: only literals, and the index's own words, let SQLite use a partial index
        conditions.append(f"state = '{state.value}'")
        conditions += [_STANDING] if state.value in _STANDING else []
    if kind not in (None, _USUAL) and order is None and key is None and state is None:
        conditions.append(f"kind <> '{_USUAL}'")  # the index's own words; what else is named is found among few
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    columns = COLUMNS if contents else _BARE
    return f"SELECT {columns} FROM outbox {where} ORDER BY id DESC LIMIT ?", (*given.values(), limit)  # noqa: S608 - constants
