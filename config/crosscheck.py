"""Checks across sections, on a document that passed its schema: names that must exist elsewhere, or only once.

Returns complaints and warnings; knows no files.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from config.errors import KeyPath, did_you_mean, dotted, listed
from config.messages import Complaint
from gateway.core.duration import Duration
from gateway.core.orders.parallel import MACHINES_MAX
from gateway.core.rule_signals import counter_rules, is_counted, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from config.errors import Place
    from gateway.core.rules import WorkUnitRules


def crosscheck(
    document: Any,
    place: Callable[[KeyPath], Place],
    cycle_ns: Callable[[Any], int],
    signals: Callable[[Any], Sequence[str]],
) -> list[Complaint]:
    """Everything that does not fit together.

    ``place`` tells where a path stands, to name the other side. ``cycle_ns`` tells a source's longest regular silence,
    ``signals`` the names that rules may use.
    """
    return [
        *_silences(document, cycle_ns),
        *_signals(document, signals),
        *_reports(document, place),
        *_kinds(document, place),
        *_work_centers(document.work_units, place),
        *_calendars(document),
        *_connectors(document),
        *_stops(document),
        *_two_names(document),
    ]


def _two_names(document: Any) -> Iterator[Complaint]:
    for old in ("journal_keep", "posted_keep") if document.retention is not None else ():
        if getattr(document.buffer, old) is not None:
            text = "is an old name of ages in the section retention, which is there too: write them there only"
            yield Complaint(("buffer", old), about_key=True, text=text)


def warnings(document: Any) -> Iterator[tuple[KeyPath, str]]:
    """What is allowed but probably not meant, with its path."""
    for unit, rules in document.work_units.items():
        for at, rule in enumerate(rules.counters):
            if rules.ideal_cycle is not None:
                continue
            for keys, counter in counter_rules(rule):
                if counter.max_rate is None:
                    rolls = (
                        "a reset can pass for a roll-over" if counter.modulus else "a wild value can pass for pieces"
                    )
                    text = f"neither max_rate nor the work unit's ideal_cycle is given: {rolls}; name the fastest rate"
                    yield ("work_units", unit, "counters", at, *keys), text


def signal_uses(work_units: Mapping[str, WorkUnitRules]) -> Iterator[tuple[KeyPath, str]]:
    """Every signal that a rule names, with the path of the naming key."""
    for unit, rules in work_units.items():
        top: KeyPath = ("work_units", unit)
        for at, rule in enumerate(rules.counters):
            for keys, signal in named(rule):
                yield (*top, "counters", at, *keys), signal
        if rules.orders.job_signal is not None:
            yield (*top, "orders", "job_signal"), rules.orders.job_signal
        if rules.orders.cycle_job_signal is not None:
            yield (*top, "orders", "cycle_job_signal"), rules.orders.cycle_job_signal
        if rules.confirm.delivery.stop_signal is not None:
            yield (*top, "confirm", "delivery", "stop_signal"), rules.confirm.delivery.stop_signal
        if rules.confirm.handling_unit_signal is not None:
            yield (*top, "confirm", "handling_unit_signal"), rules.confirm.handling_unit_signal
        if rules.work.serial_signal is not None:
            yield (*top, "work", "serial_signal"), rules.work.serial_signal
        for keys, signal in rules.state.signals:
            yield (*top, "state", *keys), signal


def _stops(document: Any) -> Iterator[Complaint]:
    """What a machine is asked to stop by must be writable, and take that value."""
    for unit, rules in document.work_units.items():
        delivery = rules.confirm.delivery
        source, _, name = (delivery.stop_signal or "").partition(".")
        found = document.sources.get(source)
        signal = None if found is None else found.signals.get(name)
        if signal is None:
            continue  # told already, as that of any signal
        path: KeyPath = ("work_units", unit, "confirm", "delivery")
        limits = getattr(signal, "writable", None)
        if limits is None:
            text = f"found {delivery.stop_signal!r}, which is not writable; allowed: a signal with writable (limits)"
            yield Complaint((*path, "stop_signal"), about_key=False, text=text)
            continue
        if not _may_be_written(limits, delivery.stop_value):
            text = f"found {delivery.stop_value!r}, allowed: what writable of {delivery.stop_signal} allows"
            yield Complaint((*path, "stop_value"), about_key=False, text=text)


def _may_be_written(limits: Any, text: str) -> bool:
    if limits.values and text not in limits.values:
        return False
    if limits.min is None or limits.max is None:
        return True
    try:
        return Decimal(limits.min) <= Decimal(text) <= Decimal(limits.max)
    except InvalidOperation:
        return False


def _calendars(document: Any) -> Iterator[Complaint]:
    for unit, rules in document.work_units.items():
        if rules.calendar is not None and rules.calendar not in document.calendars:
            near = did_you_mean(rules.calendar, document.calendars)
            known = listed(document.calendars) if document.calendars else "none is defined; write a section calendars"
            text = f"found {rules.calendar!r}, there is no such calendar; allowed: {known}{near}"
            yield Complaint(("work_units", unit, "calendar"), about_key=False, text=text)


def _silences(document: Any, cycle_ns: Callable[[Any], int]) -> Iterator[Complaint]:
    """A source that is given up before its next reading can come would never be up."""
    for name, source in document.sources.items():
        cycle = Duration(cycle_ns(source))
        for key in ("stale_after", "values_stale_after"):
            limit = getattr(source, key)
            if limit is not None and limit <= cycle:
                text = f"found '{limit}', allowed: more than '{cycle}', the time between two readings"
                yield Complaint(("sources", name, key), about_key=False, text=text)


def _signals(document: Any, signals: Callable[[Any], Sequence[str]]) -> Iterator[Complaint]:
    by_source = {name: signals(source) for name, source in document.sources.items()}
    known = {f"{source}.{signal}": None for source, names in by_source.items() for signal in names}
    for path, signal in signal_uses(document.work_units):
        if signal in known:
            continue
        # A signal's own name may have dots (``plc.words.0``), a source's never has.
        source, dot, _ = signal.partition(".")
        near = did_you_mean(signal, known)
        if not dot:
            text = f"found {signal!r}, allowed: source.name{near}"
        elif source not in by_source:
            near = near or did_you_mean(source, by_source)
            text = f"found {signal!r}, there is no source {source!r}; allowed: {listed(by_source)}{near}"
        else:
            text = f"found {signal!r}, source {source!r} has no such signal; allowed: {listed(by_source[source])}{near}"
        yield Complaint(path, about_key=False, text=text)


def _reports(document: Any, place: Callable[[KeyPath], Place]) -> Iterator[Complaint]:
    """A deadband on a signal that rules use: it must have an effect, and must not swallow pieces."""
    seen: set[KeyPath] = set()
    for path, signal in signal_uses(document.work_units):
        source, _, name = signal.partition(".")
        settings = getattr(document.sources.get(source), "signals", {})
        own = settings.get(name) if isinstance(settings, dict) else None
        at: KeyPath = ("sources", source, "signals", name, "deadband")
        deadband = getattr(own, "deadband", None)
        if deadband is None or at in seen:
            continue
        seen.add(at)
        used = f"{dotted(path)} uses this signal, at {place(path)}"
        if path[2] == "counters":
            text = f"found {deadband!r}, but {used}: what changes within it would not be seen; remove it"
            yield Complaint(at, about_key=False, text=text)
        elif getattr(own, "report", "change") == "always":
            text = f"found {deadband!r}, but {used}, and report: always hands over every sample; set report: change"
            yield Complaint(at, about_key=False, text=text)


def _kinds(document: Any, place: Callable[[KeyPath], Place]) -> Iterator[Complaint]:
    """What is counted needs every edge, not only the level that remains of several."""
    for path, signal in signal_uses(document.work_units):
        source, _, name = signal.partition(".")
        settings = getattr(document.sources.get(source), "signals", {})
        own = settings.get(name) if isinstance(settings, dict) else None
        if path[2] == "counters" and is_counted(path[4:]) and getattr(own, "kind", None) == "level":
            counted = f"{dotted(path)} counts this signal, at {place(path)}"
            text = f"found 'level', but {counted}: pieces that come together would be one; set kind: pulse"
            yield Complaint(("sources", source, "signals", name, "kind"), about_key=False, text=text)


def _work_centers(work_units: Mapping[str, WorkUnitRules], place: Callable[[KeyPath], Place]) -> Iterator[Complaint]:
    first: dict[str, KeyPath] = {}
    for unit, rules in work_units.items():
        path: KeyPath = ("work_units", unit, "work_center")
        if rules.orders.shares_with is not None:
            yield from _shares(unit, rules.orders.shares_with, work_units)
            continue
        if rules.work_center in first:
            other = first[rules.work_center]
            text = (
                f"found {rules.work_center!r}, which {dotted(other)} has too, at {place(other)}; "
                "an order would not know where to run: give each work unit its own, or name one in the others' "
                "orders.shares_with"
            )
            yield Complaint(path, about_key=False, text=text)
        else:
            first[rules.work_center] = path


def _shares(unit: str, lead: str, work_units: Mapping[str, WorkUnitRules]) -> Iterator[Complaint]:
    """A machine works on the orders of one that has orders, at the same work center, each of which runs alone."""
    path: KeyPath = ("work_units", unit, "orders", "shares_with")
    leads = [name for name, rules in work_units.items() if rules.orders.shares_with is None]
    if lead not in leads or lead == unit:
        others = listed(leads) if leads else "none: one of them must hold the orders"
        text = f"found {lead!r}, allowed a work unit that holds orders: {others}{did_you_mean(lead, leads)}"
        yield Complaint(path, about_key=False, text=text)
        return
    rules = work_units[lead]
    members = [name for name, one in work_units.items() if one.orders.shares_with == lead]
    if rules.work_center != work_units[unit].work_center:
        text = f"found {lead!r}, whose work center is {rules.work_center!r}, not {work_units[unit].work_center!r}"
        yield Complaint(path, about_key=False, text=f"{text}; give both the same")
    if rules.orders.max_parallel_orders > 1 or rules.orders.counting_source != "machine":
        text = f"found {lead!r}, which runs several orders at once or whose pieces people count; allowed neither"
        yield Complaint(path, about_key=False, text=text)
    if len(members) >= MACHINES_MAX:
        text = f"found {len(members)} machines that share with {lead!r}, allowed {MACHINES_MAX - 1}"
        yield Complaint(path, about_key=False, text=text)


def _connectors(document: Any) -> Iterator[Complaint]:
    confirming = [name for name, connector in document.connectors.items() if connector.confirmations]
    if not confirming:
        text = "none of them takes confirmations; allowed: at least one with confirmations: true"
        yield Complaint(("connectors",), about_key=True, text=text)
    for unit, rules in document.work_units.items():
        for at, name in enumerate(rules.confirm.also_to):
            if name in confirming:
                continue
            path: KeyPath = ("work_units", unit, "confirm", "also_to", at)
            found = "it has confirmations: false" if name in document.connectors else "there is no such connector"
            near = did_you_mean(name, confirming)
            text = f"found {name!r}, {found}; allowed: {listed(confirming) or 'none'}{near}"
            yield Complaint(path, about_key=False, text=text)
