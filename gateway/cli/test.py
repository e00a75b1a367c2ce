"""``linegate test FILE``: runs the tests of a configuration's rules, without a machine, an ERP or a running gateway."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from gateway.cli.hours import hours_of
from gateway.cli.run import add_file

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings
    from gateway.trial.verdict import Failure, Outcome


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``test``."""
    parser = commands.add_parser(
        "test",
        help="run the tests of the rules",
        description="Runs the tests section of a configuration on the rules of the same configuration. Exit status 0 "
        "only if every test that ran has passed, and at least one did.",
    )
    add_file(parser)
    parser.add_argument("-k", dest="name", metavar="NAME", default="", help="only tests whose name contains this")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where every test passed, 1 where one failed, none ran, or the configuration is wrong."""
    from gateway.cli.config import load_or_complain
    from gateway.trial import verdict
    from gateway.trial.machine import TooMuchError

    file = args.file or args.config
    settings = load_or_complain(file)
    if settings is None:
        return 1
    chosen = {name: test for name, test in settings.tests.items() if args.name.casefold() in name.casefold()}
    if not chosen:
        print(f"linegate: {file}: {_why_none(settings, args.name)}", file=sys.stderr)
        return 1
    outcomes: dict[str, Outcome] = {}
    for name, test in chosen.items():
        try:
            hours = hours_of(settings, test.machine)
            outcomes[name] = verdict.run(test, settings.work_units[test.machine], hours)
        except TooMuchError as error:
            print(f"{settings.place(f'tests.{name}')}: {name}: {error}", file=sys.stderr)
            return 1
        if not args.json:
            _print(settings, name, outcomes[name])
    failed = sum(not outcome.passed for outcome in outcomes.values())
    if args.json:
        print(json.dumps({"ok": not failed, "tests": [_plain(settings, *item) for item in outcomes.items()]}, indent=2))
    else:
        print(f"{file}: {len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _why_none(settings: Settings, name: str) -> str:
    if not settings.tests:
        return "it has no tests; write them under tests: (see gateway/trial/README.md)"
    return f"no test's name contains {name!r}; there are: {', '.join(map(repr, settings.tests))}"


def _print(settings: Settings, name: str, outcome: Outcome) -> None:
    print(f"{'ok    ' if outcome.passed else 'FAILED'}  {name}")
    for failure in outcome.failures:
        place = _place(settings, name, failure)
        print(f"  {place}: {_path(name, failure)}: expected {failure.expected}, found {failure.found}")
        for line in failure.timeline:
            print(f"    {line}")
    if outcome.failures and outcome.unread:
        print(f"  the test gives no values of {', '.join(outcome.unread)}, which the rules of its machine read")


def _place(settings: Settings, name: str, failure: Failure) -> str:
    keys = ("tests", name, *failure.keys)
    while keys not in settings.places:
        keys = keys[:-1]
    return str(settings.places[keys])


def _path(name: str, failure: Failure) -> str:
    return ".".join(map(str, ("tests", repr(name), *failure.keys)))


def _plain(settings: Settings, name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": name,
        "machine": settings.tests[name].machine,
        "passed": outcome.passed,
        "checked": outcome.checked,
        "unread": list(outcome.unread),
        "failures": [
            {
                "place": _place(settings, name, failure),
                "path": list(failure.keys),
                "expected": failure.expected,
                "found": failure.found,
                "timeline": list(failure.timeline),
            }
            for failure in outcome.failures
        ],
    }
