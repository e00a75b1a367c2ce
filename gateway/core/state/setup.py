"""When a machine is being changed over: what starts a setup, what ends it, what is made in it, and how long it took.

Tells of beginnings and ends; the timeline turns them into time. Knows no signal: products, tools, modes, pieces and
people's words are handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import Role

if TYPE_CHECKING:
    from gateway.core.rules_state import SetupRule

STARTUP = "STARTUP"  # the reason of pieces that a setup makes


class SetupStarted(NamedTuple):
    """A setup began: known at ``at_ns``, counted from ``from_ns``. ``trigger``: product, tool, mode or operator.

    ``who`` is the person who said so, empty where nobody did.
    """

    at_ns: int
    from_ns: int
    trigger: str
    who: str = ""


class SetupEnded(NamedTuple):
    """A setup ended at ``at_ns``, by the rule's end or by a person (``who``)."""

    at_ns: int
    trigger: str
    who: str = ""


class SetupObservation(NamedTuple):
    """How long a changeover took from one product and tool to another: one entry of a setup matrix.

    ``duration_ns`` is from the last good piece, or the trigger, to the end. ``crew`` as the caller names it.
    ``trigger`` is what began it.
    """

    at_ns: int
    from_product: str
    to_product: str
    from_tool: str
    to_tool: str
    duration_ns: int
    crew: str = ""
    trigger: str = ""


class TransitionTime(NamedTuple):
    """From the last good piece of one product to the first good one of the next, whoever declared a setup or none."""

    at_ns: int
    from_product: str
    to_product: str
    duration_ns: int


class SetupOverrun(NamedTuple):
    """A setup lasts much longer than it was planned."""

    at_ns: int
    planned_ns: int
    since_ns: int


SetupOutput = SetupStarted | SetupEnded | SetupObservation | TransitionTime | SetupOverrun
_Out = tuple[SetupOutput, ...]


class SetupState(NamedTuple):
    """What must survive a restart.

    ``product`` and ``tool`` are those that are on the machine, ``made_product`` what the last good piece was. While a
    setup goes on ``since_ns`` is set, with the product and tool that it came from and what began it.
    """

    product: str = ""
    tool: str = ""
    made_product: str = ""
    last_good_ns: int | None = None
    since_ns: int | None = None
    from_product: str = ""
    from_tool: str = ""
    planned_ns: int | None = None
    warned: bool = False
    in_a_row: int = 0
    mode: bool = False
    crew: str = ""
    trigger: str = ""

    def made(self, at_ns: int) -> SetupState:
        """A good piece of the product that is on the machine."""
        # Field by field, because every piece passes here: three times as fast as ``_replace``.
        return tuple.__new__(SetupState, (self.product, self.tool, self.product, at_ns, *self[4:]))

    def again(self, now: SetupState, tool: str | None) -> SetupState:
        """This earlier state, with what was seen since: pieces, mode, and the tool that a tag names."""
        made, last_ns = now.made_product, now.last_good_ns
        return self._replace(tool=tool or self.tool, mode=now.mode, made_product=made, last_good_ns=last_ns)


