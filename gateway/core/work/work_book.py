"""Times, people and material of one work unit put together: what is remembered, and what a confirmation says of it.

The times of a confirmation are those of all that is final and of what is not yet, as it seems to be at its instant;
what turns out otherwise goes into the next one. Decides no order and makes no confirmation.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.core.confirming.run_checks import with_lots, with_unknown
from gateway.core.duration import NS_PER_UNIT
from gateway.core.model import Confirmation, MachineState, Notice
from gateway.core.orders.job_image import work_of
from gateway.core.orders.places import with_run
from gateway.core.rules_counting import PartResultRule
from gateway.core.state.interval import handed_row, within
from gateway.core.state.settled import settled
from gateway.core.work.family_time import FamilyTime, kept
from gateway.core.work.handed_work import ToldTimes
from gateway.core.work.labour import expired, logged_out, watching
from gateway.core.work.ledger import RunLedger, TimeBook
from gateway.core.work.lots import swept
from gateway.core.work.material_book import Drawing, MaterialBook
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import RoundingCarry, decimal_steps, steps_of
from gateway.core.work.run_work import ConfirmedWork
from gateway.core.work.state_minutes import told_states
from gateway.core.work.time_account import MINUTE_PLACES, MINUTE_STEP_NS, ActivityMinutes, TimeAccount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from gateway.core.model import CountEvent, JobOrder, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State
    from gateway.core.work.activity_times import PeriodTimes
    from gateway.core.work.ledger import Key, WorkState

#: No count reaches further back than that: lots that were taken off earlier are forgotten.
LOTS_KEPT_NS: Final = 24 * NS_PER_UNIT["h"]
#: The trigger of a final confirmation that the last piece causes.
AT_TARGET: Final = "target reached"
#: Times that turn out otherwise after the final confirmation are told from so much on: devices' stamps and the arrival
#: of what they say differ by less.
LATE_TIME_NS: Final = NS_PER_UNIT["s"]
_KINDS: Final = TimeAccount._fields


class WorkBook:
    """The rules of one machine, prepared. Every method returns the new state or order."""

    def __init__(self, rules: WorkUnitRules, machine: str, unit: MachineStateUnit) -> None:
        self.rule = rules.work
        self.machine = machine
        self.material = MaterialBook(rules.work, machine)
        self._unit = unit
        self._silent = rules.orders.shares_with is not None  # its times are told by another machine
        self._family = FamilyTime(rules)
        self._times = TimeBook(rules.work, machine, unit.time_model, self._family)
        self._basis = rules.work.times.machine_time_basis
        self._undo_ns = int(rules.confirm.undo_window)
        self._tests = any(isinstance(rule, PartResultRule) for rule in rules.counters)

    def adapted(self, state: State) -> State:
        """The state under these rules; people of a machine that was not watched are from what is not final on."""
        labour = watching(state.work.labour, (self.machine,), state.track.timeline.final_ns)
        return state._replace(
            work=state.work._replace(labour=labour, feeders=self.material.feeders(state.work.feeders))
        )

    def skills(self, work: WorkState, run: JobRun) -> tuple[str, tuple[str, ...]]:
        """The skill that an operation asks for, and what those who are logged in can do; "" where nobody tells."""
        known, image = self.rule.labour.skills, work_of(run.job)
        if not known or image is None or not image.skill:
            return "", ()
        there = (one.person for one in work.labour.log_ins if one.to_ns is None and one.machine == self.machine)
        return image.skill, tuple(sorted({skill for person in there for skill in known.get(person, ())}))

    # --- within an input ----------------------------------------------------------------------------------------------

    def lots_for(self, state: State, run: JobRun) -> frozenset[str]:
        """Lots that are mounted now where an order takes its material from."""
        return self.material.mounted(state.work.feeders, run, state.at_ns)

    def drawn(
        self, state: State, run: JobRun, event: CountEvent, pieces: int, at_ns: int, out: list[Output]
    ) -> tuple[State, JobRun]:
        """After pieces of an order were booked: what they took from the feeders."""
        drawing = Drawing(pieces, min(event.t_from_ns, event.t_to_ns), event.t_to_ns, _shift(state))
        feeders, run = self.material.took(state.work.feeders, run, drawing, at_ns, out)
        return state._replace(work=state.work._replace(feeders=feeders)), run

    def followed(self, before: State, state: State, at_ns: int, out: list[Output]) -> State:
        """After an input: final intervals are entered, orders that are gone wait for their last ones."""
        open_keys = {run.job.key: _crew(run) for run in _with_led(state.open_runs())}
        work = self._of_ended(before, state.work, open_keys, at_ns, out)
        if self._family.possible:
            work = work._replace(together=self._family.seen(work.together, state.at_work(), at_ns))
        left = state.track.timeline.left
        if left:
            crews = {one.key: one.crew for one in work.ledgers} | open_keys
            work = self._times.entered(work, left, lambda key: crews.get(key, 1))
            if any(one.state is MachineState.UNKNOWN for one in left):
                state = _not_heard(state, left)
            stray = TimeAccount()  # of an order of which nothing was told: it is over
            ledgers = tuple(
                one._replace(told=stray, ended_ns=at_ns) if one.told is None and one.key not in open_keys else one
                for one in work.ledgers
            )
            work = self._expired(work._replace(ledgers=ledgers), left[-1].to_ns, at_ns, out)
            feeders = tuple(swept(one, at_ns - LOTS_KEPT_NS) for one in work.feeders)
            timeline = state.track.timeline._replace(left=())
            state = state._replace(track=state.track._replace(timeline=timeline))
            if self._silent:
                state = state._replace(sharing=state.sharing.with_final(self._times.fresh(state.work, left)))
            work = work._replace(feeders=feeders, together=kept(work.together, left[-1].to_ns))
        final_ns = state.track.timeline.final_ns
        ended = (one for one in work.ledgers if one.told is not None and one.key not in open_keys)
        # Whoever ended it may still take that back.
        done = [
            one
            for one in ended
            if final_ns >= one.ended_ns
            and at_ns > one.ended_ns + self._undo_ns
            and not state.sharing.unheard(one.key, one.ended_ns, at_ns)
        ]
        if done:
            for one in done:
                self._after_final(one, at_ns, out)
            work = work._replace(ledgers=tuple(one for one in work.ledgers if one not in done))
        return state if work is state.work else state._replace(work=work)

    def reopened(self, state: State, key: Key) -> State:
        """Its end was taken back: the order's times go on."""
        ledgers = tuple(one._replace(told=None, ended_ns=0) if one.key == key else one for one in state.work.ledgers)
        return state._replace(work=state.work._replace(ledgers=ledgers))

    def _of_ended(
        self, before: State, work: WorkState, open_keys: Collection[Key], at_ns: int, out: list[Output]
    ) -> WorkState:
        """Marks the ledgers of orders that were open before this input and are not any more."""
        gone = {run.job.key: run for run in _with_led(before.open_runs()) if run.job.key not in open_keys}
        if not gone:
            return work
        ledgers = {one.key: one for one in work.ledgers}
        for key, run in gone.items():
            said = [told for given in out if (told := _told_of(given, key)) is not None]
            told = said[-1] if said else run.work.times
            if key in ledgers or any(carry.told for carry in told):
                known = ledgers.get(key) or RunLedger(*key, crew=_crew(run))
                ledgers[key] = known._replace(told=told, ended_ns=at_ns, told_states=_states_told(run, out))
        return work._replace(ledgers=tuple(ledgers.values()))

    def _expired(self, work: WorkState, final_ns: int, at_ns: int, out: list[Output]) -> WorkState:
        labour = work.labour
        for one in expired(labour, self.rule.labour, final_ns):
            after = logged_out(labour, one.person, one.machine, at_ns)
            if not isinstance(after, WorkRefused):
                labour = after
                out.append(Notice(at_ns, "LOG_IN_EXPIRED", (("person", one.person),)))
        return work if labour is work.labour else work._replace(labour=labour)

    def _after_final(self, ledger: RunLedger, at_ns: int, out: list[Output]) -> None:
        """What became final after the last confirmation and was not told so: a correction is due."""
        assert ledger.told is not None, "asked of orders that ended"
        if self._silent:
            return
        exact = as_of(ledger.told, ledger.period, self._basis)
        wrong = {name: carry.due(MINUTE_STEP_NS) for name, carry in zip(_KINDS, exact, strict=True)}
        if any(abs(steps) * MINUTE_STEP_NS >= LATE_TIME_NS for steps in wrong.values()):
            minutes = ((name, str(decimal_steps(steps, MINUTE_PLACES))) for name, steps in wrong.items() if steps)
            names = (("order", ledger.order), ("operation", ledger.operation))
            out.append(Notice(at_ns, "TIMES_AFTER_FINAL", (*names, *minutes)))

    # --- confirmations ------------------------------------------------------------------------------------------------

    def seeming(self, state: State, run: JobRun, at_ns: int) -> RunLedger:
        """The times of an order up to an instant."""
        row = self._unit.not_final(state.track, at_ns)
        crew = _crew(run)
        own = self._times.seeming(state.work, run.job.key, row, lambda _key: crew, at_ns)
        if not state.sharing.members:
            return own
        return state.sharing.seeming(own, at_ns, runs=state.works_on(run.job.key))

    def sure(self, state: State, run: JobRun, at_ns: int) -> tuple[tuple[str, int], ...]:
        """Time by machine state, without what may still turn out to be another state."""
        row = settled(state.track, at_ns, self._unit.settle_ns)
        own = self._times.states(state.work, run.job.key, row)
        return state.sharing.sure(run.job.key, own) if state.sharing.members else own

    def untold(self, state: State, run: JobRun, at_ns: int) -> bool:
        """Whether a last confirmation of this order would say of any time that it passed, or of material."""
        _, times = self.timed(state, run, at_ns, last=True)
        return times.takes_time or self.material.untold(run)

    def not_final(self, state: State, key: Key, machine: MachineState, to_ns: int) -> tuple[tuple[int, int], ...]:
        """Stretches of an order in a state of the machine that are not entered yet, as they seem to be."""
        row = self._unit.not_final(state.track, to_ns)
        return tuple((one.from_ns, one.to_ns) for one in row if one.state is machine and _key(one) == key)

    def open_time_ns(self, state: State, run: JobRun, at_ns: int) -> int:
        """Time of machine and people that a confirmation of this order would tell now; 0: none."""
        account = as_of(run.work.times, self.seeming(state, run, at_ns).period, self._basis)
        return int(sum(max(carry.due(MINUTE_STEP_NS), 0) for carry in account) * MINUTE_STEP_NS)

    def confirmed(
        self, state: State, run: JobRun, at_ns: int, shift: str, *, final: bool, last: bool
    ) -> tuple[JobRun, ConfirmedWork]:
        """The order after a confirmation, and what it says; ``last``: none of this job order follows."""
        run, times = self.timed(state, run, at_ns, last=last)
        serials = tuple(one.serial for one in run.work.serials)
        rest, told = self.material.confirmed(run, shift, at_ns, final=final)
        minutes = ActivityMinutes(*(decimal_steps(steps, MINUTE_PLACES) for steps in times.minutes))
        states = tuple((name, str(decimal_steps(steps, MINUTE_PLACES))) for name, steps in times.states)
        operators = self._operators(state, run, at_ns)
        confirmed = ConfirmedWork(
            minutes, states, told.lines, told.lots, serials, operators, told.links, times.told, held=told.held
        )
        return run._replace(work=rest._replace(operators=())), confirmed

    def timed(self, state: State, run: JobRun, at_ns: int, *, last: bool) -> tuple[JobRun, ToldTimes]:
        """The order after its times up to an instant were told, and these; ``last``: none follows here."""
        ledger = self.seeming(state, run, self._until(state, run, at_ns) if last else at_ns)
        before = run.work.times
        if items := self.material.unknown_items(run):
            run = run._replace(checks=with_lots(run.checks, items))
        if before == TimeAccount() and ledger.told is not None:  # opened again before its last intervals were final
            before = ledger.told
        times, minutes = as_of(before, ledger.period, self._basis).tell()
        sums = ledger.states if last else self.sure(state, run, at_ns)
        of_states = run.work.states
        if not of_states and ledger.told is not None:
            of_states = tuple((name, RoundingCarry(told=steps)) for name, steps in ledger.told_states)
        told, states = told_states(of_states, sums)
        work = run.work._replace(times=times, states=told)
        whole = tuple(steps_of(one, MINUTE_PLACES) for one in minutes)
        return run._replace(work=work), ToldTimes(whole, states, times)

    def _until(self, state: State, run: JobRun, at_ns: int) -> int:
        """Up to when an order's time goes that is over now."""
        derived = run.last_derived_ns == at_ns
        return self._over_ns(state, run.last_event_ns if derived else None, run.open_from_ns, at_ns)

    def free_from_ns(self, before: State, state: State, instant_ns: int, at_ns: int, out: list[Output]) -> int:
        """From when on the machine is not the leading order's any more, which is the last instant that was told of it.

        ``instant_ns`` is when what ended it took place; where its last piece did, that piece decides.
        """
        if before.running is None:
            return instant_ns
        key = before.running.job.key
        for one in out:
            if isinstance(one, Confirmation) and one.trigger == AT_TARGET and _led_key(one) == key:
                made_ns = one.last_event_ns if one.derived_ns == at_ns else None
                return self._over_ns(state, made_ns, one.period_from_ns, at_ns)
        return instant_ns

    def paused(self, state: State, job: JobOrder, span: tuple[int, int | None], at_ns: int, out: list[Output]) -> State:
        """The machine was not this order's from an instant on until another one; None: it is not since."""
        ideal_ns, (from_ns, to_ns) = state.track.timeline.contexts[-1].ideal_ns, span
        track, told = self._unit.on_job(state.track, None, None, from_ns, at_ns)
        out += told
        if to_ns is not None:
            track, told = self._unit.on_job(track, job, ideal_ns, to_ns, at_ns)
            out += told
        return state._replace(track=track)

    def handed(self, state: State, from_ns: int, to_ns: int, was: JobRun, job: JobOrder | None) -> State:
        """Time that was taken for one order's was another one's, or no order's; what is not judged is left as it is.

        What is final and summed up is taken back as far as it is kept (``Sharing.final``).
        """
        timeline = state.track.timeline
        key = (None, None) if job is None else job.key
        row = handed_row(timeline.row, from_ns, to_ns, was.job.key, key)
        state = state._replace(track=state.track._replace(timeline=timeline._replace(row=row)))
        final = [part for one in state.sharing.final if (part := within(one, from_ns, to_ns)) is not None]
        taken = [one for one in final if _key(one) == was.job.key]
        if not taken:
            return state
        given = [one._replace(order=key[0], operation=key[1]) for one in taken]
        crew = _crew(was)
        work = self._times.taken_back(state.work, taken, given, lambda _key: crew)
        rest = handed_row(state.sharing.final, from_ns, to_ns, was.job.key, key)
        kept = tuple(one for one in rest if one.order is not None)
        return state._replace(work=work, sharing=state.sharing._replace(final=kept))

    def _over_ns(self, state: State, made_ns: int | None, from_ns: int, at_ns: int) -> int:
        """What its last piece ends was over when that was made, not when it came; one that was tested, when it was."""
        if made_ns is None or self._tests or state.track.timeline.pending_ns != made_ns:
            return at_ns
        return min(max(made_ns, from_ns), at_ns)

    def _operators(self, state: State, run: JobRun, at_ns: int) -> tuple[str, ...]:
        """Who was logged in at some time since the last confirmation."""
        there = [
            one.person
            for one in state.work.labour.log_ins
            if one.from_ns < at_ns and (one.to_ns is None or one.to_ns > run.open_from_ns)
        ]
        return tuple(sorted({*there, *run.work.operators}))


