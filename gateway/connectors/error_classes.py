"""What an error of a target means: a table by status and code, never by text. Pure.

Every connector has its default table; the setting ``error_classes`` of its target adds to it and goes before it. What
no table knows is a refusal: a person looks at it, and nothing is repeated blindly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.connectors.base import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What a person may say of a code. That something is booked is proved by a reference or by a look-up, not by a code.
ErrorClass = Literal["not_sent", "uncertain", "busy", "wait_precondition", "business_reject", "auth", "protocol"]

ERROR_CLASSES_MAX: Final = 500
PATTERN_MAX_CHARS: Final = 100
_ANY: Final = "*"
_CLIENT_ERRORS: Final = range(400, 500)
_SERVER_ERRORS: Final = range(500, 600)

#: By status alone, for every target that speaks HTTP and says nothing better.
BY_STATUS: Final[dict[str, OutcomeKind]] = {
    "400": OutcomeKind.BUSINESS_REJECT,
    "401": OutcomeKind.AUTH,
    "403": OutcomeKind.AUTH,
    "404": OutcomeKind.PROTOCOL,
    "405": OutcomeKind.PROTOCOL,
    "407": OutcomeKind.PROTOCOL,
    "408": OutcomeKind.UNCERTAIN,
    "409": OutcomeKind.BUSINESS_REJECT,
    "410": OutcomeKind.BUSINESS_REJECT,
    "412": OutcomeKind.BUSY,
    "413": OutcomeKind.BUSINESS_REJECT,
    "415": OutcomeKind.BUSINESS_REJECT,
    "421": OutcomeKind.PROTOCOL,
    "422": OutcomeKind.BUSINESS_REJECT,
    "423": OutcomeKind.BUSY,
    "426": OutcomeKind.PROTOCOL,
    "429": OutcomeKind.NOT_SENT,
}


class ErrorTable(NamedTuple):
    """Rows of what a person said, and behind them the connector's own.

    A row's name is a status and a code with a blank between (``409 LOCKED``), a code (``RU/018``), a code with ``*`` at
    its end (``RU/*``) or a status (``409``). The first kind that fits decides, of patterns the longest.
    """

    own: Mapping[str, OutcomeKind]
    default: Mapping[str, OutcomeKind]

    def found(self, codes: Iterable[str], status: int | None = None) -> OutcomeKind | None:
        """What the tables say of these codes, the first one that they know; None: nothing."""
        told = [code for code in codes if code]
        for table in (self.own, self.default):
            for code in told:
                if status is not None and (kind := table.get(f"{status} {code}")) is not None:
                    return kind
                if (kind := table.get(code)) is not None:
                    return kind
            for code in told:
                if (kind := _by_pattern(table, code)) is not None:
                    return kind
            if status is not None and (kind := table.get(str(status))) is not None:
                return kind
        return None

    def of(self, codes: Iterable[str], status: int | None = None) -> OutcomeKind:
        """The class of an error: by the tables; else 5xx is uncertain, other errors are refused by business."""
        kind = self.found(codes, status)
        if kind is not None:
            return kind
        if status is None or status in _CLIENT_ERRORS:
            return OutcomeKind.BUSINESS_REJECT
        return OutcomeKind.UNCERTAIN if status in _SERVER_ERRORS else OutcomeKind.PROTOCOL


def table_of(own: Mapping[str, ErrorClass], default: Mapping[str, OutcomeKind]) -> ErrorTable:
    """The setting ``error_classes`` and a connector's own table together."""
    return ErrorTable({name.strip(): OutcomeKind(kind) for name, kind in own.items()}, default)


def check_error_classes(own: Mapping[str, ErrorClass]) -> None:
    """Raises ValueError for a row that never fits: for ``__post_init__`` of settings."""
    if len(own) > ERROR_CLASSES_MAX:
        raise ValueError(f"error_classes: found {len(own)} rows, allowed at most {ERROR_CLASSES_MAX}")
    for name in own:
        written = name.strip()
        if not written or written == _ANY or _ANY in written[:-1] or len(written) > PATTERN_MAX_CHARS:
            raise ValueError(
                f"error_classes: found {name!r}, allowed: a code (RU/018), the beginning of codes (RU/*), a status "
                "(409) or a status and a code (409 LOCKED)"
            )


def _by_pattern(table: Mapping[str, OutcomeKind], code: str) -> OutcomeKind | None:
    fitting = [name for name in table if name.endswith(_ANY) and code.startswith(name[:-1])]
    return table[max(fitting, key=len)] if fitting else None
