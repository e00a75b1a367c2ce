"""One operation on several machines: members count, the lead books each piece once, whatever is lost or comes twice."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.entries import AllocateEntry, ReclassifyEntry
from gateway.core.model import Confirmation, JobChanged, JobOrderState, MachineState, Role
from gateway.core.orders.lead import left, word_for
from gateway.core.orders.member import parted
from gateway.core.orders.shares import LeadTold, MemberPieces, MemberTold, sharing_from
from gateway.core.orders.stop_request import StopRequested
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_confirming import DeliveryRule, UnallocatedRule
from gateway.core.rules_material import ActivityRule, WorkRule
from gateway.core.rules_state import StateRule

S = JobOrderState
SCRAP = CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP)
GOOD = CounterRule(mode="counter", signal="plc.good")
MEMBER = OrderRule(shares_with="M-01")
TELLS = StateRule(signal="plc.state", map={"1": MachineState.STOPPED, "2": MachineState.PRODUCING})
PRODUCING = WorkRule(times=ActivityRule(machine_time_basis="production"))


STOPS = DeliveryRule(at_target="request_plc_stop", stop_signal="plc.stop")


class Pair:
    """A lead and its members, and what is under way between them; each goes through its stored form."""

    def __init__(self, rig, members=1, **rules):
        confirm = rules.pop("confirm", ConfirmRule(every_pieces=5, min_interval=Duration("0 s")))
        self.lead = rig(GOOD, SCRAP, confirm=confirm, **rules)
        self.members = {f"M-0{number + 2}": rig(GOOD, SCRAP, orders=MEMBER) for number in range(members)}
        for one in (self.lead, *self.members.values()):
            one.make(0)
            one.make(0, "plc.bad")

    @property
    def member(self):
        return self.members["M-02"]

    def later(self, text="1 s"):
        now_ns = self.lead.now_ns + Duration(text)
        for one in (self.lead, *self.members.values()):
            one.now_ns = now_ns

    def down(self, name="M-02"):
        return word_for(self.lead.state, name, self.lead.now_ns)

    def up(self, name="M-02"):
        member = self.members[name]
        rows, since_ns = member.unit.shares(member.state), member.state.sharing.since_ns
        return MemberTold(self.lead.now_ns, name, member.state.at_ns, rows, since_ns=since_ns)

    def settle(self, *, deaf=False):
        """Everybody has heard everything; deaf: but the members nothing."""
        for _ in range(1 if deaf else 3):
            for name, member in self.members.items():
                self.lead.put(self.up(name))
                if not deaf:
                    member.put(self.down(name))

    def booked(self):
        return sum(one.pieces for one in self.lead.all(MemberPieces))

    def conserved(self):
        """What members counted is at the lead, or unallocated with them; the lead's own books close."""
        self.lead.close_books()
        shared = sum(sum(one.state.counted) - sum(one.state.unallocated) for one in self.members.values())
        shared -= sum(one.state.bucket.written_off for one in self.members.values())
        assert self.booked() == shared
        for one in self.members.values():
            assert not one.all(Confirmation)
            assert not one.all(JobChanged), "the record is the lead's"
            assert one.state.journal_seq == len(one.said)


@pytest.fixture
def pair(rig):
    """``pair(members, **rules of the lead)``."""
    return lambda *given, **rules: Pair(rig, *given, **rules)


def test_both_machines_fill_one_order(pair):
    floor = pair()
    floor.lead.order("A", 20)
    floor.settle()
    assert (floor.member.running, floor.member.state.running.state) == ("A", S.IN_PROGRESS)
    floor.later()
    floor.lead.make(4)
    floor.member.make(3)
    floor.member.make(1, "plc.bad")
    floor.settle()
    assert (floor.lead.state.running.good, floor.lead.state.running.scrap) == (7, 1)
    assert floor.lead.confirmed == [("A", 1, 7, "partial", "pieces")]
    assert floor.member.booked == [("A", 3), ("A", 1)], "the member's own figures know the order"
    floor.later()
    floor.member.make(14)
    floor.settle()
    assert floor.lead.confirmed[-1] == ("A", 2, 14, "final", "target reached"), "what is beyond is over-delivery"
    assert floor.lead.all(Confirmation)[-1].over_target
    assert floor.member.running is None
    floor.conserved()


def test_a_message_that_comes_twice_or_late_changes_nothing(pair):
    floor = pair()
    floor.lead.order("A", 50)
    floor.settle()
    floor.later()
    floor.member.make(3)
    first = floor.up()
    floor.later()
    floor.member.make(4)
    second = floor.up()
    for message in (first, second, second, first, second):
        floor.lead.put(message._replace(at_ns=floor.lead.now_ns))
    assert floor.lead.state.running.good == 7
    floor.conserved()


