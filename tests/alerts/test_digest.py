"""What is news, when it is told, and in how many bytes: pure, the time is a number."""

from __future__ import annotations

import json
import random

import pytest

from gateway.alerts import conditions, digest, message
from gateway.alerts.conditions import Condition, Kind, LinkSeen, Seen, Waiting
from gateway.alerts.digest import GATHER_NS, Known, Watched
from gateway.alerts.message import Message, Sender
from gateway.core.duration import Duration

EVERY = Duration("5 min")
CALM = Duration("1 min")
SECOND = Duration("1 s")
ALL = tuple(Kind)
ME = Sender("box-1", "P1", "L1")


def watched(known=None, kinds=ALL):
    return Watched(known or Known({}), kinds=kinds, every_ns=EVERY, resolved_after_ns=CALM)


def parked(*ids, target="erp"):
    return Condition(Kind.PARKED, f"target {target}", "text", 7, len(ids), tuple(ids))


def seen(*found, unclear=()):
    return Seen(found, frozenset(unclear))


def tell(channel, what, now_ns):
    """Look, wait for what comes with it, tell; the digest."""
    channel.look(what, now_ns)
    found = channel.look(what, now_ns + GATHER_NS)
    assert channel.is_due(now_ns + GATHER_NS)
    channel.was_told(found, now_ns + GATHER_NS)
    return found


def test_five_hundred_that_come_in_a_while_are_two_messages():
    channel, now_ns, messages = watched(), 0, []
    for number in range(1, 501):  # one each 200 ms: 100 s
        now_ns = number * SECOND // 5
        found = channel.look(seen(parked(*range(number, 0, -1))), now_ns)
        if channel.is_due(now_ns):
            channel.was_told(found, now_ns)
            messages.append(found)
    assert len(messages) == 1
    later_ns = messages and now_ns + EVERY
    found = channel.look(seen(parked(*range(500, 0, -1))), later_ns)
    assert channel.is_due(later_ns)
    channel.was_told(found, later_ns)
    assert messages[0].new[0].number + found.more[0].added == 500
    assert not channel.look(seen(parked(*range(500, 0, -1))), later_ns + 10 * EVERY).is_news


def test_one_that_is_solved_and_another_one_is_news_though_the_number_is_the_same():
    channel = watched()
    tell(channel, seen(parked(1, 2)), 0)
    found = channel.look(seen(parked(3, 2)), EVERY)
    assert [(more.condition.postings, more.added) for more in found.more] == [((3, 2), 1)]


def test_the_same_one_parked_again_is_news_again():
    channel = watched()
    tell(channel, seen(parked(1, 2)), 0)
    assert not channel.look(seen(parked(2)), EVERY).is_news
    assert channel.look(seen(parked(1, 2)), EVERY + 1).more[0].added == 1


