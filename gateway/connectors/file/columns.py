"""How one field stands in a file: its column, width, number and date form. Settings and their checks, no conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

WIDTH_MAX: Final = 500
DECIMALS_MAX: Final = 6
COLUMNS_MAX: Final = 200

#: How a time or a day is written. ``iso`` is UTC as the document has it, the others are plant local time.
DateForm = Literal["iso", "local_iso", "yyyymmdd", "dd.mm.yyyy", "yyyy-mm-dd", "hhmmss", "hh:mm:ss", "yyyymmddhhmmss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a line, in either direction.

    Attributes:
        name: what the ERP calls it: the column's head; in XML the path of an element (``MENGE``, ``KOPF/NR``,
            ``@nr`` for an attribute, ``../NR`` in the order's element instead of the operation's).
        value: our field; the read-me lists them. None: it is written as ``constant``, or passed over on reading.
        constant: what stands there without any field; on reading, what the field is where the file has nothing.
        date: form of a time or day: ``iso``, ``local_iso``, ``yyyymmdd``, ``dd.mm.yyyy``, ``yyyy-mm-dd``, ``hhmmss``,
            ``hh:mm:ss``, ``yyyymmddhhmmss``.
        decimals: of a number, 0 to 6; none: as many as it has. Sums of rounded quantities stay exact.
        sign: ``leading`` or ``trailing`` (``12.000-``).
        width: characters, 1 to 500; needed in lines of fixed length.
        align: ``left`` or ``right``; none: numbers right, text left.
        fill: what fills the width.
        cut: true: a text that is too long is cut off; false: it is parked.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str = ""
    value: str | None = None
    constant: str | None = None
    date: DateForm = "iso"
    decimals: int | None = None
    sign: Literal["leading", "trailing"] = "leading"
    width: int | None = None
    align: Literal["left", "right"] | None = None
    fill: str = " "
    cut: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        if self.width is not None and not 1 <= self.width <= WIDTH_MAX:
            raise ValueError(f"width: found {self.width}, allowed 1 to {WIDTH_MAX}")
        if self.decimals is not None and not 0 <= self.decimals <= DECIMALS_MAX:
            raise ValueError(f"decimals: found {self.decimals}, allowed 0 to {DECIMALS_MAX}")
        if len(self.fill) != 1 or not self.fill.isprintable():
            raise ValueError(f"fill: found {self.fill!r}, allowed: one character")
        if self.value is None and self.constant is None and self.width is None and not self.name:
            raise ValueError("column: found neither name nor value nor constant nor width, allowed: one at least")
