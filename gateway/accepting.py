"""Connections are taken one at a time, so that a server that has no file left for them waits instead of spinning.

asyncio takes as many connections in one go as its server's backlog says. Where no file is left for one
(``EMFILE``), it tries the same as often again, writes a line for each try and orders a repetition for each: hundreds a
second, soon thousands, a whole processor and megabytes of log, until the gateway may open files again. With a backlog
of one there is one try a second. How many connections wait in the kernel is the other meaning of the number, and is set
here by itself. It accepts nothing, and decides nothing about connections.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import Server

#: The backlog to give to a server of asyncio: connections that it takes before it does anything else.
AT_ONCE: Final = 1


def let_wait(server: Server, connections: int) -> None:
    """So many connections wait in the kernel until they are taken. Raises OSError.

    For a server that was started with a backlog of ``AT_ONCE``, which its sockets have from there.
    """
    for one in server.sockets:
        with socket.socket(fileno=os.dup(one.fileno())) as same:  # what asyncio shows of it cannot listen
            same.listen(connections)