def test_less_than_before_is_no_news(pair):
    """A member never takes anything back; a database that was put back may."""
    floor = pair()
    floor.lead.order("A", 50)
    floor.settle()
    floor.later()
    floor.member.make(3)
    floor.settle()
    message = floor.up()
    less = message._replace(said_ns=message.said_ns + 1, rows=(message.rows[0]._replace(good=1),))
    floor.lead.put(less)
    assert floor.lead.state.running.good == 3
    floor.lead.put(message._replace(said_ns=message.said_ns + 2))
    assert floor.lead.state.running.good == 3


@pytest.mark.parametrize(
    ("verb", "where"),
    [("interrupt", "late pieces of the interrupted order"), ("finish", "unallocated at the lead")],
)
def test_what_was_made_before_the_member_heard_of_the_change(pair, verb, where):
    floor = pair(orders=OrderRule(choose="command"))
    floor.lead.order("A", 50)
    floor.lead.says("start", "A")
    floor.settle()
    floor.later()
    floor.lead.make(2)
    floor.lead.says(verb, "A")
    floor.member.make(3)
    floor.settle()
    assert floor.member.running is None
    if verb == "interrupt":
        assert floor.lead.confirmed[-1] == ("A", 2, 3, "partial", "late pieces"), where
    else:
        assert floor.lead.state.unallocated.good == 3, where
        assert floor.lead.state.bucket.entries[0].what.signal == "M-02"
    floor.later()
    floor.member.make(2)
    assert floor.member.state.unallocated.good == 2, "nothing runs at the lead"
    floor.settle()
    floor.conserved()


def test_orders_that_change_places_at_one_instant_mistake_no_piece(pair):
    floor = pair(orders=OrderRule(choose="command"))
    for order in ("A", "B"):
        floor.lead.order(order, 50)
    floor.settle()
    floor.lead.says("start", "A")
    floor.lead.says("start", "B")
    floor.settle()
    floor.later()
    floor.member.make(1)
    floor.settle()
    assert floor.lead.state.running.job.order == "B"
    assert floor.lead.state.running.good == 1
    assert not floor.lead.confirmed, "A ran for no time at all"
    floor.conserved()


def test_a_hold_at_the_lead_holds_what_the_member_makes(pair):
    floor = pair()
    floor.lead.order("A", 50)
    floor.settle()
    floor.lead.says("hold", "A", reason="crack")
    floor.settle()
    floor.later()
    floor.member.make(3)
    floor.settle()
    assert floor.lead.state.running.open_hold == 3
    floor.lead.says("release", "A")
    floor.settle()
    floor.later()
    floor.member.make(1)
    floor.settle()
    assert (floor.lead.state.running.good, floor.lead.state.running.hold) == (1, 3)
    floor.conserved()


@pytest.mark.parametrize("verb", ["start", "interrupt", "finish", "hold"])
def test_orders_are_decided_at_the_lead(pair, verb):
    floor = pair()
    floor.lead.order("A", 50)
    floor.settle()
    before = floor.member.state
    floor.member.says(verb, "A")
    assert floor.member.notices[-1][1]["guard"] == "LEAD_MACHINE"
    assert floor.member.notices[-1][1]["what_to_do"] == "decide it at M-01"
    assert (floor.member.state.running, floor.member.state.queue) == (before.running, before.queue)
    entry = ReclassifyEntry(floor.lead.now_ns, "A", "", 1, Role.GOOD, Role.SCRAP, "cracked", "ann")
    floor.member.put(entry)
    assert floor.member.notices[-1][1]["guard"] == "LEAD_MACHINE"
    floor.later()
    floor.member.make(3)
    floor.settle()
    floor.lead.put(entry._replace(at_ns=floor.lead.now_ns))
    assert floor.lead.state.running.open_scrap == 1, "judged there, whoever made it"
    floor.conserved()


def allocate(floor, order, pieces, known=None):
    at_ns = floor.lead.now_ns
    return floor.member.put(AllocateEntry(at_ns, order, "", pieces, Role.GOOD, "counted", "ann", known=known))


def test_pieces_of_no_order_are_given_to_one_of_the_lead(pair):
    floor = pair(orders=OrderRule(choose="command"))
    floor.member.make(6)
    floor.settle()
    floor.lead.order("A", 50)
    allocate(floor, "A", 4)
    assert floor.member.state.unallocated.good == 6, "nobody knows that order here"
    allocate(floor, "A", 4, floor.lead.records[("A", "0010")])
    assert floor.member.state.unallocated.good == 2
    floor.settle()
    assert floor.lead.confirmed == [("A", 1, 4, "partial", "late pieces")]
    assert floor.lead.state.queue[0].state is S.INTERRUPTED, "it has begun"
    floor.conserved()


