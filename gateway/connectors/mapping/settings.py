"""The setting ``mapping`` of a connector: our words and the ERP's, exactly as the configuration file writes them."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

#: Decimals of an amount in a message at most.
DECIMALS_MAX: Final = 6
SLOTS: Final = range(1, 7)
ROWS_MAX: Final = 2000
ANY_WORK_CENTER: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySlot:
    """What one of the numbered activities of an operation means.

    Attributes:
        time: which time of the confirmation goes there; labour is time of persons, two of them for an hour are two.
        unit: the unit in which it is written: MIN, H or S.
        erp_unit: the ERP's word for that unit; none: MIN, H and S themselves.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    time: Literal["machine_setup", "labour_setup", "machine", "labour"]
    unit: Literal["MIN", "H", "S"] = "MIN"
    erp_unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingSettings:
    """Our words and the ERP's. What is not listed is written as it is, except units and reasons: these are asked for.

    Attributes:
        units: unit of the order to the unit of the ERP's message, such as ``PCE: ST``.
        unit_codes: unit of the order to its code by UN/ECE Recommendation 20, for units that are not built in.
        reasons: our reason of scrap to the ERP's; empty: ours are the ERP's own.
        default_reason: what is written for a reason that is not listed; none: such a confirmation waits for a person.
        no_reason: what is written for scrap without a reason; none: nothing.
        work_centers: our work center to the ERP's, where it is not the one of the order.
        activities: work center (or ``*`` for all others) to its activities: number 1 to 6 and what goes there.
        time_zone: IANA name of the zone in which the ERP reads dates and times; none: that of the plant.
        quantity_decimals: decimals of a quantity in a message, 0 to 6.
        time_decimals: decimals of an activity's time in a message, 0 to 6.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    units: dict[str, str] = field(default_factory=dict)
    unit_codes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    default_reason: str | None = None
    no_reason: str | None = None
    work_centers: dict[str, str] = field(default_factory=dict)
    activities: dict[str, dict[int, ActivitySlot]] = field(default_factory=dict)
    time_zone: str | None = None
    quantity_decimals: int = 3
    time_decimals: int = 3

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        for name in ("quantity_decimals", "time_decimals"):
            if not 0 <= getattr(self, name) <= DECIMALS_MAX:
                raise ValueError(f"{name}: found {getattr(self, name)}, allowed 0 to {DECIMALS_MAX}")
        for name in ("units", "unit_codes", "reasons", "work_centers"):
            _check_rows(name, getattr(self, name))
        for work_center, slots in self.activities.items():
            for number in slots:
                if number not in SLOTS:
                    raise ValueError(
                        f"activities.{work_center}: found {number}, allowed {SLOTS.start} to {SLOTS.stop - 1}"
                    )
        if self.time_zone is not None and not _is_zone(self.time_zone):
            raise ValueError(
                f"time_zone: found {self.time_zone!r}, allowed: a name of the IANA time zone database, such as "
                "Europe/Berlin"
            )


def _check_rows(name: str, rows: dict[str, str]) -> None:
    if len(rows) > ROWS_MAX:
        raise ValueError(f"{name}: found {len(rows)} rows, allowed at most {ROWS_MAX}")
    for ours, theirs in rows.items():
        if not ours.strip() or not theirs.strip():
            raise ValueError(f"{name}: found {ours!r}: {theirs!r}, allowed: two words")


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
