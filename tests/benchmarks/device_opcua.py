"""An OPC UA server with Boolean variables that toggle (``toggling.py``). No machine, no faults, no security.

``python device_opcua.py COUNT NAMESPACE``: the variables ``Tag0000`` and so on.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from asyncua import Server, ua
from rig import free_port
from toggling import say, toggle

HOST = "127.0.0.1"

logging.getLogger("asyncua").setLevel(logging.ERROR)


async def main(count: int, namespace: str) -> None:
    server = Server()
    await server.init()
    endpoint = f"opc.tcp://{HOST}:{free_port()}/bits"
    server.set_endpoint(endpoint)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(namespace)
    folder = await server.nodes.objects.add_folder(ua.NodeId("Bits", index), "Bits")
    tags = [
        await folder.add_variable(ua.NodeId(f"Tag{number:04d}", index), f"Tag{number:04d}", False)
        for number in range(count)
    ]

    async def show(bit: int, state: bool) -> None:
        await server.write_attribute_value(tags[bit].nodeid, ua.DataValue(ua.Variant(state, ua.VariantType.Boolean)))

    async with server:
        say({"ready": True, "endpoint": endpoint})
        await toggle(count, show)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