@pytest.mark.parametrize("died", [False, True])
@pytest.mark.parametrize("by_itself", [False, True])
@pytest.mark.parametrize("then", ["finish", "interrupt", "start again"])
def test_what_is_given_to_an_order_is_not_the_next_ones_though_it_ended_unheard(pair, then, by_itself, died):
    """Whoever gave it named the order; what the machine counts besides goes by its time, as ever."""
    floor = pair(orders=OrderRule(choose="command"))
    floor.member.make(3)
    for order in "AB":
        floor.lead.order(order, 50)
    floor.lead.says("start", "A")
    floor.settle()
    floor.later("10 s")
    floor.lead.says("finish" if then == "finish" else "interrupt", "A")
    floor.lead.says("start", "B")
    floor.later("5 s")
    floor.member.make(1)  # its cycle began before the end
    if by_itself:
        floor.lead.put(floor.up())
    allocate(floor, "A", 3)
    if died:
        kill(floor.member)
    if by_itself:
        floor.lead.put(floor.up())
    if then == "start again":
        floor.lead.says("start", "A", interrupt=True)
    elif by_itself:
        floor.later("5 s")
        floor.member.make(1)
    floor.settle()
    good = {run.job.order: run.good for run in floor.lead.state.open_runs()}
    nexts = 1 if by_itself and then != "start again" else 0
    assert good.get("B", 0) == nexts, "the cycle that began behind the end"
    assert (good.get("A", 0), floor.lead.state.unallocated.good) == ((0, 4) if then == "finish" else (4, 0))
    floor.conserved()
    floor.later("25 h")
    for one in (floor.lead, floor.member):
        one.wait()
    floor.settle()
    assert then == "start again" or floor.member.state.sharing.said == (), "forgotten with its stretch"


def test_the_policy_of_the_member_gives_them_by_itself(rig):
    floor = Pair(rig)
    rule = UnallocatedRule(policy="scrap_as_setup")
    floor.members["M-02"] = rig(GOOD, SCRAP, orders=MEMBER, unallocated=rule)
    floor.member.make(0)
    floor.later()
    floor.member.make(2)
    floor.later()
    floor.lead.order("A", 50)
    floor.settle()
    assert (floor.member.state.unallocated.good, floor.lead.state.running.scrap) == (0, 2)
    assert floor.lead.state.counted.scrap == 2


def test_an_order_that_comes_back_goes_on_and_old_stretches_are_forgotten(pair):
    floor = pair(orders=OrderRule(choose="command"))
    for order in "AB":
        floor.lead.order(order, 500)
    for order in "ABAB":
        floor.lead.says("start", order)
        floor.settle()
        floor.later()
        floor.member.make(5)
        floor.settle()
    assert {run.job.order: run.good for run in floor.lead.state.open_runs()} == {"A": 10, "B": 10}
    assert len(floor.member.state.queue) == 1
    floor.later("11 min")
    floor.settle()
    assert floor.member.state.queue == ()
    assert [row.order for row in floor.lead.state.sharing.members[0].rows] == ["B"]
    floor.lead.says("start", "A")
    floor.settle()
    floor.member.make(0)
    floor.later()
    floor.member.make(1)
    floor.settle()
    assert floor.lead.state.running.good == 11, "a new stretch, not the sum of the old one again"
    floor.conserved()


MOVES = ("state", "state", "make", "pass", "pass", "kill", "said", "said", "deaf")


