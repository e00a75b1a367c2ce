"""Which toggle of a device's bit arrived, and after how long. Knows neither candidates nor protocols of a machine."""

from __future__ import annotations

import json
import re
import threading
from bisect import bisect_right
from typing import IO, TYPE_CHECKING

from comparison import Delivered

if TYPE_CHECKING:
    from subscriber import Arrival

MARGIN_NS = 150_000_000  # what toggled so shortly before the end of a window may arrive after it
_NUMBER = re.compile(r"\d+$")


class Toggles:
    """What a device of ``toggling.py`` says it did, read as it comes."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._at_ns: dict[tuple[int, bool], list[int]] = {}
        self._lines = lines
        self.reader = threading.Thread(target=self._read, name="toggles", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self._lines:
            said = json.loads(line)
            self._at_ns.setdefault((said["bit"], said["state"]), []).append(said["at_ns"])

    def judge(self, arrivals: list[Arrival], from_ns: int, to_ns: int) -> Delivered:
        """Hold what arrived against what toggled in the window; a state that was known before is no news."""
        to_ns -= MARGIN_NS
        toggled = {
            (*key, at_ns)
            for key, times_ns in self._at_ns.items()
            for at_ns in tuple(times_ns)
            if from_ns <= at_ns < to_ns
        }
        seen: dict[tuple[int, bool, int], float] = {}
        for arrival in arrivals:
            for name, state in json.loads(arrival.payload)["values"].items():
                bit = int(_NUMBER.search(name)[0])
                times_ns = self._at_ns.get((bit, state), [])
                place = bisect_right(times_ns, arrival.at_ns)
                if place and (change := (bit, state, times_ns[place - 1])) in toggled:
                    seen.setdefault(change, (arrival.at_ns - change[2]) / 1e6)
        return Delivered(len(seen), list(seen.values()), len(toggled) - len(seen), expected=len(toggled))
