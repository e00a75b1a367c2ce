"""``--print-config``: the gateway's configuration that matches a simulator, as YAML to begin with.

Puts the head and the ERP around what the simulator's own ``config_text`` says of its source and work unit. Checks
nothing: ``linegate check`` does.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType

#: Where the simulated ERP is expected if it is not this simulator that is printed.
ERP_PORT: Final = 18080
HEAD: Final = """\
gateway:
  id: box-1
  plant: RQ1
  line: L1
  timezone: Europe/Berlin
  state_dir: state

"""
#: Listening on every address is no address to connect to.
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on


def document(name: str, module: ModuleType, options: argparse.Namespace, arguments: Sequence[str]) -> str:
    """The text for one simulator.

    ``module.config_text(options, facts)`` gives the sections ``sources`` and ``work_units`` of a machine (or the one
    section of a server); ``facts`` has ``host`` and ``port``, as the ready line would. Without ``--port`` the port is
    ``module.USUAL_PORT``; where that is not all, ``module.complete(options)`` fills in what is missing and returns the
    words that say the same on the command line. Raises SimulatorError if the simulator has nothing to print.
    """
    if not hasattr(module, "config_text"):
        raise SimulatorError(f"--print-config: nothing to print for {name}; see config/README.md for its section")
    words = [word for word in arguments if word != "--print-config"]
    if hasattr(module, "complete"):
        words += module.complete(options)
    elif not options.port and hasattr(module, "USUAL_PORT"):
        options.port = module.USUAL_PORT
        words += ["--port", str(options.port)]
    facts: dict[str, Any] = {"host": EVERYWHERE.get(options.host, options.host), "port": options.port}
    # A double of an ERP is named behind the word erp; the bundled one is that word alone.
    named = [name] if name == "erp" or not module.__name__.startswith("simulators.erp.") else ["erp", name]
    start = f"# Start the simulator with:  {shlex.join(['linegate', 'simulate', *named, *words])}\n"
    text: str = module.config_text(options, facts)
    if "work_units:" not in text:
        return f"{start}\n{text}"
    erp = f"# and the ERP with:  linegate simulate erp --port {ERP_PORT} --release demo\n\n"
    connectors = f"\nconnectors:\n  erp:\n    connector: rest\n    url: http://127.0.0.1:{ERP_PORT}\n"
    return f"{start}{erp}{HEAD}{text}{connectors}"
