"""Guards: what must be true before an operation of an order may change its state, asked of facts that are handed in.

Pure. It gathers no facts and changes nothing; which transition asks which guard stands in ``lifecycle.py``.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import JobOrderState
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.rules_orders import GuardMode, OrderBookRule

NAMES_SHOWN_MAX: Final = 5  # of a list, in one refusal


class Guard(enum.StrEnum):
    """A condition of a transition. G1 to G8 guard a start; the others what their name says."""

    G1 = "G1 no active hold"
    G2 = "G2 predecessor"
    G3 = "G3 material and lots"
    G4 = "G4 tool and recipe"
    G5 = "G5 skill"
    G6 = "G6 machine free"
    G7 = "G7 documents"
    G8 = "G8 sequence"
    FIRST_ARTICLE = "first article approved"
    SIGNATURE = "release signed"
    SNAPSHOT_COMPLETE = "BOM and routing complete"
    MACHINE_ALLOWED = "machine allowed"
    NOT_CANCELLED = "not cancelled by the ERP"
    NOT_STARTED = "not started"
    DISPOSITIONS = "no piece waits for a verdict"
    LOTS_COMPLETE = "lots complete"
    DURATION = "duration above 0"
    NOT_CLOSED = "not closed in the ERP"
    ALL_BOOKED = "nothing left to deliver, and reconciled"
    #: These four are asked by the module that does the deed, which needs more than facts.
    IMAGE_VALID = "order image valid"
    CANCEL_POLICY = "cancel policy"
    REMAINING_DIVIDED = "children sum up to what remains"
    SAME_PRODUCT = "same product, revision and unit"


START_GUARDS: Final = (Guard.G1, Guard.G2, Guard.G3, Guard.G4, Guard.G5, Guard.G6, Guard.G7, Guard.G8)

#: Which module asks a guard that ``check`` passes over.
ASKED_ELSEWHERE: Final = {
    Guard.IMAGE_VALID: "order_image_fields",
    Guard.CANCEL_POLICY: "order_changes",
    Guard.REMAINING_DIVIDED: "split_merge",
    Guard.SAME_PRODUCT: "split_merge",
}

#: An operation has started when pieces of it may exist: its setup alone makes none.
_STARTED: Final = frozenset(
    {JobOrderState.IN_PROGRESS, JobOrderState.INTERRUPTED, JobOrderState.COMPLETED, JobOrderState.CLOSED}
)
_DONE: Final = frozenset({JobOrderState.COMPLETED, JobOrderState.CLOSED})


class GuardFacts(NamedTuple):
    """What is known of an operation, its order and its machine. Each default is "nothing against it".

    ``predecessor_state`` None: there is no operation before. ``overlap``: it may be started while the one before runs.
    ``material_available`` None: nobody tells. ``tool_found`` and ``recipe_found`` None: no such signal; "" : the signal
    says nothing. ``changeover``: a setup begins, which is what puts the right tool in. ``running`` are other orders on
    the machine; ``own_part``: this order and those have a part each, so that pieces can be told apart. ``ahead`` are
    orders before it in the queue that could start. ``unbooked`` counts confirmations that the ERP has not acknowledged;
    ``closed_by_erp``: the ERP itself closed the order.
    """

    holds: tuple[str, ...] = ()
    predecessor: str = ""
    predecessor_state: JobOrderState | None = None
    overlap: bool = False
    material_available: bool | None = None
    lots_required: tuple[str, ...] = ()
    lots_mounted: tuple[str, ...] = ()
    tool_wanted: str = ""
    tool_found: str | None = None
    recipe_wanted: str = ""
    recipe_found: str | None = None
    changeover: bool = False
    skill_required: str = ""
    skills: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    own_part: bool = False
    documents_required: tuple[str, ...] = ()
    documents_acknowledged: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    first_article_required: bool = False
    first_article_approved: bool = False
    signature_required: bool = False
    signed: bool = False
    snapshot_complete: bool = True
    machine_allowed: bool = True
    cancelled: bool = False
    started: bool = False
    pieces_on_hold: int = 0
    lots_incomplete: tuple[str, ...] = ()
    duration_ns: int = 1
    closed_by_erp: bool = False
    unbooked: int = 0
    reconciled: bool = True


class GuardRefusal(NamedTuple):
    """One guard's objection. ``blocks`` False: it is a warning, the transition may go on."""

    guard: Guard
    blocks: bool
    found: str
    wanted: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.guard}: found {self.found}, wanted {self.wanted}; {self.what_to_do}"


