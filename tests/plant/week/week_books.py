"""Books of the week that are kept without the gateway, and what it told held against them.

Who ran when is told by the gateway; here it is held against what people and the ERP said and when, and against the
machines' own logs: when they ran, how much they had made, which lot was mounted at which cycle.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

from week_checks import Shifts, attributed, attributed_and_held, erp_divided, erp_order, local, machines_of, rows
from week_plan import COMPONENTS, FEEDERS, LEADS

from gateway.core.model import JobChanged, OperatorVerb
from gateway.core.state.interval import StateInterval

S = 1_000_000_000
#: Machines that show by a signal whether they run, and with which state the gateway names it.
SHOWS_ITS_STATE = ("ASM-01", "IMM-01", "FIL-02", "PCK-01", "PRS-01", "PRS-02")
RUNS = "PRODUCING"
#: A loss may have begun so long before it is noticed: its state is not believed from then on.
FOUND_WITHIN_NS = 10 * S
UNSEEN = "UNKNOWN"


def check_said(week):
    """What people said, and it was accepted, holds from that very instant on."""
    ran = {name: Shifts(outputs).ran for name, outputs in week.gateway.outputs.items()}
    for name, verb, order, at_ns in week.said:
        runs = [one for one in ran[name] if one[2] == order and one[0] <= at_ns < one[1]]
        if verb is not OperatorVerb.START and (name, OperatorVerb.START, order, at_ns) in week.said:
            continue  # it was started anew at once
        if verb is OperatorVerb.START:
            assert runs or any(one[:3] == (at_ns, at_ns, order) for one in ran[name]), (name, verb, order, at_ns)
        elif verb is OperatorVerb.HOLD:
            assert all(one[3] for one in runs), (name, verb, order, at_ns, runs)
        elif verb in (OperatorVerb.INTERRUPT, OperatorVerb.FINISH, OperatorVerb.CANCEL):
            assert not runs, (name, verb, order, at_ns, runs)
    assert {verb for _, verb, *_ in week.said} >= {OperatorVerb.START, OperatorVerb.INTERRUPT, OperatorVerb.HOLD}


def check_changes(week):
    """An order begins or ends to run when somebody said so, or with the piece that made it, or the one before, full."""
    for name, outputs in week.gateway.outputs.items():
        decided, shifts = week.gateway.decided[name], Shifts(outputs)
        filled = {at_ns for _, at_ns in shifts.filled}
        known = decided | filled | {2**63}
        strange = [(at_ns, order) for *span, order, _ in shifts.ran for at_ns in span if at_ns not in known]
        assert not strange, (name, strange[:5])
        machines = machines_of(name)
        logged = sorted(made.judged_ns for machine in machines for made in week.devices[machine].log.made)
        blind = [span for machine in machines for span in week.blind[machine]]
        for order, at_ns in sorted(shifts.filled):
            if at_ns in decided or any(from_ns <= at_ns <= to_ns for from_ns, to_ns in blind):
                continue  # the ERP wants less of it, or the counter was read again: more than one cycle at once
            place = bisect.bisect_left(logged, at_ns)
            assert place < len(logged), (name, order)
            assert logged[place] == at_ns, f"{name}: {order} ended {logged[place] - at_ns} ns before a piece was made"


def check_targets(week):
    """An order that its number ended has it, and had it not one cycle before."""
    seen = 0
    for name, outputs in week.gateway.outputs.items():
        made = defaultdict(list)
        of_all = [one for machine in machines_of(name) for one in attributed_and_held(week, machine)]
        for order, held, cycle in sorted(of_all, key=lambda one: one[2].judged_ns):
            made[order].append((cycle.judged_ns, cycle.scrap + (0 if held else cycle.good)))
        for order, at_ns in sorted(Shifts(outputs).filled):
            wanted = [number for since_ns, number in week.quantities.get(order, ()) if since_ns <= at_ns]
            given = any(one[1] == order for one in week.allocated)
            if not wanted or given or at_ns in week.gateway.decided[name] or erp_divided(week, order):
                continue
            samples = sum(n for since_ns, n in made[order] if since_ns <= at_ns)
            last = made[order][bisect.bisect_right([since_ns for since_ns, _ in made[order]], at_ns) - 1][1]
            changed = Counter()
            for one, pieces, before, after in week.judged:
                if one == order:
                    changed[str(before), str(after)] += pieces
            # When each was judged is not looked at: an order is ended by one of these numbers.
            most = samples + sum(pieces for (before, _), pieces in changed.items() if before == "hold")
            least = samples - sum(pieces for (_, after), pieces in changed.items() if after == "rework")
            assert wanted[-1] <= most, (name, order, most, wanted)
            assert least < wanted[-1] + last, (name, order, least, wanted, last)
            seen += 1
    assert seen >= 10, seen


def check_states(week):
    """A machine that shows whether it runs is told to run exactly then, but for when nobody looked."""
    for name in SHOWS_ITS_STATE:
        check_states_of(week, name)


def check_states_of(week, name):
    """The same of one machine.

    An estimated sum has no place of its own, it stands at the beginning of what nobody saw, wherever the machine stood
    in there. It lies in that time, and is no more than what was made in it takes.
    """
    runs = [
        (since_ns, until_ns)
        for (since_ns, on), (until_ns, _) in zip(
            week.devices[name].log.runs, [*week.devices[name].log.runs[1:], (2**63, False)], strict=True
        )
        if on
    ]
    row = states(week, name)
    estimated = [(one.from_ns, one.to_ns) for one in row if one.estimated]
    told = joined((one.from_ns, one.to_ns) for one in row if one.state.value == RUNS and not one.estimated)
    unseen = joined((one.from_ns, one.to_ns) for one in row if one.state.value == UNSEEN or one.estimated)
    blind = joined(sorted((from_ns - FOUND_WITHIN_NS, to_ns) for from_ns, to_ns in week.blind[name]))
    assert without(told, runs) == [], (name, "told to run while it stood", without(told, runs)[:3])
    missing = without(without(runs, told), unseen)
    # A setup began with the last good piece; a break ends with the first cycle.
    late = [one for one in row if one.state.value in ("SETUP", "PLANNED_STOP")]
    missing_ns = sum(to_ns - from_ns for from_ns, to_ns in missing)
    missing = without(missing, joined((one.from_ns, one.to_ns) for one in late))
    assert missing == [], (name, "ran, and that is not told", missing[:3])
    assert missing_ns <= len(late) * 2 * week.devices[name].cycle_ns, (name, missing_ns)
    assert without(unseen, blind) == [], (name, "unknown while somebody looked", without(unseen, blind)[:3])
    for begin_ns, end_ns in blind:
        told_ns = sum(to_ns - from_ns for from_ns, to_ns in estimated if begin_ns <= from_ns < end_ns)
        most_ns = week.devices[name].cycle_ns * sum(begin_ns < at_ns <= end_ns for at_ns in made_unseen(week, name))
        assert told_ns <= most_ns, (name, "estimated, and not made", (begin_ns, end_ns), told_ns, most_ns)


def made_unseen(week, name):
    """When the cycles ended that nobody saw."""
    return [
        made.end_ns
        for made in week.devices[name].log.made
        if any(from_ns < made.end_ns <= to_ns for from_ns, to_ns in week.blind[name])
    ]


def states(week, name):
    """Final intervals of a machine."""
    return [one for one in week.gateway.outputs[name] if isinstance(one, StateInterval)]


def joined(spans):
    """Stretches of time, oldest first, those that touch as one."""
    found = []
    for from_ns, to_ns in spans:
        if found and from_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(to_ns, found[-1][1]))
        elif from_ns < to_ns:
            found.append((from_ns, to_ns))
    return found


def without(spans, others):
    """What of the first stretches lies in none of the others."""
    left = []
    for from_ns, to_ns in spans:
        for begin_ns, end_ns in others:
            if end_ns <= from_ns or begin_ns >= to_ns:
                continue
            if begin_ns > from_ns:
                left.append((from_ns, begin_ns))
            from_ns = max(from_ns, end_ns)  # noqa: PLW2901 - what is left of it
        if from_ns < to_ns:
            left.append((from_ns, to_ns))
    return left


def shift_of(at_ns):
    """(day, name) of the shift in which an instant lies, by the wall clock of the plant; its end belongs to it."""
    wall = local(at_ns - 1)
    name = "F" if 6 <= wall.hour < 14 else "S" if 14 <= wall.hour < 22 else "N"
    day = wall.date() - dt.timedelta(days=wall.hour < 6)
    return day.isoformat(), name


def check_dates(week):
    """Shift, production day and posting date of each confirmation are those of the wall clock in the plant."""
    seen = Counter()
    for one in week.gateway.erp.documents():
        if one["origin"] in ("allocation", "correction") or one["type"] == "reversal":
            continue
        until = dt.datetime.fromisoformat(one["period"]["to"])
        at_ns = int(until.timestamp() * 1000) * 1_000_000
        assert (one["production_day"], one["shift"]) == shift_of(at_ns), one
        assert one["posting_date"] == one["event_day"] == one["production_day"], one
        seen[one["production_day"]] += 1
    assert len(seen) >= 8, f"something is made on each day, and in the night before: {seen}"


def check_corrections(week):
    """A correction is a reversal of what was booked and a new one; each reversal takes back one document, whole."""
    booked = {one["idempotency_key"]: one for one in week.gateway.erp.documents()}
    reversals = [one for one in booked.values() if one["type"] == "reversal"]
    assert len(reversals) >= week.did["amend"] >= 5
    assert len({one["reverses"] for one in reversals}) == len(reversals)
    for one in reversals:
        of = booked[one["reverses"]]
        for kind in ("good", "rework", "hold", "test"):
            assert int(one["qty"][kind]) == -int(of["qty"][kind]), (one["idempotency_key"], kind)
        assert sum(int(part["qty"]) for part in one["qty"]["scrap"]) == -sum(
            int(part["qty"]) for part in of["qty"]["scrap"]
        ), one["idempotency_key"]


def check_lot_quantities(week):
    """Of each lot each order used what its cycles took while it was mounted, to the piece."""
    expected, told = defaultdict(Fraction), defaultdict(Fraction)
    given = {order for _, order, *_ in week.allocated}
    for name, mounted in week.mounted.items():
        _, item = FEEDERS[name]
        per = next(Fraction(per) for what, per, _ in COMPONENTS[name] if what == item)
        times = [at_ns for at_ns, _ in mounted]
        for order, made in (one for machine in machines_of(name) for one in attributed(week, machine)):
            if order is not None and erp_order(week, order) not in given:
                lot = mounted[bisect.bisect_left(times, made.end_ns) - 1][1]
                expected[erp_order(week, order), lot] += per * sum(made.pieces.values())
    for parent, run, quantity in rows(week, "SELECT parent, run, quantity FROM genealogy"):
        order = erp_order(week, run.partition("/")[0])
        if order not in given:
            told[order, parent] += Fraction(quantity)
    wrong = {
        one: (float(expected[one]), float(told[one]))
        for one in expected.keys() | told.keys()
        if expected[one] != told[one]
    }
    assert not wrong, f"(order, lot): (used, by the trace): {wrong}"


def check_together(week):
    """Each press made something of each order that is large, and what they made is confirmed as one machine's."""
    for member, lead in LEADS.items():
        made = defaultdict(Counter)
        for name in (lead, member):
            for order, cycle in attributed(week, name):
                made[order][name] += sum(cycle.pieces.values())
        large = [one.number for one in week.plan.orders if one.machine == lead and made[one.number].total() >= 20]
        assert len(large) >= 4, made
        assert all(made[order][lead] and made[order][member] for order in large), made
        confirmed = {one["machine"] for one in week.gateway.erp.documents() if one["order_id"] in large}
        assert confirmed == {lead}, confirmed


def check_one_order_at_a_time(week):
    """At each machine at most one order runs at any instant."""
    for name, outputs in week.gateway.outputs.items():
        ran = Shifts(outputs).ran
        assert all(first[1] <= second[0] for first, second in pairwise(ran)), name
        assert any(isinstance(one, JobChanged) for one in outputs) is (name not in LEADS), name


BOOKS = (
    check_said,
    check_changes,
    check_targets,
    check_states,
    check_dates,
    check_corrections,
    check_lot_quantities,
    check_one_order_at_a_time,
    check_together,
)
