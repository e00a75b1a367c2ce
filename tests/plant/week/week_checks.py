"""What must be true of a week: held against the machines' own logs, never against the gateway's own sums."""

from __future__ import annotations

import bisect
import datetime as dt
import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from fractions import Fraction
from itertools import pairwise

from week_gateway import digest_of
from week_plan import BERLIN, LEADS, PEOPLE_COUNT

from buffer.audit_chain import ChainReader
from gateway.core.audit.chain import Broken, Verified
from gateway.core.model import JobChanged, JobOrderState, Notice
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.state.interval import StateInterval

HOUR = 3_600_000_000_000
#: States in which an order takes no piece any more, also none that was begun in its time.
ENDED = frozenset({"COMPLETED", "CANCELLED", "CLOSED", "SPLIT", "MERGED"})


#: Minutes are told in steps of a thousandth.
STEP = Fraction(1, 1000)
#: Production and delays are machine time, setup is apart; breaks, and time of which nobody knows, are neither.
ACTIVITY = {"APT": "machine", "ADET": "machine", "AUST": "machine_setup"}
#: Breaks, and what is outside of shifts.
NOBODYS = frozenset({"PDOT", "OUTSIDE"})


class Shifts:
    """Which order ran when at a machine, and which had ended, as the gateway told it."""

    def __init__(self, outputs):
        self.ran = []  # (from, to, order, on_hold)
        self.ended_ns = {}
        self.filled = set()  # ended by their number, which does not ask when a piece began
        running = None
        for one in outputs:
            if not isinstance(one, JobChanged) or one.trigger == "allocation":  # which is at no machine
                continue
            order, state, at_ns = one.record.job.order, one.record.state, one.at_ns
            if state in ENDED:
                self.ended_ns.setdefault(order, at_ns)
                if one.trigger == "target reached":
                    self.filled.add((order, at_ns))
            held = state is JobOrderState.ON_HOLD and one.record.held_from in RUNNING
            runs = state in RUNNING or (held and running is not None and running[1] == order)
            if running is not None and (running[1] == order or runs):
                self.ran.append((running[0], at_ns, *running[1:]))
                running = None
            if runs:
                running = (at_ns, order, held)
                if self.ran and self.ran[-1][1:] == running:  # only its numbers changed
                    running = (self.ran.pop()[0], order, held)
        if running is not None:
            self.ran.append((running[0], 2**63, *running[1:]))
        self._from = [one[0] for one in self.ran]

    def at(self, at_ns):
        """(order, on hold) of what ran at that instant; what ends with an instant has it."""
        place = bisect.bisect_left(self._from, at_ns) - 1
        if place >= 0 and at_ns <= self.ran[place][1]:
            return self.ran[place][2:]
        return None, False

    def former(self, at_ns, before_ns):
        """The order that ceased to run first after that, and before the other instant."""
        place = max(bisect.bisect_left(self._from, at_ns) - 1, 0)
        for (_, to_ns, order, _), after in pairwise([*self.ran[place:], (0, 0, None, False)]):
            goes_on = after[0] == to_ns and after[2] == order
            if not goes_on and at_ns < to_ns < before_ns and (order, to_ns) not in self.filled:
                return order
        return None


def machines_of(name):
    """A machine and those that work on its orders, too."""
    return (name, *(member for member, lead in LEADS.items() if lead == name))


def attributed(week, name):
    """(order or None, made) of each cycle of a machine, by its log and by which order ran when."""
    return ((order, made) for order, _, made in attributed_and_held(week, name))


def attributed_and_held(week, name):
    """(order or None, whether it was on hold, made) of each cycle of a machine, whose orders may be another one's."""
    shifts = Shifts(week.gateway.outputs[LEADS.get(name, name)])
    stop_ns = week.gateway.units[name]._booking._stop_ns
    device = week.devices[name]
    for made in device.log.made:
        order, held = shifts.at(made.judged_ns)
        if not device.forced:
            begin_ns = made.end_ns if made.end_ns - made.begin_ns > stop_ns else made.begin_ns
            former = shifts.former(begin_ns, made.judged_ns)
            if former is not None:
                over = shifts.ended_ns.get(former, 2**63) <= made.judged_ns
                order = (former if erp_divided(week, former) else None) if over else former
        yield order, held, made


def erp_divided(week, order):
    """Whether an order was split, or merged with others: what was begun before goes to who took over."""
    return order in week.parts.values() or any(order in orders for orders in week.together.values())


