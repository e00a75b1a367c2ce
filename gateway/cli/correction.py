"""``linegate order correct``, ``reverse``, ``reject``: confirmations put right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

ROLES = ("good", "scrap", "rework")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs of ``order``."""
    one = _verb(verbs, "correct", "give a confirmation other numbers: it is reversed and made anew")
    for name in ROLES:
        one.add_argument(f"--{name}", type=int, required=True, metavar="N", help="as it should have been")
    person.add_signing(one)
    one = _verb(verbs, "reverse", "take a confirmation of an open order back; its pieces are confirmed anew")
    person.add_signing(one)
    _verb(verbs, "reject", "refuse the approval of a confirmation; what is beyond the tolerance has no order then")


def tell(args: argparse.Namespace) -> int:
    """One correction; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    asked: dict[str, Any] = {name: getattr(args, name) for name in ROLES if hasattr(args, name)}
    asked |= {"confirmation": args.confirmation, "order": args.order, "operation": args.operation}
    asked |= person.signing(args) if hasattr(args, "sign") else {}
    try:
        answer = call(where, args.verb, machine=args.machine, who=person.name(), reason=args.reason, **asked)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(str(answer)))
    return 0


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    one.add_argument("order", help="order number")
    one.add_argument("operation", nargs="?", default="", help="needed where the order has several here")
    one.add_argument("--confirmation", type=int, required=True, metavar="N", help="its number within the operation")
    one.add_argument("--reason", required=True, metavar="TEXT", help="why; it is written down with your name")
    state_dir.add_arguments(one)
    one.set_defaults(run=tell, verb=f"order.{name}")
    return one
