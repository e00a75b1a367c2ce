"""A digest as text for a room, or as JSON for a program, never above a limit of bytes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.alerts.conditions import Condition, length
from gateway.core.document import utc
from gateway.core.foreign_text import CUT_MARK, clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alerts.digest import Digest

#: Of one line of a text.
LINE_MAX_BYTES: Final = 600
#: Of each list of a JSON document; beside each stands how many there are.
LISTED_MAX: Final = 50
#: Robots can be told to take only messages with a word in them; this one is in each.
KEYWORD: Final = "linegate"
#: What makes links, tags and layout in the robots' markdown, and what stands for it.
_PLAIN: Final = str.maketrans({"[": "(", "]": ")", "<": "(", ">": ")", "*": "'", "`": "'", "#": "no. ", "\\": "/"})


class Sender(NamedTuple):
    """Who speaks: the gateway, as its configuration names it."""

    id: str
    plant: str
    line: str

    @property
    def name(self) -> str:
        """In one word for a headline."""
        return "/".join(filter(None, (self.plant, self.line, self.id)))


class Message(NamedTuple):
    """``title``: one line. ``lines``: what there is to say. ``document``: the same for a program."""

    title: str
    lines: tuple[str, ...]
    document: dict[str, Any]


def fit(text: str, max_bytes: int) -> str:
    """The text in at most so many bytes of UTF-8 (4 or more); no character is cut, an ellipsis shows the end."""
    written = text.encode()
    if len(written) <= max_bytes:
        return text
    return written[: max_bytes - len(CUT_MARK.encode())].decode(errors="ignore") + CUT_MARK


def message_of(digest: Digest, sender: Sender, now_ns: int, utc_ns: Callable[[int], int]) -> Message:
    """A digest in words. ``utc_ns``: what UTC was at a steady time."""
    counts = ((len(digest.new), "new"), (len(digest.more), "more"), (len(digest.resolved), "resolved"))
    told = ", ".join(f"{number} {word}" for number, word in counts if number)
    title = f"{KEYWORD} {sender.name}: {told}"
    lines = [
        *(f"NEW {_line(one, utc_ns)}" for one in digest.new),
        *(f"MORE (+{one.added}) {_line(one.condition, utc_ns)}" for one in digest.more),
        *(f"RESOLVED {one.subject}: {one.kind}, after {length(now_ns - one.since_ns)}" for one in digest.resolved),
    ]
    if digest.still:
        lines.append(f"STILL {'; '.join(f'{one.subject}: {one.kind} ({one.number})' for one in digest.still)}")
    document = {
        "v": 1,
        "event": "alert",
        **_from(sender),
        "at": utc(utc_ns(now_ns)),
        "title": title,
        "new": _listed(digest.new, utc_ns),
        "more": [{**_plain(one.condition, utc_ns), "added": one.added} for one in digest.more[:LISTED_MAX]],
        "resolved": _listed(digest.resolved, utc_ns),
        "still": _listed(digest.still, utc_ns),
        "counts": {name: len(getattr(digest, name)) for name in ("new", "more", "resolved", "still")},
    }
    return Message(title, tuple(lines), document)


def test_message(sender: Sender, now_ns: int, utc_ns: Callable[[int], int]) -> Message:
    """What ``linegate alerts test`` sends."""
    title = f"{KEYWORD} {sender.name}: test message"
    document = {"v": 1, "event": "test", **_from(sender), "at": utc(utc_ns(now_ns)), "title": title}
    return Message(title, ("A person has asked for it; nothing has happened.",), document)


def text_of(message: Message, max_bytes: int, *, markdown: bool = False) -> str:
    """Title and lines in at most so many bytes (500 or more); of what has no room the last line says how much."""
    bullet, bold = ("- ", "**") if markdown else ("", "")
    title, lines = clean(message.title), [clean(line, LINE_MAX_BYTES) for line in message.lines]
    if markdown:
        title, lines = title.translate(_PLAIN), [line.translate(_PLAIN) for line in lines]
    written = [fit(f"{bold}{title}{bold}", LINE_MAX_BYTES // 2)]
    break_ = "\n\n" if markdown else "\n"
    for at, line in enumerate(lines):
        one = f"{bullet}{fit(line, LINE_MAX_BYTES)}"
        rest = f"{bullet}{len(lines) - at} more; see {KEYWORD} status"
        last = at == len(lines) - 1
        room = max_bytes - len(break_.join([*written, one] if last else [*written, one, rest]).encode())
        if room < 0:
            written.append(rest)
            break
        written.append(one)
    return fit(break_.join(written), max_bytes)


def _line(one: Condition, utc_ns: Callable[[int], int]) -> str:
    since = "" if "since " in one.text else f" (since {utc(utc_ns(one.since_ns))})"
    return f"{one.subject}: {one.kind}: {one.text}{since}"


def _from(sender: Sender) -> dict[str, str]:
    return {"gateway": sender.id, "plant": sender.plant, "line": sender.line}


def _listed(conditions: tuple[Condition, ...], utc_ns: Callable[[int], int]) -> list[dict[str, Any]]:
    return [_plain(one, utc_ns) for one in conditions[:LISTED_MAX]]


def _plain(one: Condition, utc_ns: Callable[[int], int]) -> dict[str, Any]:
    since = utc(utc_ns(one.since_ns))
    return {"kind": one.kind.value, "subject": one.subject, "count": one.number, "since": since, "text": one.text}
