"""What Tryton holds of one order and one operation, as the steps and the look-ups read it. Reads only."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import ConnectorError, Outcome, OutcomeKind
from gateway.connectors.tryton.notes import PREFIX, Note, read_notes
from gateway.connectors.tryton.orders import operation_of
from gateway.connectors.tryton.session import CallError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.connectors.tryton.session import Session

NOTES_MAX: Final = 10_000
CYCLES_MAX: Final = 10_000
MOVES_MAX: Final = 1000
SHOWN_MAX_CHARS: Final = 60
#: A production in one of these takes no more.
OVER: Final = frozenset({"done", "cancelled"})
_PRODUCTION: Final = (
    "number",
    "state",
    "product",
    "unit",
    "company",
    "company.currency",
    "location",
    "warehouse",
    "warehouse.waste_locations",
    "warehouse.storage_location",
    "warehouse.production_output_location",
    "_timestamp",
    "works.sequence",
    "works.state",
)


class Move(NamedTuple):
    """One output move. ``stamp`` is Tryton's ``_timestamp`` of it."""

    id: int
    product: int
    quantity: Decimal
    location: int
    state: str
    stamp: str


class Production(NamedTuple):
    """One production as it stands. ``works`` in their sequence."""

    row: Mapping[str, Any]
    works: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> int:
        """Its id."""
        return int(self.row["id"])

    @property
    def state(self) -> str:
        """How far it is."""
        return str(self.row["state"])

    @property
    def reference(self) -> str:
        """What a person finds it by."""
        return f"production {self.row['number']}"

    def work(self, operation: str) -> Mapping[str, Any] | None:
        """The work of an operation of ours; None: it has none of that name."""
        named = next((one for one in self.works if operation_of(one, self.works) == operation), None)
        # A work that got a sequence of its own meanwhile keeps the name that it was released by.
        return named or next((one for one in self.works if f"w{one['id']}" == operation), None)

    def is_last(self, work: Mapping[str, Any]) -> bool:
        """Whether it is the operation that books what is made."""
        return bool(self.works) and self.works[-1]["id"] == work["id"]


async def production_of(session: Session, order: str) -> Production | None:
    """The production of an order; None: Tryton knows none. Raises CallError."""
    rows = await session.read("production.search_read", [["number", "=", order]], 0, 2, None, list(_PRODUCTION))
    if not rows:
        return None
    if len(rows) > 1:
        text = f"order {clean(order, SHOWN_MAX_CHARS)}: Tryton has several productions of this number"
        raise CallError(Outcome(OutcomeKind.BUSINESS_REJECT, text, "number_not_unique"))
    return Production(rows[0], [one for one in rows[0].get("works.") or [] if isinstance(one, dict)])


async def notes_of(session: Session, work: int) -> dict[str, Note]:
    """The confirmations that a work has. Raises CallError, also for a note that cannot be read any more."""
    domain = [["resource", "=", f"production.work,{work}"], ["message", "like", f"{PREFIX}%"]]
    rows = await session.read("ir.note.search_read", domain, 0, NOTES_MAX, [["id", "ASC"]], ["message"])
    if len(rows) >= NOTES_MAX:
        text = f"work {work}: has {NOTES_MAX} notes or more, allowed fewer: confirm less often"
        raise CallError(Outcome(OutcomeKind.BUSINESS_REJECT, text, "too_many_notes"))
    try:
        return read_notes(rows)
    except ConnectorError as error:
        raise CallError(Outcome(OutcomeKind.BUSINESS_REJECT, str(error), "note_unreadable")) from error


async def last_cycle(session: Session, work: int) -> int:
    """The highest id of a cycle of a work, 0: it has none. Raises CallError."""
    rows = await session.read(
        "production.work.cycle.search_read", [["work", "=", work]], 0, 1, [["id", "DESC"]], ["id"]
    )
    return int(rows[0]["id"]) if rows else 0


async def own_cycles(session: Session, work: int, after: int, named: set[int | None]) -> list[int]:
    """Ids of the cycles of a work above ``after`` that this user made, without those ``named``. Raises CallError."""
    domain = [["work", "=", work], ["id", ">", after], ["create_uid", "=", await session.user_id()]]
    rows = await session.read("production.work.cycle.search_read", domain, 0, CYCLES_MAX, [["id", "ASC"]], ["id"])
    return [int(row["id"]) for row in rows if row["id"] not in named]


async def cycle_of(session: Session, cycle: int) -> Mapping[str, Any] | None:
    """State and duration of a cycle; None: there is none. Raises CallError."""
    fields = ["state", "duration"]
    rows = await session.read("production.work.cycle.search_read", [["id", "=", cycle]], 0, 1, None, fields)
    return rows[0] if rows else None


async def output_moves(session: Session, production: Production) -> list[Move]:
    """The output moves of a production that are not cancelled. Raises CallError."""
    domain = [["production_output", "=", production.id], ["state", "!=", "cancelled"]]
    fields = ["product", "quantity", "to_location", "state", "_timestamp"]
    rows = await session.read("stock.move.search_read", domain, 0, MOVES_MAX, [["id", "ASC"]], fields)
    return [
        Move(
            int(row["id"]),
            int(row["product"]),
            Decimal(row["quantity"] or 0),
            int(row["to_location"]),
            str(row["state"]),
            str(row["_timestamp"]),
        )
        for row in rows
    ]


async def scrap_location(session: Session, production: Production, code: str | None) -> int:
    """Where scrap goes. Raises CallError where it cannot be told."""
    if code is None:
        waste = (production.row.get("warehouse.") or {}).get("waste_locations") or []
        if len(waste) != 1:
            text = f"scrap_location: the warehouse has {len(waste)} waste locations, allowed: one, or name its code"
            raise CallError(Outcome(OutcomeKind.BUSINESS_REJECT, text, "scrap_location"))
        return int(waste[0])
    rows = await session.read("stock.location.search_read", [["code", "=", code]], 0, 2, None, ["id"])
    if len(rows) != 1:
        text = f"scrap_location: found {len(rows)} locations of the code {code!r} in Tryton, allowed: one"
        raise CallError(Outcome(OutcomeKind.BUSINESS_REJECT, text, "scrap_location"))
    return int(rows[0]["id"])


def good_location(production: Production) -> int | None:
    """Where a production puts what it makes."""
    warehouse = production.row.get("warehouse.") or {}
    found = warehouse.get("production_output_location") or warehouse.get("storage_location")
    return int(found) if found else None
