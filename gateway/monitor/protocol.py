"""Which MQTT version the next attempt speaks. Pure; the bridge reports how each attempt went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from gateway.monitor.settings import ProtocolSetting

Version = Literal["5", "3.1.1"]

#: Connections closed without an answer before a version that once worked is doubted (the broker may be restarting).
SILENT_ENDS_MAX: Final = 3


class ProtocolChoice:
    """With ``auto``: 5 first, 3.1.1 where the broker refuses it or hangs up on it, and back likewise."""

    def __init__(self, setting: ProtocolSetting) -> None:
        self._auto = setting == "auto"
        self.version: Version = "3.1.1" if setting == "3.1.1" else "5"
        self._proven = False
        self._silent_ends = 0

    def connected(self) -> None:
        """The broker speaks this version."""
        self._proven = True
        self._silent_ends = 0

    def refused(self) -> bool:
        """The broker named the version as the reason; True: try the other one at once."""
        return self._turn()

    def closed_unanswered(self) -> bool:
        """The connection ended before any answer; True: try the other one at once."""
        self._silent_ends += 1
        if self._proven and self._silent_ends < SILENT_ENDS_MAX:
            return False
        return self._turn()

    def _turn(self) -> bool:
        if not self._auto:
            return False
        self._proven = False
        self._silent_ends = 0
        self.version = "3.1.1" if self.version == "5" else "5"
        # Only this way without a pause: two versions per pause, never a busy loop between them.
        return self.version == "3.1.1"