def check(guards: Iterable[Guard], facts: GuardFacts, rule: OrderBookRule) -> tuple[GuardRefusal, ...]:
    """The objections of these guards, in their order; empty: nothing is against it.

    Guards of ``ASKED_ELSEWHERE`` are passed over.
    """
    refusals: list[GuardRefusal] = []
    for guard in guards:
        if guard in ASKED_ELSEWHERE:
            continue
        mode = mode_of(guard, rule)
        objection = _ASK[guard](facts, rule) if mode != "off" else None
        if objection is not None:
            # A setup may begin with the wrong tool in the machine: changing it is what the setup is for.
            blocks = mode == "block" and not (guard is Guard.G4 and facts.changeover)
            refusals.append(GuardRefusal(guard, blocks, *objection))
    return tuple(refusals)


def mode_of(guard: Guard, rule: OrderBookRule) -> GuardMode:
    """What a guard does; those without a setting always block."""
    name = _SETTING.get(guard)
    mode: GuardMode = "block" if name is None else getattr(rule.guards, name)
    return mode


def blocked(refusals: Iterable[GuardRefusal]) -> bool:
    """Whether any of them keeps the transition from happening."""
    return any(refusal.blocks for refusal in refusals)


_SETTING: Final = {
    Guard.G1: "hold",
    Guard.G2: "predecessor",
    Guard.G3: "material",
    Guard.G4: "tool",
    Guard.G5: "skill",
    Guard.G6: "machine",
    Guard.G7: "documents",
    Guard.G8: "sequence",
    Guard.FIRST_ARTICLE: "first_article",
    Guard.SIGNATURE: "signature",
}

_Objection = tuple[str, str, str] | None  # found, wanted, what to do


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMES_SHOWN_MAX} more" if len(listed) > NAMES_SHOWN_MAX else ""
    return ", ".join(listed[:NAMES_SHOWN_MAX]) + more


def _missing(required: Iterable[str], there: Iterable[str]) -> str:
    have = set(there)
    return _names(name for name in required if name not in have)


