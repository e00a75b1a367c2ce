"""Seeded sequences of faults for the plant of ``rig.py``, and what the ERP's own log says of the gateway's manners.

Draws and reads only: when a fault is planted, and what must hold afterwards, is the test's.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import NamedTuple

S = 1_000_000_000
#: So long before it is asked at all an ERP may have been kept waiting with the question on its way.
BEFORE_S = 3.0
#: What the fake ERP does wrong with one confirmation, for a gateway whose time-out is 1 s: what only these profiles
#: try, and what ``tests/system/test_erp_faults.py`` tries one after the other, too.
ERP_RARE = (
    lambda rng: f"too-many {rng.randint(0, 1)} 1",
    lambda rng: f"signed-out {rng.uniform(0.2, 0.8):.2f}",
    lambda _rng: "garbage 1",
    lambda rng: f"drip {rng.choice([1, 30])} 1",
    lambda rng: f"twice {rng.randint(1, 3)}",
    lambda _rng: "hang 1",
    lambda rng: f"hang-up {rng.randint(1, 3)}",
)
ERP_USUAL = (
    lambda rng: f"error {rng.choice([500, 502, 503])} 1",
    lambda rng: f"error-booked {rng.choice([500, 503])} 1",
    lambda _rng: "unavailable 1 1",
    lambda _rng: "unauthorized 1 all",
    lambda _rng: "html 1 all",
    lambda _rng: "half 1",
    lambda _rng: "lose-answers 1",
    lambda rng: f"slow {rng.uniform(0.1, 1.4):.2f} 1",
    lambda rng: f"late-book {rng.uniform(0.1, 0.6):.2f} 1",
    lambda rng: f"down {rng.uniform(0.2, 0.9):.2f}",
)
ERP_FAULTS = (*ERP_RARE, *ERP_USUAL)
#: What the ERP does with one order, until it is cleared.
ORDER_FAULTS = ("reject {}", "poison 422 {}", "poison 500 {}", "poison 503 {}")
#: What a card does (``lossyfs.py``), the room beyond what is used, and how all of it ends.
CARD_FAULTS = (
    lambda rng: f"quota {rng.choice([0, 96 * 1024])}",
    lambda _rng: "ro on",
    lambda rng: f"eio write {rng.choice([1, 3, -1])}",
    lambda rng: f"eio fsync {rng.choice([1, 3, -1])}",
    lambda _rng: "eio read -1",
    lambda rng: f"slowsync {rng.choice([50, 500])}",
)
CARD_WELL = ("quota off", "ro off", "eio write 0", "eio fsync 0", "eio read 0", "slowsync 0")
#: Those that a driver is told of, so that the counters tell everything afterwards.
MODBUS_FAULTS = (
    lambda rng: f"slow {rng.randint(20, 150)} {rng.randint(1, 5)}",
    lambda rng: f"late {rng.randint(300, 600)} {rng.randint(1, 2)}",
    lambda rng: f"torn {rng.randint(50, 500)} {rng.randint(1, 3)}",
    lambda rng: f"wrong-unit {rng.randint(1, 4)}",
    lambda rng: f"wrong-function {rng.randint(1, 4)}",
    lambda rng: f"garbage {rng.randint(1, 4)}",
    lambda rng: f"fewer {rng.randint(1, 3)}",
    lambda rng: f"more {rng.randint(1, 3)}",
    lambda _rng: "short 1",
    lambda rng: f"half {rng.randint(1, 2)}",
    lambda rng: f"exception {rng.choice([4, 6, 11])} {rng.randint(1, 5)}",
    lambda rng: f"blackhole {rng.uniform(0.2, 0.8):.2f}",
    lambda rng: f"cut {rng.uniform(0.1, 0.6):.2f}",
    lambda rng: f"restart {rng.uniform(0.1, 0.4):.2f} keep",
)
OPCUA_FAULTS = (
    lambda rng: f"cut {rng.uniform(0.1, 0.6):.2f}",
    lambda rng: f"blackhole {rng.uniform(0.2, 1.2):.2f}",
    lambda rng: f"slow {rng.randint(20, 300)} {rng.uniform(0.2, 0.8):.2f}",
    lambda rng: f"bad {rng.uniform(0.2, 0.8):.2f}",
    lambda rng: f"uncertain {rng.uniform(0.2, 0.8):.2f}",
    lambda rng: f"frozen {rng.uniform(0.2, 0.6):.2f}",
    lambda _rng: "drop-subscriptions",
    lambda rng: f"clock {rng.choice(['2000-01-01T00:00:00', '2031-01-01T00:00:00', 'ok'])}",
)


def drawn(rng, faults, number):
    """So many commands; each fault comes once before any comes again."""
    found = []
    while len(found) < number:
        found += [make(rng) for make in rng.sample(faults, len(faults))]
    return found[:number]


#: What a wire does, by its name: for each a function of the proxy and chance. ``proxy.mend()`` ends all of them.
WIRE_FAULTS = {
    "half-open": lambda proxy, _rng: proxy.half_open(),
    "half-open down": lambda proxy, _rng: proxy.half_open("down"),
    "reset": lambda proxy, _rng: proxy.reset(),
    "cut": lambda proxy, _rng: proxy.cut(),
    "hang": lambda proxy, _rng: (proxy.hang(), proxy.reset()),
    "delay": lambda proxy, rng: proxy.down.delay(rng.uniform(0.02, 0.3), 0.1),
    "drip": lambda proxy, _rng: proxy.down.drip(0.002),
    "truncated and closed": lambda proxy, rng: proxy.down.truncate(rng.randint(0, 8)),
    "truncated and reset": lambda proxy, rng: proxy.down.truncate(rng.randint(0, 8), then="reset"),
    "truncated and mute": lambda proxy, rng: proxy.down.truncate(rng.randint(0, 8), then="mute"),
    "questions cut off": lambda proxy, rng: proxy.up.truncate(rng.randint(0, 8)),
}


class Asked(NamedTuple):
    """A line of the ERP's log."""

    began_ns: int
    t_ns: int
    method: str
    path: str
    key: str
    order: str
    status: int
    fault: str

    @property
    def posted(self):
        return self.method == "POST" and self.path == "/confirmations"

    @property
    def clean(self):
        return self.posted and 200 <= self.status < 300 and not self.fault

    @property
    def failed(self):
        """The gateway got no answer to its question. That nothing is booked under a key is an answer."""
        return bool(self.fault) or (not 200 <= self.status < 300 and self.status != 404)