def truth(week):
    """Pieces by order and kind as they must be in the ERP, from the machines' logs."""
    found = defaultdict(Counter)
    for name in week.devices:
        for order, held, made in attributed_and_held(week, name):
            for kind, pieces in made.pieces.items():
                found[order or f"nobody {name}"]["hold" if held and kind == "good" else kind] += pieces
    for name, order, pieces, kind in week.allocated:
        found[f"nobody {name}"][str(kind)] -= pieces
        found[order][str(kind)] += pieces
    for order, pieces, before, after in week.judged:
        found[order][str(before)] -= pieces
        found[order][str(after)] += pieces
    return by_family(week, found)


def erp_order(week, order):
    """The order under which all that is made together is compared."""
    order = week.parts.get(order, order)
    return next((leader for leader, orders in week.together.items() if order in orders), order)


def by_family(week, found):
    """Parts of an order are that order; orders that are made together are one."""
    summed = defaultdict(Counter)
    for order, kinds in found.items():
        summed[erp_order(week, order)].update(kinds)
    return {
        order: {kind: n for kind, n in kinds.items() if n} for order, kinds in summed.items() if any(kinds.values())
    }


def confirmed(week):
    """Pieces by order and kind as the ERP booked them."""
    found = defaultdict(Counter)
    for one in week.gateway.erp.documents():
        quantity = one["qty"]
        for kind in ("good", "rework", "hold", "test"):
            found[one["order_id"]][kind] += int(quantity[kind])
        found[one["order_id"]]["scrap"] += sum(int(part["qty"]) for part in quantity["scrap"])
    return by_family(week, found)


def check_pieces(week):
    """Each order's confirmed pieces are those of the log, and what is nobody's is in the bucket."""
    states = {name: runner.state for name, runner in week.gateway.runners.items()}
    told = confirmed(week)
    for name, state in states.items():
        left = [run.job.key for run in state.open_runs() if not run.share_no]  # what a member keeps is no order
        assert not left, (name, left)
        assert not state.review
        nobodys = {kind: n for kind, n in state.unallocated._asdict().items() if n}
        if nobodys:
            told[f"nobody {name}"] = nobodys
    expected = truth(week)
    wrong = {
        order: (expected.get(order), told.get(order))
        for order in sorted(expected.keys() | told.keys())
        if expected.get(order) != told.get(order)
    }
    assert not wrong, f"order: (the machine's log, told): {wrong}"


def check_merged(week):
    """What a merged order made is its originals'; none gets more than it asked for while another is not full."""
    made = Counter()
    for one in week.gateway.erp.documents():
        made[one["order_id"]] += int(one["qty"]["good"]) + sum(int(part["qty"]) for part in one["qty"]["scrap"])
    for leader, orders in week.together.items():
        assert made[leader] == 0, f"{leader} belongs to the shop floor, and is never confirmed itself"
        open_pieces = {order: week.wanted[order].quantity - made[order] for order in orders}
        assert min(open_pieces.values()) >= 0 or max(open_pieces.values()) <= 0, (leader, open_pieces)


def check_numbers(week):
    """No key twice, numbers without a gap, each document the next in its chain; what is void never reached the ERP."""
    postings = rows(week, "SELECT key, state, payload FROM outbox WHERE kind <> 'ack' ORDER BY id")
    assert len({key for key, *_ in postings}) == len(postings)
    last = {}
    for one in (json.loads(payload) for *_, payload in postings):
        lane = one["idempotency_key"].rpartition("/")[0]
        seq, digest = last.get(lane, (0, ""))
        assert (one["seq"], one["prev_hash"]) == (seq + 1, digest), lane
        last[lane] = (one["seq"], one["hash"])
    assert {state for _, state, _ in postings} <= {"posted", "voided"}
    booked = [one["idempotency_key"] for one in week.gateway.erp.documents()]
    assert len(booked) == len(set(booked))
    assert set(booked) == {key for key, state, _ in postings if state == "posted"}
    numbers = {}
    for key in booked:  # in their sequence, with a gap only where one became void
        lane, _, seq = key.rpartition("/")
        assert int(seq) > numbers.get(lane, 0), key
        numbers[lane] = int(seq)