def _hold(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.holds:
        return None
    return (f"hold {_names(facts.holds)}", "no active hold", "quality or a supervisor releases the hold")


def _predecessor(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    state = facts.predecessor_state
    if state is None or state in (_STARTED if facts.overlap else _DONE):
        return None
    wanted = "started or complete" if facts.overlap else "complete"
    found = f"operation {facts.predecessor} {state}"
    return (found, f"it {wanted}", f"finish operation {facts.predecessor} first, or release this one with overlap")


def _material(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    missing = _missing(facts.lots_required, facts.lots_mounted)
    if missing:
        return (f"no lot of {missing}", "a lot of each mounted", "scan the lots that are missing at the machine")
    if facts.material_available is False:
        return (
            "material not available",
            "material at the machine",
            "have it brought and say so (order material-ready), or correct it in the ERP",
        )
    return None


def _tool(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    pairs = (("tool", facts.tool_wanted, facts.tool_found), ("recipe", facts.recipe_wanted, facts.recipe_found))
    wrong = [(name, wanted, found) for name, wanted, found in pairs if wanted and found not in (None, wanted)]
    if not wrong:
        return None
    return (
        ", ".join(f"{name} {found or 'unknown'}" for name, _, found in wrong),
        ", ".join(f"{name} {wanted}" for name, wanted, _ in wrong),
        "set the machine up for this order, or start the order that the machine is set up for",
    )


def _skill(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.skill_required or facts.skill_required in facts.skills:
        return None
    found = f"skills {_names(facts.skills)}" if facts.skills else "nobody with a skill logged in"
    return (found, f"skill {facts.skill_required}", "somebody who has it logs in at the machine")


def _machine(facts: GuardFacts, rule: OrderBookRule) -> _Objection:
    running, most = facts.running, rule.max_parallel_orders
    if not running:
        return None
    if most == 1:
        if rule.when_running != "refuse":
            return None
        return (f"order {_names(running)} running", "a free machine", "interrupt or finish that order first")
    if len(running) >= most:
        found = f"{len(running)} orders running: {_names(running)}"
        return (found, f"fewer than {most}", "interrupt or finish one of them first")
    if not facts.own_part:
        return (
            f"order {_names(running)} running, and counts that cannot be told apart",
            "a part of its own for each order",
            "map each part to a counter or cavity, or interrupt that order first",
        )
    return None


def _documents(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    missing = _missing(facts.documents_required, facts.documents_acknowledged)
    if not missing:
        return None
    return (f"{missing} not acknowledged", "every document acknowledged", "read and acknowledge it at the machine")


def _sequence(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.ahead:
        return None
    wanted = "the first of the queue that can start"
    return (f"order {_names(facts.ahead)} before it", wanted, "start that one, or have the planner change the sequence")


def _first_article(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.first_article_required or facts.first_article_approved:
        return None
    return ("no approval", "the first article approved", "quality checks the first piece and approves it")


def _signature(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.signature_required or facts.signed:
        return None
    return (
        "no signature",
        "the release signed",
        "sign the release with your passphrase: --sign, or the field passphrase",
    )


def _simple(
    is_met: Callable[[GuardFacts], bool], found: str, wanted: str, what_to_do: str
) -> Callable[[GuardFacts, OrderBookRule], _Objection]:
    def ask(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
        return None if is_met(facts) else (found, wanted, what_to_do)

    return ask


def _dispositions(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.pieces_on_hold:
        return None
    return (f"{pieces_of(facts.pieces_on_hold)} on hold", "none", "judge them: linegate order reclassify --from hold")


def _lots(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if not facts.lots_incomplete:
        return None
    return (f"unknown lot of {_names(facts.lots_incomplete)}", "every lot known", "name the lots that were used")


def _all_booked(facts: GuardFacts, _rule: OrderBookRule) -> _Objection:
    if facts.unbooked:
        found = f"{facts.unbooked} confirmations not acknowledged"
        return (found, "all acknowledged", "wait for the ERP, or settle what is parked")
    if not facts.closed_by_erp and not facts.reconciled:
        return ("a difference to the ERP", "the same quantities on both sides", "settle the reconciliation finding")
    return None


_ASK: Final[dict[Guard, Callable[[GuardFacts, OrderBookRule], _Objection]]] = {
    Guard.G1: _hold,
    Guard.G2: _predecessor,
    Guard.G3: _material,
    Guard.G4: _tool,
    Guard.G5: _skill,
    Guard.G6: _machine,
    Guard.G7: _documents,
    Guard.G8: _sequence,
    Guard.FIRST_ARTICLE: _first_article,
    Guard.SIGNATURE: _signature,
    Guard.SNAPSHOT_COMPLETE: _simple(
        lambda facts: facts.snapshot_complete,
        "an incomplete BOM or routing",
        "both complete",
        "complete it in the ERP and release the order again",
    ),
    Guard.MACHINE_ALLOWED: _simple(
        lambda facts: facts.machine_allowed,
        "a machine that is not allowed for the operation",
        "one of its work center",
        "dispatch it to a machine that may make it",
    ),
    Guard.NOT_CANCELLED: _simple(
        lambda facts: not facts.cancelled,
        "the order cancelled by the ERP",
        "an order that is wanted",
        "release a new order in the ERP",
    ),
    Guard.NOT_STARTED: _simple(
        lambda facts: not facts.started, "the operation started", "not started", "interrupt it instead"
    ),
    Guard.DISPOSITIONS: _dispositions,
    Guard.LOTS_COMPLETE: _lots,
    Guard.DURATION: _simple(
        lambda facts: facts.duration_ns > 0, "a run of 0 s", "a run that took time", "check when it was started"
    ),
    Guard.NOT_CLOSED: _simple(
        lambda facts: not facts.closed_by_erp,
        "the order closed in the ERP",
        "an open order",
        "have it opened in the ERP, or release a new order",
    ),
    Guard.ALL_BOOKED: _all_booked,
}
