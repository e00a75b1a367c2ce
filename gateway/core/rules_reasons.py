"""The rule about reasons that people say at a machine: which a screen offers, and whether others are taken.

Plain data and a decision on it. What a reason does to a number, and the reasons that a machine tells by itself, are
decided elsewhere (``rules_state.py``, ``rules_counting.py``).
"""

# Annotations are evaluated at once (no postponed ones): pydantic reads them.

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from gateway.core.foreign_text import is_clean
from gateway.core.rules_orders import FORBID_UNKNOWN_KEYS

#: Of each list; more is nothing that a person finds his way in.
OFFERED_MAX: Final = 200
REASON_CHARS_MAX: Final = 300  # of a person's word


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedReasonsRule:
    """Which reasons a person is offered at the machine, besides those that its rules name.

    Attributes:
        stop: why it stands, such as NO_MATERIAL.
        scrap: why pieces are scrap: codes that the ERP knows.
        rework: why pieces are to be worked on again.
        only: any other reason of a person is refused, wherever a list says which there are.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    stop: tuple[str, ...] = ()
    scrap: tuple[str, ...] = ()
    rework: tuple[str, ...] = ()
    only: bool = False

    def __post_init__(self) -> None:
        """Bounded lists of what a person could have said, each once."""
        for name, listed in (("stop", self.stop), ("scrap", self.scrap), ("rework", self.rework)):
            if len(listed) > OFFERED_MAX:
                raise ValueError(f"{name}: found {len(listed)} reasons, allowed up to {OFFERED_MAX}")
            if twice := sorted({one for one in listed if listed.count(one) > 1}):
                raise ValueError(f"{name}: found {twice[0]!r} twice, allowed: each reason once")
            odd = [one for one in listed if not (one.strip() and is_clean(one) and len(one) <= REASON_CHARS_MAX)]
            if odd:
                raise ValueError(
                    f"{name}: found {odd[0][:40]!a}, allowed: a text of 1 to {REASON_CHARS_MAX} characters"
                )
