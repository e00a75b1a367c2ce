"""PackML as OPC 30050 has it: state numbers, ways through the states, and the structures of its counters and alarms.

Knows no machine: who walks, and what a state means for the counters, is ``opcua_filler.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from asyncua import ua
from asyncua.common.manage_nodes import create_data_type, create_encoding
from asyncua.common.structures104 import new_struct_field
from asyncua.ua.object_ids import ObjectIds

from simulators.opcua_space import TypeId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulators.opcua_space import Space

NAMESPACE: Final = "http://opcfoundation.org/UA/PackML/"
COUNT_TYPE: Final = TypeId(NAMESPACE, 14)
ALARM_TYPE: Final = TypeId(NAMESPACE, 15)
MODE_TYPE: Final = TypeId(NAMESPACE, 11)
#: Their binary encodings have these numbers.
COUNT_ENCODING: Final = 69
ALARM_ENCODING: Final = 74
MODE_WORDS: Final = ("Invalid", "Produce", "Maintenance", "Manual")
#: "Nothing yet" of a time stamp.
NEVER: Final = datetime(1601, 1, 1, tzinfo=UTC)


class State(IntEnum):
    """A state of the machine, by its StateNumber."""

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


_FROM_IDLE: Final = (State.STARTING, State.EXECUTE)
_FROM_STOPPED: Final = (State.RESETTING, State.IDLE, *_FROM_IDLE)
#: The states on the way to Execute, from where a machine can wait.
TO_EXECUTE: Final[dict[State, tuple[State, ...]]] = {
    State.EXECUTE: (),
    State.IDLE: _FROM_IDLE,
    State.STOPPED: _FROM_STOPPED,
    State.COMPLETE: _FROM_STOPPED,
    State.HELD: (State.UNHOLDING, State.EXECUTE),
    State.SUSPENDED: (State.UNSUSPENDING, State.EXECUTE),
    State.ABORTED: (State.CLEARING, State.STOPPED, *_FROM_STOPPED),
}
#: Commands: the states on the way, and from where it may be taken.
WAYS: Final[dict[str, tuple[tuple[State, State], frozenset[State]]]] = {
    "hold": ((State.HOLDING, State.HELD), frozenset({State.EXECUTE, State.SUSPENDED})),
    "suspend": ((State.SUSPENDING, State.SUSPENDED), frozenset({State.EXECUTE})),
    "complete": ((State.COMPLETING, State.COMPLETE), frozenset({State.EXECUTE})),
    "stop": ((State.STOPPING, State.STOPPED), frozenset(State) - {State.ABORTING, State.ABORTED, State.CLEARING}),
    "abort": ((State.ABORTING, State.ABORTED), frozenset(State)),
}


def _int() -> ua.Int32:
    return ua.Int32(0)


@dataclass
class PackMLCountDataType:
    """One of the counters of a material."""

    ID: ua.Int32 = field(default_factory=_int)
    Name: ua.String = field(default_factory=lambda: ua.String(""))
    Unit: ua.EUInformation = field(default_factory=ua.EUInformation)
    Count: ua.Int32 = field(default_factory=_int)
    AccCount: ua.Int32 = field(default_factory=_int)


@dataclass
class PackMLAlarmDataType:
    """A stop reason, alarm or warning."""

    ID: ua.Int32 = field(default_factory=_int)
    Value: ua.Int32 = field(default_factory=_int)
    Message: ua.String = field(default_factory=lambda: ua.String(""))
    Category: ua.Int32 = field(default_factory=_int)
    DateTime: ua.DateTime = NEVER  # type: ignore[assignment] # the library takes any datetime for its own class
    AckDateTime: ua.DateTime = NEVER  # type: ignore[assignment] # as above
    Trigger: ua.Boolean = False  # type: ignore[assignment] # as above, for bool


_UNIT: Final = ua.NodeId(ua.Int32(ObjectIds.EUInformation))
_TIME: Final = ua.NodeId(ua.Int32(ObjectIds.UtcTime))
_INT: Final = ua.VariantType.Int32
_TEXT: Final = ua.VariantType.String
COUNT_FIELDS: Final = (("ID", _INT), ("Name", _TEXT), ("Unit", _UNIT), ("Count", _INT), ("AccCount", _INT))
ALARM_FIELDS: Final = (
    ("ID", _INT),
    ("Value", _INT),
    ("Message", _TEXT),
    ("Category", _INT),
    ("DateTime", _TIME),
    ("AckDateTime", _TIME),
    ("Trigger", ua.VariantType.Boolean),
)


async def add_types(space: Space) -> None:
    """Make the data types in the address space, with the definitions that clients read, and tell the library."""
    await space.add_enumeration(MODE_TYPE, "ProductionMaintenanceModeEnum", MODE_WORDS)
    await _add_structure(space, COUNT_TYPE, COUNT_ENCODING, PackMLCountDataType, COUNT_FIELDS)
    await _add_structure(space, ALARM_TYPE, ALARM_ENCODING, PackMLAlarmDataType, ALARM_FIELDS)


async def _add_structure(
    space: Space,
    type_id: TypeId,
    encoding: int,
    kind: type,
    fields: tuple[tuple[str, ua.VariantType | ua.NodeId], ...],
) -> None:
    index = ua.Int16(space.index(type_id.uri))
    own, binary = ua.NodeId(ua.Int32(type_id.number), index), ua.NodeId(ua.Int32(encoding), index)
    data_type = await create_data_type(space.server.nodes.base_structure_type, own, f"{index}:{kind.__name__}")
    await create_encoding(data_type, binary, ua.QualifiedName("Default Binary", ua.UInt16(0)))
    definition = ua.StructureDefinition(
        DefaultEncodingId=binary,
        BaseDataType=space.server.nodes.base_structure_type.nodeid,
        StructureType=ua.StructureType.Structure,
        Fields=[new_struct_field(name, of) for name, of in fields],
    )
    await data_type.write_data_type_definition(definition)
    ua.register_extension_object(kind.__name__, binary, kind, own)


class Walk:
    """The state of one machine, and the states that it is on the way through.

    A state on the way lasts ``dwell_s`` seconds; ``enter`` shows each one. Whatever comes too early for the way that is
    left finishes it at once, so that no state is ever left out.
    """

    def __init__(self, dwell_s: float, enter: Callable[[State], Awaitable[None]]) -> None:
        self.state = State.STOPPED
        self._dwell_s = dwell_s
        self._enter = enter
        self._coming: deque[State] = deque()
        self._walking: asyncio.Task[None] | None = None

    @property
    def target(self) -> State:
        """Where it is, or where the way leads that it is on."""
        return self._coming[-1] if self._coming else self.state

    async def go(self, way: tuple[State, ...]) -> None:
        """Enter the first state now, the others one after the other."""
        await self.finish()
        self._coming.extend(way)
        await self._step()
        if self._coming:
            self._walking = asyncio.create_task(self._walk())

    async def arrive(self) -> None:
        """Wait until the way is over."""
        if self._walking is not None:
            await asyncio.wait({self._walking})

    async def finish(self) -> None:
        """Enter everything that is left now."""
        self.close()
        while self._coming:
            await self._step()

    def close(self) -> None:
        """Walk no more."""
        if self._walking is not None:
            self._walking.cancel()
            self._walking = None

    async def _walk(self) -> None:
        while self._coming:
            await asyncio.sleep(self._dwell_s)
            await self._step()
        self._walking = None

    async def _step(self) -> None:
        if self._coming:
            self.state = self._coming.popleft()
            await self._enter(self.state)