@settings(max_examples=40)
@given(steps=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 89)), max_size=20), last=st.integers(0, 5000))
# It ends at the instant of a member's word, or runs once more while nobody hears, before anybody knows since when.
@example(steps=[("state", 1), ("deaf", 0), ("said", 0), ("pass", 1), ("make", 1)], last=0)
@example(
    steps=[("state", 1), ("pass", 5), ("deaf", 0), ("said", 0), ("pass", 7), ("said", 2), ("pass", 3), ("said", 0)],
    last=0,
)
def test_the_final_confirmation_has_every_second_of_every_machine(rig, steps, last):
    """Whatever they do, and whoever dies: each tells after each commit, and what it told last is older at the end.

    Members hear of their lead late, or of all that happened meanwhile at once.
    """
    floor = Pair(rig, 2, orders=OrderRule(choose="command"), state=TELLS, work=PRODUCING)
    machines = (floor.lead, *floor.members.values())
    for name in floor.members:
        floor.members[name] = rig(GOOD, SCRAP, orders=MEMBER, state=TELLS, work=PRODUCING)
        floor.members[name].make(0)
    machines = (floor.lead, *floor.members.values())
    floor.lead.order("A", 5000)
    floor.lead.order("B", 5000)
    floor.lead.says("start", "A")
    works, expected, deaf = [False] * 3, 0, False
    for one in machines:
        one.value("plc.state", 1)
    floor.settle()

    def passed(seconds):
        floor.later(f"{seconds} s")
        # What a member does before it hears that something runs is nobody's, as what it makes then.
        at_work = [one for one, on in zip(machines, works, strict=True) if on and one.running]
        return len(at_work) * seconds if floor.lead.running == "A" else 0

    for what, number in steps:
        at = number % 3
        if what == "state":
            works[at] = not works[at]
            machines[at].value("plc.state", 2 if works[at] else 1)
        elif what == "make":
            machines[at].make(number % 4)
        elif what == "pass":
            expected += passed(number)
            continue
        elif what == "deaf":
            deaf = not deaf
        elif what == "kill":
            machines[at].wait()  # what passed since its last input nobody knows afterwards, and nobody told
            kill(machines[at])
            machines[at].value("plc.state", 2 if works[at] else 1)
        else:
            floor.lead.says(("interrupt", "start", "start")[at], "AB"[number % 2])
        floor.settle(deaf=deaf)
    floor.settle()
    expected += passed(last)
    floor.lead.says("finish", "A")
    ended(floor)
    assert told(floor, "machine") == (Decimal(expected) / 60).quantize(Decimal("0.001"), "ROUND_HALF_UP")
    assert not stray(floor)


def test_a_stretch_is_not_forgotten_before_its_time_is_judged(pair):
    """Where a cycle takes a quarter of an hour, whether the machine stands is known long after its order ended."""
    floor = pair(orders=OrderRule(choose="command"))
    floor.lead.order("A", 500, std_cycle_ns=Duration("15 min"))
    floor.lead.says("start", "A")
    floor.settle()
    for _ in range(4):
        floor.later("15 min")
        floor.lead.make(1)
        floor.member.make(1)
        floor.settle()
    floor.later("1 min")
    floor.lead.says("interrupt", "A")
    floor.settle()
    floor.later("16 min")
    floor.lead.says("start", "A")
    floor.settle()
    floor.later("15 min")
    floor.member.make(1)
    floor.settle()
    floor.lead.says("finish", "A")
    ended(floor)
    assert told(floor, "machine") == 2 * (61 + 15)
    assert not stray(floor)


def test_a_message_from_before_it_was_forgotten_books_nothing_twice(pair):
    floor = pair(orders=OrderRule(choose="command"))
    floor.lead.order("A", 500)
    floor.lead.says("start", "A")
    floor.settle()
    floor.later()
    floor.member.make(5)
    old = floor.up()
    floor.settle()
    floor.lead.says("interrupt", "A")
    floor.settle()
    floor.later("11 min")
    floor.settle()
    assert floor.lead.state.sharing.members[0].rows == ()
    floor.lead.put(old._replace(at_ns=floor.lead.now_ns))
    assert floor.lead.state.counted.good == 5
    floor.conserved()


def test_what_is_not_booked_is_kept_however_old(pair):
    floor = pair(orders=OrderRule(choose="command"))
    floor.lead.order("A", 500)
    floor.lead.says("start", "A")
    floor.settle()
    floor.later()
    floor.member.make(5)
    floor.lead.says("interrupt", "A")
    floor.member.put(floor.down())
    floor.later("11 min")
    floor.member.put(floor.down())
    floor.settle()
    assert floor.lead.state.counted.good == 5
    floor.conserved()


def test_the_times_of_both_machines_are_confirmed(pair):
    floor = pair(confirm=ConfirmRule(min_interval=Duration("0 s")))
    floor.lead.order("A", 500, std_cycle_ns=Duration("10 s"))
    floor.settle()
    for _ in range(59):
        floor.later("10 s")
        floor.lead.make(1)
        floor.member.make(1)
        floor.settle()
    floor.later("9 s")
    floor.lead.says("finish", "A")
    final = ended(floor)
    assert (final.total_good, final.work.minutes.machine, final.work.minutes.labour) == (118, *2 * (Decimal("19.967"),))
    assert dict(final.work.states) == {"PRODUCING": "19.967"}
    assert not stray(floor)
    floor.conserved()


S_NS = Duration("1 s")


def started(pair, **rules):
    """A lead and its member that made a piece each ten seconds for a minute; the member's last word is 9 s old."""
    floor = pair(confirm=ConfirmRule(min_interval=Duration("0 s")), **rules)
    for order in "ABC" if "orders" in rules else "A":
        floor.lead.order(order, 14, std_cycle_ns=Duration("10 s"))
    if "orders" in rules:
        floor.lead.says("start", "A")
    floor.settle()
    for _ in range(6):
        floor.later("10 s")
        floor.lead.make(1)
        floor.member.make(1)
        floor.settle()
    floor.later("9 s")
    return floor