def test_it_is_resolved_only_when_it_stays_away():
    channel = watched()
    tell(channel, seen(parked(1)), 0)
    assert not channel.look(seen(), EVERY).is_news
    assert not channel.look(seen(parked(1)), EVERY + CALM // 2).is_news
    assert not channel.look(seen(), EVERY + CALM).is_news, "away anew: it begins anew"
    found = tell(channel, seen(), EVERY + 2 * CALM)
    assert [one.key for one in found.resolved] == ["parked:target erp"]
    assert channel.known.told == {}


def test_what_comes_and_goes_between_two_messages_is_never_told():
    channel = watched()
    tell(channel, seen(parked(1)), 0)
    other = Condition(Kind.DEGRADED, "room", "full", 1)
    assert channel.look(seen(parked(1), other), SECOND * 10).is_news
    assert not channel.is_due(SECOND * 20), "at most one message in five minutes"
    assert not channel.look(seen(parked(1)), SECOND * 30).is_news


def test_what_nobody_knows_after_a_restart_is_neither_told_nor_resolved():
    down = Condition(Kind.LINK_DOWN, "target erp", "gone", 1)
    channel = watched()
    tell(channel, seen(down, parked(1)), 0)
    again = watched(digest.from_json(json.loads(json.dumps(digest.to_json(channel.known)))))
    assert again.known == channel.known
    for now_ns in range(EVERY, 5 * EVERY, CALM):
        assert not again.look(seen(unclear=["link_down:target erp", "parked"]), now_ns).is_news
    assert not again.look(seen(down, parked(1)), 5 * EVERY).is_news


def test_a_clock_that_was_wrong_holds_nobody_up():
    channel = watched(Known({}, 10**19))
    channel.look(seen(parked(1)), 0)
    channel.look(seen(parked(1)), GATHER_NS)
    assert channel.is_due(GATHER_NS)


def test_a_channel_hears_only_what_it_wants():
    channel = watched(kinds=("degraded",))
    assert not channel.look(seen(parked(1)), 0).is_news
    before = watched()
    tell(before, seen(parked(1)), 0)
    less = watched(before.known, kinds=("degraded",))
    assert [one.key for one in less.look(seen(parked(1)), EVERY).resolved] == ["parked:target erp"]


def test_more_than_are_known_one_by_one_are_told_by_their_number():
    many = parked(*range(1000, 0, -1))._replace(number=1500)
    channel = watched()
    tell(channel, seen(many), 0)
    assert not channel.look(seen(many), EVERY).is_news
    fewer = many._replace(number=1400, postings=tuple(range(900, -100, -1)))
    assert not channel.look(seen(fewer), EVERY + 1).is_news, "older ones came into the list"
    assert channel.look(seen(many._replace(number=1501)), EVERY + 2).more[0].added == 101


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_a_channel_ends_up_knowing_what_is_so(seed):
    """Never two messages within five minutes, never one without news, and in the end everything is told."""
    rng = random.Random(seed)
    channel, now_ns, sent = watched(), 0, []
    open_ones = {}
    for _ in range(400):
        now_ns += rng.randrange(1, 120) * SECOND
        name = f"target {rng.randrange(4)}"
        kind = rng.choice(ALL)
        if rng.random() < 0.5:
            ids = tuple(sorted(rng.sample(range(50), rng.randrange(1, 8)), reverse=True))
            postings = ids if kind in {Kind.PARKED, Kind.APPROVAL} else ()
            one = Condition(kind, name, "t", now_ns, len(postings) or 1, postings)
            open_ones[one.key] = one
        else:
            open_ones.pop(f"{kind}:{name}", None)
        what = seen(*open_ones.values(), unclear=rng.choices(ALL, k=rng.randrange(2)))
        found = channel.look(what, now_ns)
        if channel.is_due(now_ns) and rng.random() < 0.7:  # else the channel was away
            assert found.is_news, f"seed {seed}"
            assert not sent or now_ns - sent[-1] >= EVERY, f"seed {seed}"
            channel.was_told(found, now_ns)
            sent.append(now_ns)
    for _ in range(3):
        now_ns += EVERY
        channel.was_told(channel.look(seen(*open_ones.values()), now_ns), now_ns)
    told = {key: one.postings for key, one in channel.known.told.items()}
    assert told == {key: one.postings for key, one in open_ones.items()}, f"seed {seed}"
    assert len(sent) > 20, f"seed {seed}"


def test_links_are_down_only_after_a_while():
    minute = Duration("1 min")
    found = conditions.links(
        [
            LinkSeen("target a", up=False, since_ns=0, why="refused"),
            LinkSeen("target b", up=False, since_ns=9 * minute, why="refused"),
            LinkSeen("target c", up=None, since_ns=0, why=""),
            LinkSeen("target d", up=True, since_ns=0, why=""),
        ],
        10 * minute,
        5 * minute,
    )
    assert [(one.subject, one.text) for one in found.conditions] == [
        ("target a", "down for 10 min: refused; what is made waits")
    ]
    assert found.unclear == {"link_down:target b", "link_down:target c"}
    assert [found.is_unclear(key) for key in ("link_down:target b", "link_down:target d")] == [True, False]


def test_degraded_is_told_by_part_and_not_what_is_told_otherwise():
    began = {}
    texts = (
        "room: nearly full",
        "target erp: down",
        "alerts: no answer",
        "erp: orders cannot be fetched: x",
        "set aside: a.db: x",
        "set aside: b.db: y",
    )
    first = conditions.degraded(texts, began, 5)
    assert [(one.subject, one.number, one.since_ns) for one in first] == [("room", 1, 5), ("set aside", 2, 5)]
    again = conditions.degraded(texts[:1], began, 9)
    assert [(one.subject, one.since_ns) for one in again] == [("room", 5)]
    assert began == {"room": 5}


def test_a_text_names_some_of_them():
    rows = [Waiting(9 - at, "4711", "0010", 9 - at, "RU/018", "locked\nby\x1b[31m ann", 100 - at) for at in range(7)]
    (one,) = conditions.waiting(Kind.PARKED, {"erp": rows}, {"erp": 7})
    assert one.text.startswith("7 confirmations parked: 4711/0010 number 9 (RU/018 locked by [31m ann); ")
    assert "number 5" in one.text
    assert "number 4" not in one.text
    assert one.text.endswith("and 2 more; see linegate outbox list --state parked")
    assert (one.since_ns, one.postings) == (94, (9, 8, 7, 6, 5, 4, 3))


@pytest.mark.parametrize("most", [4, 5, 6, 7, 20])
def test_no_character_is_cut(most):
    for text in ("a" * 30, "ä" * 30, "注塑机停机" * 9, "😀" * 9, "a注😀ä" * 9):
        cut = message.fit(text, most)
        assert len(cut.encode()) <= most
        assert cut[-1] == "…"
        assert text.startswith(cut[:-1])
        assert len(cut.encode()) > most - 4, "no more is lost than one character"
    assert message.fit("注", 4) == "注"


@pytest.mark.parametrize(("most", "markdown"), [(2048, False), (4096, True)])
def test_a_message_stays_within_its_bytes_and_says_what_is_left_out(most, markdown):
    for number in (1, 3, 10, 500):
        many = Message("linegate P1/L1/box-1: 500 new", ("目标:确认被锁定 😀 " * 40,) * number, {})
        text = message.text_of(many, most, markdown=markdown)
        assert len(text.encode()) <= most
        said = [line for line in text.splitlines() if "more; see linegate status" in line]
        left = int(said[0].removeprefix("- ").split()[0]) if said else 0
        lines = sum(1 for line in text.splitlines() if "目标" in line)
        assert lines + left == number
        assert bool(said) == (number > 3)


def test_a_foreign_text_makes_no_link_in_markdown():
    bad = Condition(Kind.DEGRADED, "room", "[click](https://evil) <font> **x** @all", 0)
    found = digest.Digest((bad,), (), (), ())
    made = message.message_of(found, ME, 5, lambda at_ns: at_ns)
    text = message.text_of(made, 4096, markdown=True)
    assert text.startswith("**linegate P1/L1/box-1: 1 new**\n\n- NEW room: degraded: ")
    assert not set("[]<>") & set(text)
    assert text.count("**") == 2


def test_a_program_gets_the_same_as_fields():
    found = digest.Digest(
        (parked(2, 1),),
        (digest.More(parked(5, 4, target="b"), 1),),
        (parked(8),),
        (Condition(Kind.DEGRADED, "r", "", 1),),
    )
    document = message.message_of(found, ME, SECOND, lambda at_ns: at_ns).document
    assert document["counts"] == {"new": 1, "more": 1, "resolved": 1, "still": 1}
    assert document["new"] == [
        {"kind": "parked", "subject": "target erp", "count": 2, "since": "1970-01-01T00:00:00.000Z", "text": "text"}
    ]
    assert document["more"][0]["added"] == 1
    assert (document["gateway"], document["at"]) == ("box-1", "1970-01-01T00:00:01.000Z")
    many = digest.Digest(tuple(parked(1, target=str(at)) for at in range(200)), (), (), ())
    document = message.message_of(many, ME, SECOND, lambda at_ns: at_ns).document
    assert (len(document["new"]), document["counts"]["new"]) == (50, 200)
    assert len(json.dumps(document)) < 64_000
