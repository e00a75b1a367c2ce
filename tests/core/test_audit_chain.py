"""The chain of the audit trail: data/audit_chain.txt line by line, and that no change of any field goes unseen."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.audit import chain
from gateway.core.audit.chain import (
    Anchor,
    Broken,
    Fault,
    Head,
    Verified,
    anchor_from,
    anchor_of,
    anchor_text,
    fault_of,
    genesis,
    head_of,
    linked,
    verify,
)
from gateway.core.audit.entry import EntryContent, canonical

TABLE = Path(__file__).parent / "data" / "audit_chain.txt"
LINE = re.compile(r"(?P<doing>.+?)(?: with anchor (?P<anchor>\d+))? +-> (?:ok|(?P<seq>\d+) (?P<fault>.+))")
LENGTH = 6
START = genesis("epoch")


def content(number, user="ann"):
    return EntryContent(
        at_ns=number,
        utc_ns=number,
        time_quality=4,
        utc_offset_s=0,
        time_zone="UTC",
        user=user,
        role="operator",
        auth="token",
        client="",
        action="start",
        change="event",
        entity="operation",
        entity_id=str(number),
    )


def chained(contents, start=START):
    entries, head = [], start
    for one in contents:
        entries.append(linked(head, one))
        head = head_of(entries[-1])
    return entries


def six(start=START, user="ann"):
    return chained([content(number, user if number == 1 else "ann") for number in range(1, LENGTH + 1)], start)


def forged(entry):
    bare = entry._replace(content=entry.content._replace(user="bob"))
    return bare._replace(hash=chain.hash_of(bare))


def swapped(entries, one, other):
    moved = list(entries)
    moved[one - 1], moved[other - 1] = moved[other - 1], moved[one - 1]
    return moved


#: What the words of the table do, with the numbers behind them.
DOINGS = {
    "nothing": lambda es: es,
    "change": lambda es, n: [*es[: n - 1], es[n - 1]._replace(content=content(n, "bob")), *es[n:]],
    "forge": lambda es, n: [*es[: n - 1], forged(es[n - 1]), *es[n:]],
    "delete": lambda es, n, m: es[: n - 1] + es[m:],
    "renumber": lambda es, n: es[: n - 1] + [one._replace(seq=one.seq - 1) for one in es[n:]],
    "rechain": lambda es, n: chained([one.content for one in es[: n - 1] + es[n:]]),
    "insert": lambda es, n: [*es[: n - 1], linked(head_of(es[n - 2]), content(99)), *es[n - 1 :]],
    "repeat": lambda es, n: [*es[:n], *es[n - 1 :]],
    "swap": swapped,
    "cut": lambda es, n: es[:n],
    "empty": lambda _es: [],
    "other": lambda _es: six(genesis("another")),
    "anew": lambda _es: six(user="bob"),
}


def done_to(entries, doing):
    """The chain after what a line of the table says."""
    word, *numbers = re.findall(r"\w+", doing)
    return DOINGS[word](entries, *map(int, numbers))


def lines():
    return [line for line in TABLE.read_text().splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.split("->")[0].strip())
def test_what_verification_finds(line):
    found = LINE.fullmatch(line)
    assert found, line
    entries = six()
    anchors = [Anchor("epoch", n, entries[n - 1].hash) for n in [int(found["anchor"] or 0)] if n]
    result = verify(START, iter(done_to(entries, found["doing"])), anchors)
    if found["seq"] is None:
        assert isinstance(result, Verified), result
    else:
        assert isinstance(result, Broken), result
        assert (result.seq, result.fault.value) == (int(found["seq"]), found["fault"])
        assert f"{result.seq}" in result.why or result.fault is Fault.CUT_OFF


def test_every_fault_has_its_line():
    told = {LINE.fullmatch(line)["fault"] for line in lines()} - {None}
    assert told == {fault.value for fault in Fault} - {"unreadable", "not signed"}


def test_what_a_sound_chain_says():
    entries = six()
    anchors = [Anchor("epoch", 2, entries[1].hash), Anchor("epoch", 5, entries[4].hash)]
    assert verify(START, entries, anchors) == Verified(6, Head(6, entries[5].hash), 5)
    assert verify(START, [], []) == Verified(0, START, 0)
    assert verify(head_of(entries[2]), entries[3:]) == Verified(3, Head(6, entries[5].hash))
    assert verify(head_of(entries[2]), entries[4:]).seq == 4
    assert json.loads(json.dumps(head_of(entries[5])._asdict())) == {"seq": 6, "hash": entries[5].hash}


def test_two_anchors_that_contradict_each_other_fit_no_chain():
    entries = six()
    anchors = [Anchor("epoch", 2, entries[1].hash), Anchor("epoch", 2, "0" * 64)]
    assert verify(START, entries, anchors)[:2] == (2, Fault.NOT_ANCHORED)
    wrong_start = [Anchor("epoch", 3, "0" * 64)]
    assert verify(head_of(entries[2]), entries[3:], wrong_start)[:2] == (3, Fault.NOT_ANCHORED)


@given(st.data())
def test_no_change_of_any_field_goes_unseen(data):
    entries = six()
    at = data.draw(st.integers(0, LENGTH - 1))
    old = entries[at]
    names = [*EntryContent._fields, "seq", "prev_hash", "hash", "form"]
    name = data.draw(st.sampled_from(names))
    held = getattr(old, name) if name in old._fields else getattr(old.content, name)
    strategy = st.integers(-(2**70), 2**70) if isinstance(held, int) else st.text(max_size=20)
    value = data.draw(strategy.filter(lambda value: value != held))
    new = (
        old._replace(**{name: value})
        if name in old._fields
        else old._replace(content=old.content._replace(**{name: value}))
    )
    result = verify(START, [*entries[:at], new, *entries[at + 1 :]])
    assert isinstance(result, Broken)
    # A number or hash that is wrong may show at the gap before it, or at the link behind it.
    assert abs(result.seq - (at + 1)) <= 1 or name == "seq"


@given(st.permutations(range(LENGTH)), st.sets(st.integers(0, LENGTH - 1)))
def test_only_a_beginning_of_the_chain_is_sound(order, kept):
    entries = six()
    shown = [at for at in order if at in kept]
    result = verify(START, [entries[at] for at in shown])
    if shown == list(range(len(shown))):
        assert result.entries == len(shown)
    else:
        assert isinstance(result, Broken)


def test_texts_cannot_move_from_one_field_to_the_next():
    one, other = content(1)._replace(entity="ab", entity_id="c"), content(1)._replace(entity="a", entity_id="bc")
    assert linked(START, one).hash != linked(START, other).hash


def test_what_cannot_be_read_is_told_at_its_entry():
    entries = six()
    entries[2] = entries[2]._replace(form=2)
    assert verify(START, entries)[:2] == (3, Fault.UNREADABLE)
    for odd in ("\ud800", b"ann"):
        entries = six()
        entries[3] = entries[3]._replace(content=entries[3].content._replace(user=odd))
        assert verify(START, entries)[:2] == (4, Fault.UNREADABLE)


def test_the_walk_holds_one_entry_at_a_time():
    made = []

    def stream():
        for entry in six():
            made.append(entry.seq)
            yield entry

    broken = done_to(list(six()), "change 2")
    walked = iter(broken)
    assert verify(START, walked).seq == 2
    assert next(walked).seq == 3, "nothing behind the fault was taken"
    assert verify(START, stream()).entries == 6
    assert made == [1, 2, 3, 4, 5, 6]


def test_what_else_is_asked_sees_the_entry_before():
    seen = []

    def also(before, entry):
        seen.append((before and before.seq, entry.seq))
        return Broken(entry.seq, Fault.NOT_SIGNED, "no") if entry.seq == 3 else None

    assert verify(START, six(), (), also) == Broken(3, Fault.NOT_SIGNED, "no")
    assert seen == [(None, 1), (1, 2), (2, 3)]


def test_the_hash_can_be_checked_without_linegate():
    entry = six()[1]
    assert hashlib.sha256(entry.prev_hash.encode() + canonical(entry)).hexdigest() == entry.hash
    assert fault_of(head_of(six()[0]), entry) is None


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "x" * 65])
def test_names_of_chains(name):
    with pytest.raises(ValueError, match=r"^chain: found"):
        genesis(name)


def test_an_anchor_is_one_line():
    anchor = anchor_of("epoch", head_of(six()[5]))
    assert anchor_text(anchor) == f"linegate-audit/1/epoch/6/{six()[5].hash}"
    assert anchor_from(f" {anchor_text(anchor)}\n") == anchor
    assert Anchor(**json.loads(json.dumps(anchor._asdict()))) == anchor
    with pytest.raises(ValueError, match="found no entry"):
        anchor_of("epoch", START)


@pytest.mark.parametrize(
    "text", ["", "linegate-audit/1/epoch/0/" + "a" * 64, "linegate-audit/2/epoch/1/" + "a" * 64, "x/1/\x1b"]
)
def test_a_line_that_is_no_anchor(text):
    with pytest.raises(ValueError, match=r"^anchor: found") as found:
        anchor_from(text)
    assert "\x1b" not in str(found.value)


def test_anchors_are_bounded(monkeypatch):
    monkeypatch.setattr(chain, "ANCHORS_MAX", 2)
    with pytest.raises(ValueError, match="anchors: found more than 2"):
        verify(START, [], [Anchor("epoch", n, "0" * 64) for n in (1, 2, 3)])
