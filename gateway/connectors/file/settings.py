"""Settings of the file connector, exactly as the configuration file writes them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration

TIMEOUT_MAX_NS: Final = Duration("2 min")
FOLDER_NAME_FORBIDDEN: Final = frozenset("/\\\0")
FOLDERS: Final = ("orders_folder", "confirmations_folder", "acknowledgements_folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """An ERP that reads and writes CSV files in a folder, usually a network share.

    Attributes:
        connector: ``file``.
        folder: base folder, relative to the configuration. It and its two sub-folders must exist: they are never made,
            so that a share that is not mounted is noticed.
        orders_folder: where the ERP puts ``*.csv`` with orders; read files move to its ``done`` or ``error``.
        confirmations_folder: where confirmations are put, one file each.
        acknowledgements_folder: where answers to orders are put, one file each; none: the ERP is not told what became
            of them.
        correction: how the ERP takes a correction of what it has booked. ``cancel``: it takes a booking back, given its
            key; ``negative``: it books quantities below 0; ``manual``: a person does it there, and the correction waits
            in the outbox until he has.
        delimiter: between the columns.
        encoding: of both directions, such as utf-8, cp1252 or cp850.
        decimal_separator: of both directions.
        timeout: longest wait for the share, 1 s to 2 min; a poll of orders reads up to 20 files in that time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["file"]
    folder: str
    orders_folder: str = "orders"
    confirmations_folder: str = "confirmations"
    acknowledgements_folder: str | None = None
    correction: Literal["cancel", "negative", "manual"] = "manual"
    delimiter: Literal[";", ",", "\t", "|"] = ";"
    encoding: str = "utf-8"
    decimal_separator: Literal[".", ","] = "."
    timeout: Duration = Duration("1 min")

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        if not self.folder:
            raise ValueError("folder: is empty, allowed: a path")
        named = {name: getattr(self, name) for name in FOLDERS if getattr(self, name) is not None}
        for name, found in named.items():
            if not found or found.startswith(".") or FOLDER_NAME_FORBIDDEN & set(found):
                raise ValueError(f"{name}: found {found!r}, allowed: the name of one sub-folder")
        if len(set(named.values())) < len(named):
            raise ValueError(f"{', '.join(named)}: found one folder twice, allowed: two different folders")
        if self.delimiter == self.decimal_separator:
            raise ValueError("delimiter and decimal_separator: are the same, allowed: two different characters")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
        try:
            is_text = codecs.lookup(self.encoding)._is_text_encoding  # noqa: SLF001 - the only place that tells base64 from a code page
        except LookupError:
            is_text = False
        if not is_text or "\n;1".encode(self.encoding) != b"\n;1":
            raise ValueError(f"encoding: found {self.encoding!r}, allowed: utf-8 or a code page such as cp1252, cp850")