def kill(*machines):
    """It dies and starts again with what was committed."""
    for one in machines:
        one.state = one.unit.restored(snapshot.load(one.unit, snapshot.dump(one.unit, one.state)))


@pytest.mark.parametrize("end", ["person", "piece of the lead", "piece of the member", "interrupted before"])
def test_however_an_order_ends_the_times_of_its_members_are_in_its_final_confirmation(pair, end):
    floor = started(pair)
    if end == "piece of the lead":
        floor.lead.make(2)
    elif end == "piece of the member":
        floor.member.make(2)
        floor.lead.put(floor.up())
    else:
        if end == "interrupted before":
            floor.lead.says("interrupt", "A")
            floor.settle()
            floor.later("1 min")
        floor.lead.says("finish", "A")
    assert ended(floor).trigger
    assert told(floor, "machine") == told(floor, "labour") == Decimal("2.300")
    assert not stray(floor)


def test_a_partial_confirmation_does_not_tell_what_a_member_may_still_judge_otherwise(pair):
    floor = started(pair)
    floor.lead.says("confirm", "A", reason="so")
    (said,) = floor.lead.all(Confirmation)
    assert said.work.minutes.machine == Decimal("2.300"), "both machines"
    settled = sum(map(Decimal, dict(said.work.states).values()), Decimal(0))
    (row,) = floor.lead.state.sharing.member("M-02").rows
    assert dict(row.unsure)["PRODUCING"] > 0
    assert settled * 60 * S_NS <= 2 * (60 * S_NS - dict(row.unsure)["PRODUCING"])
    floor.lead.says("finish", "A")
    states = [Decimal(length) for one in floor.lead.all(Confirmation) for length in dict(one.work.states).values()]
    assert sum(states) == Decimal("2.300"), "the last one has all"


@pytest.mark.parametrize("deaths", ["", "lead", "member", "both"])
@pytest.mark.parametrize(("between", "then"), [((), "C"), (("B",), "C"), (("B",), None)])
def test_a_member_that_hears_of_the_next_order_at_once_is_the_former_ones_until_that_ended(pair, between, then, deaths):
    """Neither the time until the next one began is the former's nor that of one that came and went meanwhile."""
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.lead.says("finish", "A")
    for order in between:
        floor.later("7 s")
        floor.lead.says("start", order)
        floor.later("5 s")
        floor.lead.says("interrupt", order)
    floor.later("20 s")
    if then is not None:
        floor.lead.says("start", then)
    kill(*(one for name, one in (("lead", floor.lead), ("member", floor.member)) if deaths in (name, "both")))
    floor.later("3 s")
    if deaths:
        for one in (floor.lead, floor.member):
            one.make(0)
    assert told(floor, "machine") == Decimal("2.300")
    floor.settle()
    rows = {row.order: row for row in floor.lead.state.sharing.member("M-02").rows}
    assert sum(length for _, length in rows["A"].states) <= 69 * S_NS, "from the start of A to its end"
    if then is not None:
        assert sum(length for _, length in rows[then].states) <= 3 * S_NS, "since it began"
    late = stray(floor)
    assert not [detail for detail in late if Decimal(detail["machine"]) > 0], "nothing is missing"
    assert deaths or not late
    floor.conserved()


@pytest.mark.parametrize("deaths", ["", "lead", "member", "both"])
@pytest.mark.parametrize("silent", ["20 s", "20 min"])
@pytest.mark.parametrize("then", [None, "C"])
def test_what_a_member_does_behind_the_end_before_it_hears_of_it_is_not_the_orders(pair, then, silent, deaths):
    """The cycle that began before the end is the former's, each later one that of the next order, or nobody's."""
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.lead.says("finish", "A")
    floor.later("3 s")
    if then is not None:
        floor.lead.says("start", then)
    for _ in range(2):  # at 77 s and 87 s; the first one began at 60 s
        floor.later("5 s")
        floor.member.make(1)
        floor.lead.put(floor.up())
    floor.later(silent)
    floor.member.wait()
    before = [dict(row.states) for row in floor.up().rows]
    assert sum(before[0].values()) > 69 * S_NS, "it thinks so"
    kill(*(one for name, one in (("lead", floor.lead), ("member", floor.member)) if deaths in (name, "both")))
    floor.settle()
    rows = {row.order: row for row in floor.lead.state.sharing.member("M-02").rows}
    assert sum(length for _, length in rows["A"].states) == 69 * S_NS, "from the start of A to its end"
    assert floor.lead.state.unallocated.good == (2 if then is None else 1)
    if then is not None:
        assert floor.lead.state.running.good == 1
        since_ns = floor.lead.now_ns - floor.lead.state.sharing.since_ns
        assert sum(length for _, length in rows[then].states) == since_ns, "since it began"
    assert told(floor, "machine") == told(floor, "labour") == Decimal("2.300")
    assert deaths or not stray(floor)
    floor.conserved()