def _not_heard(state: State, left: Sequence[StateInterval]) -> State:
    """Open orders remember when nobody knew what their machine did."""
    for run in tuple(state.open_runs()):
        of_run = [one for one in left if one.state is MachineState.UNKNOWN and _key(one) == run.job.key]
        known_ns = run.checks.acknowledged_ns
        stretches = [(max(one.from_ns, known_ns), one.to_ns) for one in of_run if one.to_ns > known_ns]
        if stretches:
            state = with_run(state, run._replace(checks=with_unknown(run.checks, stretches)))
    return state


def _key(one: StateInterval) -> Key:
    return (one.order or "", one.operation or "")


def as_of(account: TimeAccount, period: PeriodTimes, basis: str) -> TimeAccount:
    """The account with all that was worked, whatever it held before; what was told of it stays."""
    fresh = TimeAccount().booked(period, basis)  # type: ignore[arg-type]  # one of the rule's words
    return TimeAccount(*(now._replace(told=one.told) for one, now in zip(account, fresh, strict=True)))


def _led_key(given: Confirmation) -> Key:
    """The job order that ran for it: its own, or the one that leads it."""
    return (given.job.leader or given.job.order, given.job.operation)


def _told_of(given: Output, key: Key) -> TimeAccount | None:
    """What a confirmation says was told of an operation in all; of a leader its originals' confirmations say it."""
    if not isinstance(given, Confirmation) or given.work is None:
        return None
    if given.job.key == key:
        return given.work.told
    return given.work.led if (given.job.leader, given.job.operation) == key else None


def _states_told(run: JobRun, out: Iterable[Output]) -> tuple[tuple[str, int], ...]:
    """Thousandths of a minute that were told of each machine state; the order was open before these confirmations."""
    told = {name: carry.told for name, carry in run.work.states}
    for given in out:
        if isinstance(given, Confirmation) and given.work is not None and given.job.key == run.job.key:
            for name, minutes in given.work.states:
                told[name] = told.get(name, 0) + steps_of(Decimal(minutes), MINUTE_PLACES)
    return tuple(sorted(told.items()))


def _with_led(runs: Iterable[JobRun]) -> Iterator[JobRun]:
    """Open orders, and those that they lead: these may go on alone, and are told with what they took before."""
    for run in runs:
        yield run
        if run.merged is not None:
            yield from run.merged.runs


def _crew(run: JobRun) -> int:
    work = work_of(run.job)
    return 1 if work is None else work.crew


def _shift(state: State) -> str:
    return state.track.timeline.contexts[-1].shift
