"""State numbers of the field as machine states: PackML, Machinery, Weihenstephan, or a table of the customer's own.

Data and a lookup. The numbers are never universal (Execute is 6 in OPC 30050 and 4 in OPC 30060), so a rule names its
map, and a number that the map does not have is no state at all: the caller makes it UNKNOWN, never STOPPED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import MachineState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import Scalar

_S = MachineState


class MappedState(NamedTuple):
    """What a number means: the state, a rule's reason ("" for none), and whether it runs below its speed."""

    state: MachineState
    reason: str = ""
    reduced_speed: bool = False


_WORKS: Final = frozenset({_S.PRODUCING, _S.IDLE_NO_ORDER})  # states that have no reason to give
_PRODUCING: Final = MappedState(_S.PRODUCING)
_SLOW: Final = MappedState(_S.PRODUCING, reduced_speed=True)
_STOPPED: Final = MappedState(_S.STOPPED)
_RESTART: Final = MappedState(_S.STOPPED, "RESTART")
_WAITING: Final = MappedState(_S.STOPPED, "SUSPENDED")  # external, but which side is not known

#: OPC 30050 StateNumber. Held is the machine's own cause, Suspended comes from outside: never swap the two.
PACKML: Final[Mapping[int, MappedState]] = {
    1: MappedState(_S.STOPPED, "CLEARING"),
    2: _STOPPED,
    3: _RESTART,
    4: MappedState(_S.IDLE_NO_ORDER),
    5: _WAITING,
    6: _PRODUCING,
    7: _STOPPED,
    8: MappedState(_S.STOPPED, "ABORTED"),
    9: MappedState(_S.STOPPED, "ABORTED"),
    10: MappedState(_S.STOPPED, "HELD"),
    11: MappedState(_S.STOPPED, "HELD"),
    12: MappedState(_S.STOPPED, "HELD"),
    13: _WAITING,
    14: _WAITING,
    15: _RESTART,
    16: _SLOW,
    17: MappedState(_S.IDLE_NO_ORDER),
}
PACKML_STARTING: Final = 3
PACKML_SUSPENDED: Final = frozenset({5, 13, 14})
PACKML_MODES: Final[Mapping[int, MachineState | None]] = {1: None, 2: _S.MAINTENANCE, 3: _S.SETUP}

#: OPC 40001-1 MachineryItemState. 0 (NotAvailable) is a machine that is off, not one that nobody can hear.
MACHINERY: Final[Mapping[int, MappedState]] = {
    0: MappedState(_S.OFF, "POWER_OFF"),
    1: MappedState(_S.STOPPED, "OUT_OF_SERVICE"),
    2: _STOPPED,
    3: _PRODUCING,
}
#: OPC 40001-1 MachineryOperationMode; 0 (None) with NotExecuting is a machine without an order.
MACHINERY_MODES: Final[Mapping[int, MachineState | None]] = {0: None, 1: _S.MAINTENANCE, 2: _S.SETUP, 3: None}

#: WS_Cur_State: one bit each; in this order where several are set, the graver first. Bits 13 and 14 are left out: no
#: two sources agree on them, so a machine that sets them says what they are in its own map.
WEIHENSTEPHAN: Final[Mapping[int, MappedState]] = {
    4096: MappedState(_S.STOPPED, "EMERGENCY_STOP"),
    1024: MappedState(_S.STOPPED, "EQUIPMENT_FAILURE"),
    2048: MappedState(_S.STOPPED, "EXTERNAL_FAILURE"),
    512: MappedState(_S.STOPPED, "ABORTED"),
    16: MappedState(_S.BLOCKED, "TAILBACK"),
    64: MappedState(_S.BLOCKED, "TAILBACK_BRANCH_LINE"),
    8: MappedState(_S.STARVED, "LACK"),
    32: MappedState(_S.STARVED, "LACK_BRANCH_LINE"),
    128: _PRODUCING,
    256: _STOPPED,
    1: _STOPPED,
    2: _RESTART,
    4: MappedState(_S.STOPPED, "PREPARED"),
    32768: MappedState(_S.IDLE_NO_ORDER),
}
#: WS_Cur_Prog as a mode; None: the state decides. 2 and 4 (start up, run down) run below their speed; a plain stop in 0
#: (no program) is a machine without an order.
WEIHENSTEPHAN_PROGRAMS: Final[Mapping[int, MachineState | None]] = {
    0: None,
    1: None,
    2: None,
    4: None,
    8: _S.CLEANING,
    16: _S.SETUP,
    32: _S.MAINTENANCE,
    64: _S.PLANNED_STOP,
}
WEIHENSTEPHAN_SLOW_PROGRAMS: Final = frozenset({2, 4})