def check_times(week):
    """The final intervals of each machine tile the whole week, which is an hour shorter or longer than others."""
    begin_ns, end_ns = week.plan.from_ns, week.plan.to_ns
    assert end_ns - begin_ns == week.plan.hours * HOUR
    for name, outputs in week.gateway.outputs.items():
        row = [one for one in outputs if isinstance(one, StateInterval)]
        assert row[0].from_ns == begin_ns, name
        assert row[-1].to_ns >= end_ns, name
        assert all(first.to_ns == second.from_ns for first, second in pairwise(row)), name
        sums = Counter()
        for one in row:
            sums[one.state] += min(one.to_ns, end_ns) - min(one.from_ns, end_ns)
        assert sum(sums.values()) == week.plan.hours * HOUR, (name, sums)
        shifts, days = Counter(), Counter()
        for one in row:
            shifts[one.shift] += one.length_ns
            for from_ns, to_ns in by_day(one.from_ns, min(one.to_ns, end_ns)):
                days[local(from_ns).date()] += to_ns - from_ns
        # Seven days, the last of which is 23 or 25 hours long; all shifts are 8 hours but for the night before it.
        lengths = [hours // HOUR for _, hours in sorted(days.items())]
        assert lengths == [24] * 6 + [week.plan.hours - 144], (name, days)
        nights = {f"{local(end_ns - 40 * HOUR).date()}/N": week.plan.hours - 160}
        inner = sorted(shifts.items())[1:-2]  # the first began before the week, the last two end behind it
        assert {shift: hours for shift, hours in inner if hours != 8 * HOUR} == {
            shift: hours * HOUR for shift, hours in nights.items()
        }, (name, shifts)


def check_order_times(week):
    """What the confirmations of an order say of times adds up to its final intervals, rounded once."""
    told, expected = defaultdict(Counter), defaultdict(Counter)
    for one in week.gateway.erp.documents():
        for state, minutes in (one["machine_states"] or {}).items():
            told[erp_order(week, one["order_id"])][state] += Fraction(minutes)
        for activity in ("machine", "machine_setup", "labour", "labour_setup"):
            told[erp_order(week, one["order_id"])][activity] += Fraction(one["times"][f"{activity}_min"])
    late = {
        erp_order(week, dict(one.detail)["order"])
        for outputs in week.gateway.outputs.values()
        for one in outputs
        if isinstance(one, Notice) and one.code == "TIMES_AFTER_FINAL"
    }
    for name, outputs in week.gateway.outputs.items():
        element = week.gateway.units[name].machine.time_model.element
        for one in outputs:
            if isinstance(one, StateInterval) and one.order is not None:
                minutes = Fraction(one.length_ns, 60 * 10**9)
                order = erp_order(week, one.order)
                expected[order][one.state.value] += minutes
                if element(one) in ACTIVITY:
                    expected[order][ACTIVITY[element(one)]] += minutes
                if element(one) not in NOBODYS:
                    labour = "labour_setup" if element(one) == "AUST" else "labour"
                    crew = int(element(one) in ACTIVITY)
                    worked_ns = persons_ns(week.present[name], one.from_ns, one.to_ns, crew)
                    expected[order][labour] += Fraction(worked_ns, 60 * 10**9)
    members = Counter(erp_order(week, order) for order in {*week.wanted, *week.parts, *week.together})
    wrong = {
        (order, state): (float(expected[order][state]), float(told[order][state]))
        for order in sorted(set(told) - late)
        for state in sorted({*expected[order], *told[order]})
        if abs(expected[order][state] - told[order][state]) > members[order] * STEP
    }
    assert not wrong, f"(order, state): (minutes of the intervals, minutes told): {wrong}"
    # A person says how much was made some minutes after the last of it, in which the machine may have stood.
    by_hand = {one.number for one in week.plan.orders if one.machine in PEOPLE_COUNT}
    assert len(late - by_hand) <= 2, late
    assert len(late) <= 2 + len(by_hand) // 2, late


def persons_ns(present, from_ns, to_ns, crew):
    """Time of all persons who were logged in; of the crew where nobody was."""
    shifts = [(max(begin, from_ns), min(end, to_ns)) for begin, end, *_ in present]
    shifts = [one for one in shifts if one[0] < one[1]]
    edges = sorted({from_ns, to_ns, *(at_ns for one in shifts for at_ns in one)})
    return sum(
        (last - first) * (sum(begin <= first and last <= end for begin, end in shifts) or crew)
        for first, last in pairwise(edges)
    )


def local(at_ns):
    """The wall clock in the plant."""
    return dt.datetime.fromtimestamp(at_ns // 10**9, BERLIN)


def by_day(from_ns, to_ns):
    """The parts of a stretch in each day on the wall clock."""
    while from_ns < to_ns:
        midnight = dt.datetime.combine(local(from_ns).date() + dt.timedelta(days=1), dt.time(), BERLIN)
        until_ns = min(int(midnight.timestamp()) * 10**9, to_ns)
        yield from_ns, until_ns
        from_ns = until_ns


def check_journal(week):
    """The rows of each machine are numbered without a gap, and are what was told."""
    for name, outputs in week.gateway.outputs.items():
        ((count, last),) = rows(week, "SELECT count(*), max(seq) FROM journal WHERE work_unit = ?", name)
        assert count == last == len(outputs), (name, count, last, len(outputs))


def check_audit(week):
    """The chain verifies against the anchors of each day, and breaks where one entry is changed."""
    with ChainReader.open(week.gateway.path) as reader:
        found = reader.verify(week.gateway.anchors)
    assert isinstance(found, Verified), found
    ((entries,),) = rows(week, "SELECT count(*) FROM audit_entry")
    changed = 1 + entries * 2 // 3
    copy = week.gateway.path.with_name("edited.db")
    with closing(sqlite3.connect(week.gateway.path)) as source, closing(sqlite3.connect(copy)) as edited:
        source.backup(edited)
        for (trigger,) in edited.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            edited.execute(f'DROP TRIGGER "{trigger}"')
        edited.execute("UPDATE audit_entry SET user = 'somebody else' WHERE seq = ?", (changed,))
        edited.commit()
    with ChainReader.open(copy) as reader:
        broken = reader.verify(week.gateway.anchors)
    assert isinstance(broken, Broken), broken
    assert broken.seq == changed, broken
    assert len(week.gateway.anchors) >= 6
    decided = week.did["scrap"] + week.did["hold"] + week.did["interrupt"]
    told = dict(rows(week, "SELECT action, count(*) FROM audit_entry WHERE user = 'ann' GROUP BY action"))
    assert sum(told.values()) >= decided, told


def lots_used(week):
    """(order, lot) of all that was made, by the machines' logs and by what was mounted when."""
    found = set()
    for name, mounted in week.mounted.items():
        times = [at_ns for at_ns, _ in mounted]
        for order, made in (one for machine in machines_of(name) for one in attributed(week, machine)):
            lot = mounted[bisect.bisect_left(times, made.end_ns) - 1][1]
            found.add((order or f"nobody {name}", lot))
    return found


def check_lots(week):
    """From each lot the trace leads to what was made of it, from what was made to its lots: no more, and no less.

    Pieces that were nobody's bring their lots to the order that they are given to, or nobody knows any more. Lots
    of a merged order are its originals', of those that got pieces of them.
    """
    used = lots_used(week)
    told = {(run.partition("/")[0], parent) for parent, run in rows(week, "SELECT parent, run FROM genealogy")}
    given = {order: f"nobody {name}" for name, order, *_ in week.allocated}
    strays = {(order, lot) for order, nobody in given.items() for who, lot in used if who == nobody}
    strays |= {(order, "UNKNOWN") for order in given}
    for leader, orders in week.together.items():
        for lot in {lot for who, lot in used if who == leader}:
            led = {(order, lot) for order in orders}
            assert led & told, f"made of {lot} under {leader}, and the trace of no original says so"
            strays |= led
    known = {(order, lot) for order, lot in used if order in week.wanted or order in week.parts}
    missing = known - told
    assert not missing, f"made of a lot, and the trace does not say so: {sorted(missing)}"
    wrong = told - known - strays
    assert not wrong, f"by the trace made of a lot that was not there: {sorted(wrong)}"


def check_answers(week):
    """The ERP has one answer to each order, change and cancellation, and each was taken."""
    answers = week.gateway.erp.answers()
    assert len(answers) == week.gateway.releases
    told = Counter(one["answer"] for one in answers)
    assert set(told) <= {"accepted", "order_change_accepted", "order_cancelled"}, told


def figures(week):
    """What the week came to, and the hash of all that must be the same for the same seed."""
    documents = week.gateway.erp.documents()
    return {
        "season": week.plan.season,
        "hours": week.plan.hours,
        "orders": len({one["order_id"] for one in documents}),
        "cycles": sum(len(device.log.made) for device in week.devices.values()),
        "pieces": sum(sum(made.pieces.values()) for device in week.devices.values() for made in device.log.made),
        "confirmations": len(documents),
        "audit entries": rows(week, "SELECT count(*) FROM audit_entry")[0][0],
        "journal rows": rows(week, "SELECT count(*) FROM journal")[0][0],
        "done": dict(sorted(week.did.items())),
        "refused": len(week.refused),
        "hash": digest_of(week.gateway.path),
    }


def rows(week, sql, *values):
    """Rows of a query."""
    with closing(sqlite3.connect(week.gateway.path)) as connection:
        return connection.execute(sql, values).fetchall()


CHECKS = (
    check_pieces,
    check_merged,
    check_numbers,
    check_times,
    check_order_times,
    check_journal,
    check_audit,
    check_answers,
    check_lots,
)
