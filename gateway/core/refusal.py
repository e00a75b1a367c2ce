"""Why something is not done: a text for a person that carries its parts for programs. Refuses nothing itself.

The parts are which guard is in the way, what was found, what is allowed and what to do. A plain text is a refusal
without parts: it is taken for one of the guard ``AS_IT_IS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

from gateway.core.model import Notice

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The guard of a refusal that names none: the state of order or machine does not let it happen.
AS_IT_IS: Final = "AS_IT_IS"
#: What to do where a refusal does not say it.
LOOK: Final = "look at the machine and its orders (linegate status), then decide anew; nothing was changed"
REFUSED: Final = "REFUSED"
#: So many objections one refusal names, with all their parts.
NAMED_MAX: Final = 12
_PARTS: Final = ("guard", "found", "allowed", "what_to_do")


class Refusal(str):
    """The text of a refusal, with its parts. Used wherever a plain text is; empty parts are not known."""

    __slots__ = ("allowed", "found", "guard", "what_to_do")

    guard: str
    found: str
    allowed: str
    what_to_do: str

    def __new__(cls, text: str, guard: str, *, found: str = "", allowed: str = "", what_to_do: str = "") -> Self:
        """A refusal by that guard."""
        made = super().__new__(cls, text)
        made.guard, made.found, made.allowed, made.what_to_do = guard, found, allowed, what_to_do
        return made


class Parts(NamedTuple):
    """The parts of a refusal as its notice carries them; guard and what to do are never empty."""

    text: str
    guard: str
    found: str
    allowed: str
    what_to_do: str


def all_of(refusals: Iterable[Refusal]) -> str:
    """Several refusals as one; "" where there is none.

    Guards, found, allowed and what to do are those of all, in their order, found and allowed each behind its guard;
    what two say alike is said once. Behind ``NAMED_MAX`` only how many more there are.
    """
    listed = list(refusals)
    if len(listed) < 2:  # noqa: PLR2004 - nothing to join
        return listed[0] if listed else ""
    more = f"and {len(listed) - NAMED_MAX} more" if len(listed) > NAMED_MAX else ""
    named = listed[:NAMED_MAX]

    def joined(parts: Iterable[str]) -> str:
        said = list(dict.fromkeys(parts))
        return "; ".join((*said, more) if said and more else said)

    return Refusal(
        joined(named),
        "; ".join(dict.fromkeys(one.guard for one in named)),
        found=joined(f"{one.guard}: {one.found}" for one in named if one.found),
        allowed=joined(f"{one.guard}: {one.allowed}" for one in named if one.allowed),
        what_to_do=joined(one.what_to_do for one in named if one.what_to_do),
    )


def details(why: str) -> tuple[tuple[str, str], ...]:
    """The facts of a REFUSED notice: the reason, then the parts that are known."""
    parts = [(name, getattr(why, name)) for name in _PARTS] if isinstance(why, Refusal) else []
    return (("reason", str(why)), *((name, text) for name, text in parts if text))


def refused(at_ns: int, why: str) -> Notice:
    """The notice that something is not done."""
    return Notice(at_ns, REFUSED, details(why))


def parts_of(notice: Notice) -> Parts:
    """What a REFUSED notice says."""
    said = dict(notice.detail)
    return Parts(
        said["reason"],
        said.get("guard", AS_IT_IS),
        said.get("found", ""),
        said.get("allowed", ""),
        said.get("what_to_do", LOOK),
    )