def test_time_that_other_rules_tell_anew_is_taken_back_once(pair):
    """What is in the order's times already is not entered again, so it is no more to be taken back either."""
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.later("20 min")
    floor.member.wait()
    member, state = floor.member, floor.member.state
    final = state.sharing.final
    assert final
    timeline = state.track.timeline._replace(left=final)
    again = state._replace(track=state.track._replace(timeline=timeline))
    after = member.unit._dispatch.work.followed(state, again, state.at_ns, [])
    assert (after.sharing.final, after.work.ledgers) == (final, state.work.ledgers)


@pytest.mark.parametrize("heard", [True, False])
def test_a_late_piece_is_not_confirmed_with_time_behind_the_interruption(pair, heard):
    """It is confirmed before the member has heard; what was told too much no later confirmation could take back."""
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.lead.says("interrupt", "A")
    for _ in range(2):  # the other one is nobody's; then its last word is of behind the end
        floor.later("5 s")
        floor.member.make(1)
        floor.lead.put(floor.up())
        assert floor.lead.confirmed[-1] == ("A", 2, 1, "partial", "late pieces")
        assert told(floor, "machine") == Decimal("2.300")
    floor.later("5 s")
    if heard:
        floor.settle()
    floor.lead.put(floor.up())
    floor.lead.says("finish", "A")
    assert told(floor, "machine") == Decimal("2.300")
    assert not stray(floor)


@pytest.mark.parametrize("deaths", ["", "lead", "member", "both"])
@pytest.mark.parametrize("silent", ["1 s", "20 min"])
@pytest.mark.parametrize("between", [None, "B"])
def test_an_interruption_that_a_member_never_hears_of_is_none_of_its_orders_time(pair, between, silent, deaths):
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.lead.says("interrupt", "A")
    if between is not None:
        floor.lead.says("start", between)
    for _ in range(2):  # at 74 s and 79 s; the first one began at 60 s
        floor.later("5 s")
        floor.member.make(1)
        floor.lead.put(floor.up())
    floor.later(silent)
    if between is not None:
        floor.lead.says("interrupt", between)
    floor.lead.says("start", "A")
    floor.later("5 s")
    kill(*(one for name, one in (("lead", floor.lead), ("member", floor.member)) if deaths in (name, "both")))
    floor.settle()
    (row,) = floor.lead.state.sharing.member("M-02").rows
    length_ns = sum(length for _, length in row.states)
    assert abs(length_ns - 74 * S_NS) < 10, "before the interruption and after it, but for two changes at one instant"
    good = {run.job.order: run.good for run in floor.lead.state.open_runs()}
    nobodys = floor.lead.state.unallocated.good
    assert (good["A"], good["B"], nobodys) == ((13, 0, 1) if between is None else (13, 1, 0))
    floor.lead.says("finish", "A")
    assert deaths or told(floor, "machine") == Decimal("2.300") + (Decimal(10) / 60).quantize(Decimal("0.001"))
    assert deaths or not stray(floor)
    floor.conserved()


def told(floor, kind):
    """Minutes of all confirmations of order A together."""
    return sum(getattr(one.work.minutes, kind) for one in floor.lead.all(Confirmation) if one.job.order == "A")


def test_what_an_older_gateway_remembered_of_its_members_is_read(pair):
    floor = started(pair, orders=OrderRule(choose="command"))
    floor.lead.says("interrupt", "A")
    floor.lead.says("start", "B")
    sharing = floor.lead.state.sharing
    (over,) = sharing.ended
    assert (over.key, over.at_ns) == (("A", "0010"), floor.lead.now_ns)
    kept = json.loads(json.dumps(sharing._asdict()))
    assert sharing_from(kept) == sharing
    del kept["ended"]
    assert sharing_from(kept) == sharing._replace(ended=())
    floor.lead.says("start", "A", interrupt=True)
    later_ns = over.at_ns + 1  # B began in the same instant
    assert floor.lead.state.sharing.ended == (over, ("B", "0010", later_ns + 1, later_ns, False))
    kept = json.loads(json.dumps([over[:3]]))  # when an order began to run nobody remembered then
    assert sharing_from({"last_number": 0, "members": [], "ended": kept}).ended == (over._replace(from_ns=0),)