class SetupTracker:
    """The rule, prepared. Methods are called in the order in which things happened."""

    def __init__(self, rule: SetupRule) -> None:
        self._rule = rule

    def initial(self) -> SetupState:
        """Nothing was made yet."""
        return SetupState()

    # --- what may start it -------------------------------------------------------------------------------------------

    def job(
        self, state: SetupState, at_ns: int, product: str | None, tool: str, planned_ns: int | None = None
    ) -> tuple[SetupState, _Out]:
        """An order was activated (``tool`` may be empty where it names none), or none runs (``product`` None)."""
        if product is None:
            return state, ()
        before = state
        state = state._replace(product=product, tool=tool or state.tool)
        other_product = bool(before.product) and before.product != product
        other_tool = bool(before.tool) and before.tool != state.tool
        if state.since_ns is not None:
            return state._replace(planned_ns=planned_ns if planned_ns is not None else state.planned_ns), ()
        if other_product and self._rule.on_product_change:
            return self._start(state, before, at_ns, "product", planned_ns)
        if other_tool and self._rule.on_tool_change:
            return self._start(state, before, at_ns, "tool", planned_ns)
        return state, ()

    def begins(self, state: SetupState, product: str, tool: str) -> bool:
        """Whether an order of this product and tool would begin a setup."""
        other_product = bool(state.product) and state.product != product and self._rule.on_product_change
        other_tool = bool(tool) and bool(state.tool) and state.tool != tool and self._rule.on_tool_change
        return other_product or other_tool

    def tool(self, state: SetupState, at_ns: int, tool: str) -> tuple[SetupState, _Out]:
        """Another tool is on the machine, as its tag says; the first one that is seen is no change."""
        before = state
        state = state._replace(tool=tool)
        changed = bool(before.tool) and before.tool != tool and self._rule.on_tool_change
        if changed and state.since_ns is None:
            return self._start(state, before, at_ns, "tool", None)
        return state, ()

    def mode(self, state: SetupState, at_ns: int, *, in_setup: bool) -> tuple[SetupState, _Out]:
        """The mode or program tag entered or left setup; leaving it releases production."""
        if in_setup == state.mode:
            return state, ()
        before = state
        state = state._replace(mode=in_setup)
        if in_setup:
            return (state, ()) if state.since_ns is not None else self._start(state, before, at_ns, "mode", None)
        return self._end(state, at_ns, "plc_release") if self._rule.end == "plc_release" else (state, ())

    def operator_start(self, state: SetupState, at_ns: int, planned_ns: int | None = None) -> tuple[SetupState, _Out]:
        """A person began to set up."""
        return (state, ()) if state.since_ns is not None else self._start(state, state, at_ns, "operator", planned_ns)

    # --- what may end it ---------------------------------------------------------------------------------------------

    def operator_confirm(self, state: SetupState, at_ns: int) -> tuple[SetupState, _Out]:
        """A person says that the setup is done; that ends it whatever the rule's end is."""
        return self._end(state, at_ns, "operator_confirm")

    def release(self, state: SetupState, at_ns: int) -> tuple[SetupState, _Out]:
        """The PLC released production."""
        return self._end(state, at_ns, "plc_release") if self._rule.end == "plc_release" else (state, ())

    def piece(
        self, state: SetupState, at_ns: int, role: Role, cycle_ns: int | None, ideal_ns: int | None
    ) -> tuple[SetupState, _Out, Role, str]:
        """A piece was made: what it is, and the reason where the setup made it.

        The piece that ends a setup is production. ``cycle_ns`` is None where no single cycle time is known: then it is
        not within the tolerance.
        """
        out: list[SetupOutput] = []
        if state.since_ns is not None and role is Role.GOOD:
            near = self._in_tolerance(cycle_ns, ideal_ns)
            state = state._replace(in_a_row=state.in_a_row + 1 if near else 0)
            first_good = self._rule.end == "first_good"
            enough = self._rule.end == "n_good_in_tolerance" and state.in_a_row >= self._rule.good_in_a_row
            if first_good or enough:
                state, ended = self._end(state, at_ns, self._rule.end)
                out += ended
        elif state.since_ns is not None:
            state = state._replace(in_a_row=0)
        if state.since_ns is not None:
            made_as = {"scrap": Role.SCRAP, "good": Role.GOOD, "test": Role.TEST}[self._rule.pieces_as]
            # A piece that the machine itself calls bad does not become good in a setup.
            return state, tuple(out), made_as if role is Role.GOOD else role, STARTUP
        if role is Role.GOOD:
            if state.made_product and state.made_product != state.product and state.last_good_ns is not None:
                took_ns = max(0, at_ns - state.last_good_ns)
                out.append(TransitionTime(at_ns, state.made_product, state.product, took_ns))
            state = state.made(at_ns)
        return state, tuple(out), role, ""

    # --- time --------------------------------------------------------------------------------------------------------

    def deadline(self, state: SetupState) -> int | None:
        """When a setup has lasted too long; None: never."""
        if state.since_ns is None or state.warned or not state.planned_ns:
            return None
        return state.since_ns + state.planned_ns * self._rule.alert_percent // 100 + 1

    def on_time(self, state: SetupState, now_ns: int) -> tuple[SetupState, _Out]:
        """Tells once that a setup lasts too long."""
        due_ns = self.deadline(state)
        if due_ns is None or due_ns > now_ns:
            return state, ()
        assert state.since_ns is not None, "a deadline belongs to a setup"
        return state._replace(warned=True), (SetupOverrun(due_ns, state.planned_ns or 0, state.since_ns),)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _start(
        self, state: SetupState, before: SetupState, at_ns: int, trigger: str, planned_ns: int | None
    ) -> tuple[SetupState, _Out]:
        since_ns = at_ns
        if self._rule.setup_from == "last_good" and state.last_good_ns is not None:
            since_ns = min(state.last_good_ns, at_ns)
        state = state._replace(
            since_ns=since_ns,
            from_product=before.product,
            from_tool=before.tool,
            planned_ns=self._rule.planned if planned_ns is None else planned_ns,
            warned=False,
            in_a_row=0,
            trigger=trigger,
        )
        return state, (SetupStarted(at_ns, since_ns, trigger),)

    def _end(self, state: SetupState, at_ns: int, trigger: str) -> tuple[SetupState, _Out]:
        if state.since_ns is None:
            return state, ()
        took_ns = max(0, at_ns - state.since_ns)
        seen = SetupObservation(
            at_ns, state.from_product, state.product, state.from_tool, state.tool, took_ns, state.crew, state.trigger
        )
        ended = state._replace(
            since_ns=None, from_product="", from_tool="", planned_ns=None, warned=False, in_a_row=0, trigger=""
        )
        return ended, (SetupEnded(at_ns, trigger), seen)

    def _in_tolerance(self, cycle_ns: int | None, ideal_ns: int | None) -> bool:
        if cycle_ns is None or not ideal_ns:
            return False
        return abs(cycle_ns - ideal_ns) * 100 <= ideal_ns * self._rule.tolerance_percent
