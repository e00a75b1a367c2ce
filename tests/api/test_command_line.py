"""API and command line ask for the same: each decision by both ways, with the same fields, or there is a reason.

The command line is run against a real control socket whose verbs only note what they were told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import re

import pytest

from gateway.api.fields import Choice
from gateway.api.routes import ROUTES
from gateway.cli import build_parser, main
from gateway.control import SOCKET_NAME, ControlServer

from .test_routes import VALUES, body_of

ROWS = {route.verb: route for route in ROUTES if route.writes}
#: Where the words of the command line are not those of the verb.
WORDS = {
    "reason": ("reason",),
    "lot.mount": ("lots", "mount"),
    "lot.unmount": ("lots", "unmount"),
    "material.issue": ("lots", "issue"),
    "reconcile.accept": ("reconcile", "--accept"),
    "reconcile.settle": ("reconcile", "--settle"),
    "reconcile": ("reconcile",),
    "undo": ("undo",),
    "outbox.post_today": ("outbox", "post-today"),
    "outbox.resend_from": ("outbox", "resend"),
}
#: Commands that no row of the API stands for, and why.
ONLY_HERE = {
    "run": "the process itself", "init": "writes a first file", "opcua certificate": "files of the gateway's user",
    "check": "a file before there is a gateway", "schema": "for editors",
    "test": "a file and its recordings",
    "record": "takes seconds to days and writes a file", "replay": "reads a file", "reload": "of who owns the file",
    "write": "puts a value into a machine: from this computer only", "browse": "commissioning", "read": "commissioning",
    "watch": "commissioning", "scan": "commissioning", "decode": "commissioning", "witness": "commissioning",
    "template list": "files of the package", "template show": "files of the package", "demo": "a plant of its own",
    "simulate": "a machine of its own", "opcua trust": "files of the gateway's user",
    "user add": "who gives tokens needs none", "user list": "as above", "user roles": "as above",
    "user token": "as above", "user passphrase": "as above", "user revoke": "as above",
    "buffer verify": "reads the files, also beside a stopped gateway", "buffer backup": "writes a file",
    "buffer restore": "of a stopped gateway", "buffer export": "writes files", "buffer salvage": "of a stopped gateway",
    "outbox export": "GET /v1/outbox?state=parked says the same", "audit verify": "takes minutes; reads the files",
    "audit export": "GET /v1/audit, page by page, says the same",
}  # fmt: skip
#: Commands that ask without changing anything, by the row that answers the same.
READING = {
    "status": "status", "states": "states", "machine": "dispatch", "stop list": "stop.list", "hold list": "hold.list",
    "order list": "orders", "unallocated list": "unallocated", "outbox list": "outbox", "outbox show": "posting",
    "audit show": "audit", "audit anchors": "audit.anchors", "buffer status": "buffer", "buffer days": "days",
    "retention": "retention", "erp probe": "erp.probe", "erp lookup": "erp.lookup", "erp render": "erp.render",
    "erp orders": "erp.orders", "lots trace": "lots.trace", "lots used": "lots.used", "user me": "me",
}  # fmt: skip
#: Fields that the command line leaves to somebody else: what of them, and why.
#: Needed here and not by the API: (verb, field) and why.
NEEDED_HERE = {
    ("order.split", "operation"): "all that follows are quantities",
    ("hold.set", "name"): "the name of the machine, too, where it is one that is held",
    ("hold.release", "name"): "as above",
}
#: Needed by the API and not here: a reason is asked of a login in the profile regulated only; a person is you; what
#: an order used is purged unless it is said otherwise.
OPTIONAL_HERE = {"reason", "person", "kind"}
ANSWERS = {
    "outbox.booked": {
        "number": 1, "order": "1", "operation": "1", "seq": 1, "target": "t", "asked": "found", "state": "posted",
        "reference": "r",
    },
    "outbox.resend_from": {"done": [], "left": []},
    "reconcile": {"compared": 0, "counts": {}, "left_out": 0, "not_compared": [], "findings": [], "report": {}},
}  # fmt: skip
LISTS = {"alerts.test", "outbox.resend", "outbox.retry", "outbox.release", "outbox.discard", "outbox.material-posted"}
STARTED = {"verb", "who", "auth", "client"}


def leaves(parser, words=()):
    """Every command that can be given, with its parser."""
    subs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not subs:
        yield " ".join(words), parser
        return
    seen = set()
    for name, one in subs[0].choices.items():
        if one not in seen:
            seen.add(one)
            yield from leaves(one, (*words, name))


COMMANDS = dict(leaves(build_parser()))


def words_of(verb):
    return WORDS.get(verb, tuple(verb.split(".")))


def command_of(verb):
    return " ".join(word for word in words_of(verb) if not word.startswith("--"))


def actions_of(verb):
    """The options of its command by the name of the field that each is for."""
    names = {"from_": "from", "first": "from", "last": "to", "sign": "passphrase", "at": "from"}
    if verb == "order.split":
        names["quantity"] = "quantities"
    if verb == "reason":
        names.pop("at")  # an instant alone; the API calls it from, without to
    if verb in {"stop.split", "stop.merge"}:
        names.pop("at")
    if verb in {"hold.set", "hold.release"}:
        names["at"] = "machine"
    found = {}
    for action in COMMANDS[command_of(verb)]._actions:
        found.setdefault(names.get(action.dest, action.dest), action)
    return found


def test_every_command_is_a_row_or_there_is_a_reason():
    known = {command_of(verb) for verb in ROWS} | set(ONLY_HERE) | set(READING) | {"stop reason"}
    assert set(COMMANDS) - known == set(), "neither a row of the API, nor a reason why there is none"
    assert known - set(COMMANDS) == set(), "no such command (any more)"
    assert set(READING.values()) <= {route.verb for route in ROUTES}
    others = {route.verb for route in ROUTES if not route.writes} - set(READING.values())
    # Health and readiness are for supervisors of processes; the two lists of machines are parts of the status; a
    # person looks again; reconcile --reports is an option.
    assert others == {"health", "ready", "work_unit", "work_units", "changes", "reconcile.reports"}


@pytest.mark.parametrize("verb", ROWS)
def test_a_decision_has_the_same_fields_on_the_command_line(verb):
    """Each field is there; what is needed here is needed there, and the same words are allowed."""
    actions = actions_of(verb)
    for field in (*ROWS[verb].params, *ROWS[verb].body):
        name = "which" if field.name in {"number", "key"} else field.name
        assert name in actions, f"linegate {command_of(verb)} has no {field.name}"
        action = actions[name]
        needed = action.required and action.nargs != "?"
        if field.required and field.name not in OPTIONAL_HERE and verb not in {"outbox.resend_from", "outbox.resend"}:
            assert needed or command_of(verb) == "reconcile", f"{field.name} is needed by the API"
        if not field.required and (verb, field.name) not in NEEDED_HERE:
            assert not needed, f"{field.name} is not needed by the API"
        if isinstance(field.kind, Choice) and action.nargs != 0:
            assert action.choices, f"{field.name}: the command line does not say what is allowed"
            assert set(action.choices) - {""} == set(field.kind.words), field.name


def argv_of(verb):
    """The command with a value for each of its fields, as a person types it."""
    words, line = words_of(verb), []
    body = {**body_of(ROWS[verb]), **{field.name: VALUES[field.name] for field in ROWS[verb].params}}
    actions = actions_of(verb)
    for name, value in body.items():
        action = actions["which" if name in {"number", "key"} else name]
        text = str(value)
        if not action.option_strings:
            line.append((COMMANDS[command_of(verb)]._actions.index(action), [text]))
        elif action.nargs == 0:
            line.append((1000, [action.option_strings[-1]]))
        else:
            line.append((1000, [next(one for one in action.option_strings if one.startswith("--")), text]))
    return [*words, *(word for _at, part in sorted(line, key=lambda one: one[0]) for word in part)]


@pytest.fixture
async def ask(tmp_path, monkeypatch):
    """Runs a command; what the gateway was asked."""
    told = []

    async def verb(asked):
        told.append(dict(asked))
        name = asked["verb"]
        return ANSWERS.get(name, [] if name in LISTS else f"{name} done")

    verbs = dict.fromkeys((*ROWS, "stop.reason"), verb)
    server = ControlServer(tmp_path / SOCKET_NAME, verbs)
    await server.start()

    def run(line):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                code = main([*line, "-d", str(tmp_path)])
            except SystemExit as error:
                code = error.code
        return code, said.getvalue()

    async def asked(line):
        monkeypatch.setattr("sys.stdin", io.StringIO("some words of my own\n"))
        told.clear()
        code, said = await asyncio.to_thread(run, line)
        assert told, (line, code, said)
        return {name: value for name, value in told[0].items() if name not in STARTED}, told[0]["verb"]

    yield asked
    await server.close()


@pytest.mark.parametrize("verb", ROWS)
async def test_what_is_typed_reaches_the_verb_as_the_api_would_say_it(ask, verb):
    found, name = await ask(argv_of(verb))
    assert name == verb
    wanted = {**body_of(ROWS[verb]), **{field.name: VALUES[field.name] for field in ROWS[verb].params}}
    found = {("number" if one == "which" and "number" in wanted else one): value for one, value in found.items()}
    # True and "true", 1 and "1" are the same to a verb.
    plain = {one: re.sub("^True$", "true", str(value)) for one, value in found.items() if value not in (None, "")}
    expected = {one: re.sub("^True$", "true", str(value)) for one, value in wanted.items()}
    assert plain == expected