def test_a_member_that_hears_of_the_end_late_is_the_orders_until_the_end(pair):
    floor = started(pair)
    floor.lead.says("finish", "A")
    assert ended(floor).work.minutes.machine == Decimal("2.300")
    floor.later("7 s")
    floor.lead.wait()
    floor.settle()
    (row,) = floor.lead.state.sharing.member("M-02").rows
    assert row.period.elements.apt_ns == 69 * S_NS
    assert not stray(floor)


def test_a_member_that_never_hears_of_the_end_holds_nothing_up_for_ever(pair):
    floor = started(pair)
    floor.lead.says("finish", "A")
    for _ in range(9):
        floor.later("1 min")
        floor.lead.wait()
    assert floor.lead.state.work.ledger(("A", "0010"))
    floor.later("2 min")
    floor.lead.order("B", 5)  # something must come that asks
    floor.lead.wait()
    assert not floor.lead.state.work.ledgers
    ((code, detail),) = [one for one in floor.lead.notices if one[0] == "TIMES_AFTER_FINAL"]
    assert (code, detail["machine"]) == ("TIMES_AFTER_FINAL", "-0.150"), "what nobody confirmed is told"


def test_a_machine_that_is_no_member_any_more_is_the_orders_until_then(pair):
    floor = started(pair)
    floor.lead.put(left(floor.lead.state, "M-02", floor.lead.now_ns))
    assert left(floor.lead.state, "M-02", floor.lead.now_ns) is None
    floor.later("20 s")
    floor.lead.make(1)
    floor.later("11 s")
    floor.lead.says("finish", "A")
    assert told(floor, "machine") == Decimal("2.817"), "100 s of one, 69 s of the other"


@pytest.mark.parametrize("who", ["lead", "member", "both", "both, before the word", "lead, before the word"])
def test_times_survive_a_death_between_the_end_and_the_members_word(pair, who):
    floor = started(pair)
    machines = {"l": (floor.lead,), "m": (floor.member,), "b": (floor.lead, floor.member)}[who[0]]
    if who.endswith("word"):
        kill(*machines)
        floor.lead.says("finish", "A")
    else:
        floor.lead.says("finish", "A")
        kill(*machines)
    floor.later("3 s")
    for one in machines:
        one.make(0)
    assert not [detail for detail in stray(floor) if Decimal(detail["machine"]) > 0], "nothing is missing"
    floor.conserved()


def ended(floor):
    """The final confirmation."""
    (final,) = [one for one in floor.lead.all(Confirmation) if one.kind == "final"]
    return final


def stray(floor):
    """Times that turned out otherwise after the final confirmation, within half an hour."""
    floor.settle()
    for _ in range(60):
        floor.later("30 s")
        for one in (*floor.members.values(), floor.lead):
            one.wait()
        floor.settle()
    return [detail for code, detail in floor.lead.notices if code == "TIMES_AFTER_FINAL"]


@pytest.mark.parametrize("died", [False, True])
@pytest.mark.parametrize("at_target", ["complete", "continue"])
def test_a_member_is_asked_to_stop_once_its_order_comes_to_its_target(rig, at_target, died):
    """By the sum, whoever makes the last piece; not by its own, and not again for another word or after a restart."""
    floor = Pair(rig, orders=OrderRule(at_target=at_target), confirm=ConfirmRule(delivery=STOPS))
    floor.members["M-02"] = rig(GOOD, SCRAP, orders=MEMBER, confirm=ConfirmRule(delivery=STOPS))
    floor.member.make(0)
    floor.lead.order("A", 20)
    floor.settle()

    def asked():
        return [[one.order for one in machine.all(StopRequested)] for machine in (floor.lead, floor.member)]

    floor.later()
    floor.member.make(12)
    floor.settle()
    floor.later()
    floor.lead.make(7)
    floor.settle()
    assert asked() == [[], []]
    floor.later()
    floor.lead.make(2)
    assert asked() == [["A"], []]
    if died:
        kill(floor.lead, floor.member)
        floor.member.make(0)
    floor.settle()
    assert asked() == [["A"], ["A"]]
    kill(floor.lead, floor.member)
    floor.later()
    floor.member.make(3)
    floor.settle()
    assert asked() == [["A"], ["A"]]
    if at_target == "complete":
        floor.lead.order("B", 5)
        floor.settle()
        floor.later()
        floor.member.make(5)
        floor.settle()
        assert asked() == [["A", "B"], ["A", "B"]]
    floor.conserved()


