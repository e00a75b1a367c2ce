"""A production in a real Tryton for ``FaultContract``, behind a relay: faults, and what is booked there.

Judges by stock moves, cycles and notes as another user reads them; shares nothing with the connector.
"""

from __future__ import annotations

import functools
import json
from decimal import Decimal

import relay as relays
from partner import GATEWAY_PASSWORD

from gateway.contract import Booked
from gateway.core.duration import Duration

ORDER = "100240"
OPERATION = 20
PLANNED = 100_000
CREATE = "model.production.work.cycle.create"
NOTE = "model.ir.note.create"
OUTPUTS = ("model.production.write", "model.stock.move.write")
HTML = (200, {"Content-Type": "text/html"}, b"<html>Log in</html>")
REFUSED = (200, {"Content-Type": "application/json"}, b'{"id":1,"error":["UserError",["No.","",null]]}')


class Bench:
    """A production of the contract's number in a Tryton of this module, behind a relay that spoils calls."""

    def __init__(self, server, partner, build, documents):
        self._partner, self._build, self._documents = partner, build, documents
        self._file = server.folder / f"{server.database}.sqlite"
        self.relay = relays.Relay(server.port)
        self.judged = False

    @functools.cached_property
    def production(self):
        """Made when it is first asked for: some promises need no order."""
        self._partner.put_away(self._file)
        return self._partner.order(PLANNED, number=int(ORDER))

    def build(self):
        limits = {"timeout": Duration("60 s"), "server_time_limit": Duration("500 ms")}
        return self._build(self.relay.port, **limits)

    def document(self, seq):
        """Good pieces and scrap that are never 0: each confirmation changes both moves."""
        self.release(ORDER)
        made = self._documents(ORDER, OPERATION)
        made.seq = seq - 1
        return made.next(3, 1)

    def release(self, order):
        assert order == ORDER
        assert self.production

    def take_away(self):
        self.relay.close()

    def bookings(self, key):
        return sum(json.loads(note.partition(" ")[2])["key"] == key for note in self._partner.notes(self.production))

    def fault(self, name, count=1):
        """The request to make a cycle is what may never come twice; the moves are what others write, too."""
        self.relay.spoil(
            *{
                "lost_answer": (CREATE, "lost"),
                "lost_request": (CREATE, "away"),
                "slow_booking": (CREATE, "late"),
                "busy": (OUTPUTS, self.meddle),
                "refused": (OUTPUTS, REFUSED),
                "login_expired": ((CREATE, NOTE), self.sign_out),
                "html": (NOTE, HTML),
                "half_answer": (OUTPUTS, "half"),
            }[name],
            times=count,
        )
        return True

    def meddle(self):
        """Somebody else writes the very records that are about to be written."""
        self._partner.model("production.write", [self.production], {"reference": f"PO-{len(self.relay.calls)}"})
        for move in self._partner.outputs(self.production):
            self._partner.model("stock.move.write", [move], {"quantity": 7.0})

    def sign_out(self):
        """Whoever gets a password is signed out everywhere."""
        user = self._partner.one("res.user", [["login", "=", "linegate"]])["id"]
        self._partner.model("res.user.write", [user], {"password": GATEWAY_PASSWORD})

    def working(self):
        return bool(self.relay.late)

    def booked(self):
        """What the stock moves say, told by the notes in their sequence: the moves are always the sum of the first n.

        Asserts that no cycle is there twice.
        """
        self.judged = True
        partner = self._partner
        notes = [json.loads(one.partition(" ")[2]) for one in dict.fromkeys(partner.notes(self.production))]
        named = [one["cycle"] for one in notes]
        assert len(set(named)) == len(named), f"two confirmations of one cycle: {notes}"
        assert len(set(self.cycles()) - set(named)) <= 1, f"a cycle too many: {self.cycles()}, named {named}"
        good, scrap, _ = partner.stock(self.production)
        if (good, scrap) == (PLANNED, 0):  # as the bill planned it
            return []
        rows, sums = [], [(Decimal(0), Decimal(0))]
        for note in notes:
            rows.append(Booked(note["key"], Decimal(note["good"]), Decimal(note["scrap"])))
            sums.append((sums[-1][0] + rows[-1].good, sums[-1][1] + rows[-1].scrap))
        told = (Decimal(good), Decimal(scrap))
        assert told in sums, f"the moves say {told}, the notes in their sequence {sums}"
        return rows[: sums.index(told)]

    def cycles(self):
        domain = [["work.production", "=", self.production], ["work.sequence", "=", OPERATION]]
        return [row["id"] for row in self._partner.found("production.work.cycle", domain, "id")]

    def check_cycles(self):
        """Asserts that each cycle is named by a note: to be asked when nothing waits any more."""
        assert len(self.cycles()) == len(set(self._partner.notes(self.production))), "a cycle that nobody names"
