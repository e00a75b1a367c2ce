"""The status document as a person reads it: one line a machine, a source, a target. Makes text only."""

from __future__ import annotations

from typing import Any, Final

from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, NS_PER_UNIT
from gateway.core.foreign_text import clean
from gateway.shown.buffer_text import summary_line

NS_PER_MS: Final = NS_PER_UNIT["ms"]
S_PER_MIN: Final = 60
S_PER_H: Final = 3600
CLOCK_OFFSET_SHOWN_MS: Final = 1000
WARNING_CHARS_MAX: Final = 1000
#: What waits longer than this is held up by something, so the last error is worth a look.
HELD_UP_NS: Final = S_PER_MIN * NS_PER_S

_ROLES: Final = ("good", "scrap", "rework", "hold", "test")


def lines(view: dict[str, Any]) -> list[str]:
    """The status as a person reads it; ``view`` has steady times, for their lengths."""
    now = view["now_ns"]
    text = [f"{view['id']}  linegate {view['version']}  pid {view['pid']}  up {_age(now, view['started_ns'])}", ""]
    text += [machine_header()] + [machine_line(unit, now) for unit in view["work_units"]] + [""]
    text += [source_line(source, now) for source in view["sources"]]
    text += [target_line(target, now) for target in view["targets"]]
    text += [feed_line(feed) for feed in view["feeds"]]
    if view.get("buffer") is not None:
        text.append(summary_line(view["buffer"]))
    if view["mqtt"] is not None:
        error = clean(view["mqtt"]["last_error"]) or "not connected yet"
        link = "up" if view["mqtt"]["connected"] else f"down ({error})"
        text.append(f"{'mqtt':<12} {link}")
    text += clock_lines(view["clock"], now)
    if (audit := view.get("audit")) is not None:
        anchored = f"anchored {audit['anchor_day']}" if audit["anchor"] else "not anchored yet"
        text.append(f"{'audit':<12} {audit['entries']} entries, {anchored}, profile {audit['profile']}")
    if (found := view.get("reconciliation")) is not None:
        text.append(reconciliation_line(found, now))
    degraded = [] if view.get("buffer") is None else view["buffer"]["degraded"]
    text += [f"DEGRADED {clean(one, WARNING_CHARS_MAX)}" for one in degraded]
    said = [one for one in view["warnings"] if not any(text.startswith(one) for text in degraded)]
    return text + [f"WARNING {clean(warning, WARNING_CHARS_MAX)}" for warning in said]


def clock_lines(clock: dict[str, Any], now_ns: int) -> list[str]:
    """Whether times are to be believed; nothing where they are."""
    text = []
    if not clock["known"]:
        since = utc(clock["since_ns"] + clock["utc_offset_ms"] * NS_PER_MS)
        what = "shows an impossible date" if clock["quality"] == "implausible" else "not synchronised"
        text.append(f"{'clock':<12} {what} since {since} ({_age(now_ns, clock['since_ns'])}): times may be off")
    if abs(clock["offset_ms"]) >= CLOCK_OFFSET_SHOWN_MS:
        text.append(f"{'clock':<12} the system's clock is {clock['offset_ms'] / 1000:+.1f} s off the gateway's own")
    return text


def reconciliation_line(found: dict[str, Any], now_ns: int) -> str:
    """The last report: how much differs, and when it was made."""
    what = f"{found['findings']} findings" if found["findings"] else "no differences"
    todo = ", see linegate reconcile --reports" if found["findings"] else ""
    return f"{'erp totals':<12} {what} {_age(now_ns, found['at_ns'])} ago (report {found['number']}){todo}"


def machine_header() -> str:
    """Column names of ``machine_line``."""
    return (
        f"{'MACHINE':<10} {'STATE':<14} {'SINCE':<11} {'ORDER':<16} {'GOOD':>7} {'SCRAP':>6} {'TARGET':>7}  "
        f"{'LAST PIECE':<11} OPEN"
    )


def machine_line(unit: dict[str, Any], now_ns: int) -> str:
    """One machine: state, order, good and scrap against target, last piece, what is open; below it why, whose shift."""
    order = clean(f"{unit['order']}/{unit['operation']}") if unit["order"] else "-"
    loose = sum(unit[f"unallocated_{role}"] for role in _ROLES)
    held = f"{unit['hold']} held" if unit["hold"] else ""
    notes = [
        f"{sum(unit[f'unconfirmed_{role}'] for role in _ROLES)} unconfirmed",
        held,
        f"{loose} unallocated for {_age(now_ns, unit['unallocated_since_ns'])}" if loose else "",
        f"{unit['review_pieces']} under review" if unit["review_pieces"] else "",
        f"{len(unit['unknown'])} unknown intervals" if unit["unknown"] else "",
    ]
    why = unit["reason"] and f"{unit['reason']}{' by ' * bool(unit['reason_source'])}{unit['reason_source']}"
    more = [
        f"reason {why}" if why else "",
        "at reduced speed" if unit["reduced_speed"] else "",
        f"shift {unit['shift']} of {unit['production_day']}" if unit["shift"] else "",
        f"planned {unit['planned']}" if unit["planned"] else "",
        *(
            " ".join(filter(None, ("HOLD of", one["scope"], one["name"]))) + f": {one['reason']}"
            for one in unit["holds"]
        ),
        f"at work {', '.join(one['person'] for one in unit['operators'])}" if unit["operators"] else "",
        *(f"{one['feeder']} lot {one['lot']}{_left(one)}" for one in unit["lots"]),
        f"{unit['serials_held']} duplicate serial numbers wait for their piece" if unit["serials_held"] else "",
    ]
    below = clean(", ".join(filter(None, more)))
    return (
        f"{unit['id']:<10} {unit['state']:<14} {_age(now_ns, unit['state_since_ns']):<11} {order:<16} "
        f"{unit['good']:>7} {unit['scrap']:>6} "
        f"{unit['target'] or '-':>7}  {_age(now_ns, unit['last_piece_ns']):<11} {', '.join(filter(None, notes))}"
    ) + (f"\n{'':<10} {below}" if below else "")