@pytest.mark.parametrize(
    "more",
    [
        {"orders": OrderRule(shares_with="M-01", first_article="always")},
        {"orders": OrderRule(shares_with="M-01", max_parallel_orders=2, parts={"plc.good": "X"})},
        {"confirm": ConfirmRule(every_pieces=5)},
        {"confirm": ConfirmRule(delivery=DeliveryRule(over_tolerance="5"))},
        {
            "confirm": ConfirmRule(
                delivery=DeliveryRule(at_target="request_plc_stop", over_tolerance="5", stop_signal="plc.stop")
            )
        },
    ],
)
def test_a_member_has_no_settings_of_orders(more):
    with pytest.raises(ValueError, match=r"orders.shares_with: found settings of .*: set them at M-01"):
        WorkUnitRules(work_center="WC-1", counters=(GOOD,), **{"orders": MEMBER} | more)


# --- random histories -------------------------------------------------------------------------------------------------

OTHERS = ("counted", "keep", "resend", "kill", "kill_lead", "order", "wait")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("make",) * 3 + ("up", "down", "said") * 2 + OTHERS),
        st.integers(0, 29),
    ),
    max_size=80,
)
VERBS = ("start", "interrupt", "finish", "hold", "release")


class History:
    """Two members and a lead; messages are lost, come twice and late, and each side dies between any two commits."""

    def __init__(self, rig, how):
        self.floor = Pair(rig, 2, orders=OrderRule(choose=how))
        self.kept = []
        self.orders = 0

    def play(self, step):
        what, amount = step
        name = ("M-02", "M-03")[amount % 2]
        getattr(self, what)(name, self.floor.members[name], amount)

    def make(self, _name, member, amount):
        self.floor.later()
        member.make(amount % 6, "plc.bad" if amount % 4 == 3 else "plc.good")

    def counted(self, _name, _member, amount):
        self.floor.later()
        self.floor.lead.make(amount % 6)

    def up(self, name, _member, _amount):
        self.floor.lead.put(self.floor.up(name))

    def down(self, name, member, _amount):
        member.put(self.floor.down(name))

    def keep(self, name, _member, _amount):
        self.kept.append(self.floor.up(name))

    def resend(self, _name, _member, amount):
        if self.kept:
            lead = self.floor.lead
            lead.put(self.kept[amount % len(self.kept)]._replace(at_ns=lead.now_ns))

    def kill(self, _name, member, _amount):
        member.state = snapshot.load(member.unit, snapshot.dump(member.unit, member.state))

    def kill_lead(self, _name, _member, _amount):
        self.kill("", self.floor.lead, 0)

    def order(self, _name, _member, amount):
        if self.orders < 6:
            self.orders += 1
            self.floor.lead.order(f"O{self.orders}", 10 + amount, sequence_no=self.orders)

    def wait(self, _name, _member, _amount):
        self.floor.later("6 min")
        self.floor.lead.wait()

    def said(self, _name, _member, amount):
        self.floor.lead.says(VERBS[amount % 5], f"O{amount % 6 + 1}", reason="so")


@settings(max_examples=300)
@given(steps=STEPS, how=st.sampled_from(("sequence", "command")))
def test_each_piece_is_booked_once_whatever_happens_between_them(rig, steps, how):
    history = History(rig, how)
    history.play(("order", 0))
    for step in steps:
        history.play(step)
    floor = history.floor
    floor.lead.close_books()
    floor.settle()
    floor.conserved()
    by_order = {}
    for name, member in floor.members.items():
        for row in member.unit.shares(member.state):
            assert floor.lead.state.sharing.member(name).row(row.number).sums == row.sums
    for one in floor.lead.all(Confirmation):
        by_order.setdefault(one.job.key, []).append(one.seq)
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_order.values())
    word = floor.down()
    assert isinstance(word, LeadTold)
    running = floor.lead.state.running
    assert floor.member.running == (None if running is None else running.job.order)


def test_a_machine_that_shares_no_more_keeps_what_was_not_booked(pair):
    floor = pair()
    floor.lead.order("A", 50)
    floor.settle()
    floor.later()
    floor.member.make(3)
    floor.lead.put(floor.up())
    floor.later()
    floor.member.make(2)
    lead = snapshot.dump(floor.lead.unit, floor.lead.state)
    booked = snapshot.booked_of((b"{}", b"no JSON", lead), "M-02")
    assert [row.good for row in booked] == [3]
    state, gone = parted(floor.member.state, booked, UnallocatedRule(), None)
    assert ([run.job.order for run in gone], state.running, state.queue) == (["A"], None, ())
    assert state.unallocated.good == 2


def test_a_machine_that_becomes_a_member_gives_its_own_orders_up(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=3, min_interval=Duration("0 s")))
    floor.order("A", 50)
    floor.make(4)
    open_good = floor.state.running.open_good
    state, gone = parted(floor.state, (), UnallocatedRule(), "WC-1")
    assert ([run.job.order for run in gone], state.running) == (["A"], None)
    assert state.unallocated.good == open_good
