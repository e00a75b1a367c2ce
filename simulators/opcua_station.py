"""What every simulated OPC UA machine has: one server with its nodes, its faults, its clock and its log of the truth.

The machine itself - what it makes and which values that means - is ``opcua_server.py`` and ``opcua_filler.py``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from simulators.control import CommandError, Truth
from simulators.opcua_endpoint import Endpoint
from simulators.opcua_faults import Faults
from simulators.opcua_security import Access
from simulators.opcua_space import Space
from simulators.opcua_values import Values
from simulators.pace import Pace, machine_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from simulators.control import Control
    from simulators.machine import Event, MachineSpec
    from simulators.opcua_space import Variable

#: How often the server's CurrentTime moves, in seconds.
CLOCK_EVERY_S: Final = 1.0
#: Cycles after which clients get a turn at the latest, however far the machine is behind.
CYCLES_PER_TURN: Final = 20


class Station:
    """The server side of one machine.

    ``uri`` is the namespace of its variables, ``types`` makes their data types; ``apply`` takes the machine's events.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        spec: MachineSpec,
        *,
        uri: str,
        variables: Sequence[Variable],
        types: Callable[[Space], Awaitable[None]],
        primary: str,
        apply: Callable[[Event], Awaitable[None]],
    ) -> None:
        slug = spec.name.lower()
        # Faults are the purpose here: the library's complaints about broken links would drown the rest.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        self._name = spec.name
        self.access = Access(options, name=spec.name, application_uri=f"urn:simulators:{slug}")
        self.truth = Truth(spec.name, options.truth)
        self.endpoint = Endpoint(options.host, options.port, f"/{slug}", self.access.users())
        machine = machine_of(spec, options)
        self._apply = apply
        self._cycles = 0
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._take)
        self.space = Space(
            self.endpoint.server,
            machine=(f"urn:simulators:{slug}:vendor", spec.name),
            uri=uri,
            variables=variables,
            types=types,
        )
        self.values = Values(self.space, lambda: machine.producing)
        self.faults = Faults(self.endpoint, self.space, self.values, self.truth, primary=primary)

    async def build(self) -> None:
        """Make the address space; nobody can connect yet."""
        server = self.endpoint.server
        await server.init()
        server.set_server_name(f"Simulated {self._name}")
        server.set_endpoint(self.endpoint.url)
        await server.set_application_uri(self.access.application_uri)
        await self.access.apply(server)
        await self.space.build()

    async def open(self) -> None:
        """Show all values and begin to listen."""
        await self.values.show()
        await self.endpoint.open()
        await self.values.started()

    async def run_clock(self) -> None:
        """Keep the server's own clock going, for ever."""
        while True:
            await self.values.tick()
            await asyncio.sleep(CLOCK_EVERY_S)

    def declare(self, control: Control, counters: Mapping[str, tuple[int, Callable[[int], Awaitable[None]]]]) -> None:
        """Add the commands that both machines have; ``counters``: name to its largest value and how it is set."""
        self.pace.declare(control)
        self.faults.declare(control)

        async def overwrite(name: str, text: str) -> None:
            highest, change = counters[name]
            if not text.isdecimal() or int(text) > highest:
                raise CommandError(f"'set' got {text!r} for {name}; allowed: a whole number 0 to {highest}")
            await change(int(text))
            self.truth.event("set", counter=name, value=int(text))

        control.add(f"set {'|'.join(counters)} TEXT", overwrite)

    def ready_facts(self) -> dict[str, Any]:
        """What the ready line says, besides the name."""
        host = self.endpoint.url.removeprefix("opc.tcp://").rpartition(":")[0]
        facts: dict[str, Any] = {"port": self.endpoint.port, "host": host, "endpoint": self.endpoint.url}
        return {**facts, **self.access.ready_facts()}

    async def serve(self, control: Control, *work: asyncio.Task[Any]) -> None:
        """Say that it is ready and go on until told to end."""
        control.ready(**self.ready_facts())
        await control.until_exit(asyncio.create_task(self.run_clock()), *work)

    async def close(self) -> None:
        """End everything."""
        self.faults.close()
        await self.endpoint.close()
        self.truth.close()

    async def _take(self, event: Event) -> None:
        await self._apply(event)
        await self.values.show_counters()
        self._cycles += 1
        if self._cycles % CYCLES_PER_TURN == 0:
            await asyncio.sleep(0)