def _left(lot: dict[str, Any]) -> str:
    return "" if lot["left"] is None else f" ({lot['left']} left)"


def source_line(source: dict[str, Any], now_ns: int) -> str:
    """One source: link, last good value, what is wrong, when it is tried again, what else a person should know."""
    text = f"{source['name']:<12} {source['state']} for {_age(now_ns, source['since_ns'])}"
    if source["simulated"]:
        text += "  SIMULATED"
    if source["last_value_ns"] is not None:
        text += f"  last value {_age(now_ns, source['last_value_ns'])} ago"
    if source["reconnects"]:
        text += f"  {source['reconnects']} reconnects"
    if source["state"] != "up":
        if source["last_error"]:
            text += f"  {clean(source['last_error'])}"
        if source["next_retry_ns"] is not None:
            text += f"  next attempt in {_age(source['next_retry_ns'], now_ns)}"
    below = [f"{signal}: {why}" for signal, why in source["problems"].items()]
    below += [f"note: {why}" for why in source["notices"].values()]
    return text + "".join(f"\n{'':<12} {clean(line)}" for line in below)


def feed_line(feed: dict[str, Any]) -> str:
    """One source of orders: operations taken, and those that are for other gateways."""
    text = (
        f"{feed['name']:<12} orders: {feed['received']} operations received, {feed['elsewhere']} for other work centers"
    )
    return f"{text}, {len(feed['refused'])} refused" if feed["refused"] else text


def target_line(target: dict[str, Any], now_ns: int) -> str:
    """One target: link, posted, waiting, oldest waiting, and the last error where something is held up."""
    text = f"{target['name']:<12} {target['link']}  posted {target['posted']}  waiting {target['waiting']}"
    if target["waiting"]:
        text += f"  oldest {_age(now_ns, target['oldest_waiting_ns'])}"
    for kind in ("uncertain", "parked", "accepted", "delivered", "held", "needs_approval", "goods_errors", "late"):
        if target.get(kind):
            text += f"  {kind.replace('_', ' ')} {target[kind]}"
    if target.get("latency_last_ms") is not None:
        text += f"  last answer after {target['latency_last_ms']} ms, median {target['latency_median_ms']} ms"
        text += _slowest(target)
    if target.get("breaker") == "open" and target["next_retry_ns"] is not None:
        text += f"  stopped for {_age(now_ns, target['breaker_since_ns'])}"
        text += f" after {target['failures']} failures, next attempt in {_age(target['next_retry_ns'], now_ns)}"
        if target["last_success_ns"] is not None:
            text += f", last answer {_age(now_ns, target['last_success_ns'])} ago"
    since_ns = target["oldest_waiting_ns"]
    held_up = target["parked"] or target["uncertain"] or (since_ns is not None and now_ns - since_ns > HELD_UP_NS)
    for kind in ("answers_waiting", "answers_parked", "notices_waiting", "notices_parked"):
        if target.get(kind):
            text += f"  {kind.replace('_', ' ')} {target[kind]}"
    if target["last_error"] and (held_up or target["link"] != "up"):
        text += f"  {clean(target['last_error'])}"
    return text


def _slowest(target: dict[str, Any]) -> str:
    """The 95th percentile, and the stage that takes longest."""
    if target.get("latency_p95_ms") is None:
        return ""
    known = {name: length for name, length in target["stages_p95_ms"].items() if length is not None}
    longest = max(known, key=known.__getitem__, default="")
    return f", p95 {target['latency_p95_ms']} ms" + (f" ({longest} {known[longest]} ms)" if longest else "")


def _age(now_ns: int, then_ns: int | None) -> str:
    if then_ns is None:
        return "-"
    age_s = max(now_ns - then_ns, 0) // NS_PER_S
    if age_s < S_PER_MIN:
        return f"{age_s} s"
    if age_s < S_PER_H:
        return f"{age_s // S_PER_MIN} min"
    return f"{age_s // S_PER_H} h {age_s % S_PER_H // S_PER_MIN} min"