def asked(path):
    """All that the ERP was asked by the gateway; a line without its end is not written yet."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [Asked(**json.loads(line)) for line in lines if line.endswith("\n")]
    return [one for one in found if one.path.partition("/")[0] == "" and not one.path.startswith(("/ledger", "/_"))]


def bad_manners(log, kept_waiting=lambda _from_s, _to_s: False):
    """What the gateway must never do, one line each: repeat a clean success, or send two of a lane at once.

    An ERP that was kept from running (``kept_waiting`` says it of a time, UTC) sees one after the other what was not
    sent so, and is longer at one than it says that it ever is: there the second says nothing.
    """
    clean, ends = {}, defaultdict(int)
    for one in sorted((one for one in log if one.posted), key=lambda one: one.began_ns):
        if one.key in clean:
            yield f"{one.key} was sent again {(one.began_ns - clean[one.key]) / S:.3f} s after a clean success"
        if one.clean:
            clean[one.key] = one.t_ns
        lane = tuple(one.key.split("/")[2:4])
        if one.began_ns < ends[lane] and not kept_waiting(one.began_ns / S - BEFORE_S, ends[lane] / S):
            yield f"{one.key} was sent while another of its lane was under way"
        ends[lane] = max(ends[lane], one.t_ns)


def failing_per_s(log):
    """The most failing requests in any one second."""
    times = sorted(one.t_ns for one in log if one.failed)
    first = most = 0
    for last, at_ns in enumerate(times):
        while times[first] <= at_ns - S:
            first += 1
        most = max(most, last - first + 1)
    return most


def p95(values):
    """The 95th of a hundred."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] if ordered else None


def say(text):
    """A figure of this run: shown by ``pytest -s``, and with whatever fails."""
    sys.stdout.write(f"\n{text}\n")