STATE_MAPS: Final = {"packml": PACKML, "machinery": MACHINERY, "weihenstephan": WEIHENSTEPHAN}
MODE_MAPS: Final = {
    "packml": PACKML_MODES,
    "machinery": MACHINERY_MODES,
    "weihenstephan": WEIHENSTEPHAN_PROGRAMS,
}


class StateMap:
    """One rule's map, prepared.

    Args:
        named: ``packml``, ``machinery``, ``weihenstephan``, or a table of value (as text) to state.
        starting_as: what PackML's Starting (3) is: PRODUCING or STOPPED.
        reasons: value (as text) to the reason that it tells, in place of the map's own.

    Raises ValueError for a name that is none of these.
    """

    def __init__(
        self,
        named: str | Mapping[str, MachineState],
        *,
        starting_as: MachineState = MachineState.STOPPED,
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        self._reasons = reasons or {}
        self._bits: tuple[tuple[int, MappedState], ...] = ()
        self._modes: Mapping[int, MachineState | None] = {}
        self._name = named if isinstance(named, str) else ""
        if not isinstance(named, str):
            self._table = {text: MappedState(state) for text, state in named.items()}
            return
        if named not in STATE_MAPS:
            raise ValueError(f"map: found {named!r}, allowed: {', '.join(STATE_MAPS)}, or a table of value to state")
        self._table = {str(number): mapped for number, mapped in STATE_MAPS[named].items()}
        self._modes = MODE_MAPS[named]
        if named == "weihenstephan":
            self._bits = tuple(WEIHENSTEPHAN.items())
        if named == "packml" and starting_as is MachineState.PRODUCING:
            self._table[str(PACKML_STARTING)] = _SLOW

    def state(
        self, value: Scalar, *, program: Scalar = None, blocked: bool = False, starved: bool = False
    ) -> MappedState | None:
        """What the value means; None: it stands in no table (STATE_UNMAPPED).

        ``program`` is the mode or program signal beside it; ``blocked`` and ``starved`` are PackML's EquipmentBlocked
        and EquipmentStarved, which tell the two sides of Suspended apart.
        """
        text = as_text(value)
        found = self._meant(text, program, blocked=blocked, starved=starved)
        reason = self._reasons.get(text)
        if found is None or reason is None or found.state in _WORKS:
            return found
        return found._replace(reason=reason)

    def _meant(self, text: str, program: Scalar, *, blocked: bool, starved: bool) -> MappedState | None:
        found = self._table.get(text)
        if found is None and self._bits and text.isdecimal():
            found = self._of_bits(int(text))
        if found is None:
            return None
        number = _number(program)
        if self._name == "packml" and text.isdecimal() and int(text) in PACKML_SUSPENDED and blocked != starved:
            return MappedState(_S.BLOCKED if blocked else _S.STARVED)
        if self._name == "machinery" and text == "2" and number == 0:
            return MappedState(_S.IDLE_NO_ORDER)
        if self._name == "weihenstephan":
            return _with_program(found, number)
        return found

    def mode(self, value: Scalar) -> MachineState | None:
        """SETUP, MAINTENANCE, CLEANING ... as the mode or program signal says; None: it leaves it to the state."""
        number = _number(value)
        return None if number is None else self._modes.get(number)

    @property
    def values(self) -> frozenset[str]:
        """Values that mean something, as text."""
        return frozenset(self._table)

    def _of_bits(self, number: int) -> MappedState | None:
        known = 0
        for bit, _mapped in self._bits:
            known |= bit
        if number & ~known:  # a bit that nobody explained may change the meaning of the others
            return None
        return next((mapped for bit, mapped in self._bits if number & bit), None)


def _with_program(found: MappedState, program: int | None) -> MappedState:
    if found.state is _S.PRODUCING and program in WEIHENSTEPHAN_SLOW_PROGRAMS:
        return _SLOW
    return MappedState(_S.IDLE_NO_ORDER) if found == _STOPPED and program == 0 else found


def as_text(value: Scalar) -> str:
    """State values compare as text: 2, 2.0 and "2" are the same state; true and false are 1 and 0."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _number(value: Scalar) -> int | None:
    text = as_text(value)
    return int(text) if text.isdecimal() else None
