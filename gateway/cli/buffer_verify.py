"""``linegate buffer verify``: whether the database keeps its promises. Reads only, also while the gateway runs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

EXIT_BROKEN: Final = 1
EXIT_UNREADABLE: Final = 2
SHOWN_CHARS_MAX: Final = 1000


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verify``."""
    checking = verbs.add_parser("verify", help=f"whether it keeps its promises; exit status {EXIT_BROKEN} if not")
    checking.add_argument("--quick", action="store_true", help="SQLite's quick_check instead of its integrity_check")
    checking.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(checking)
    checking.set_defaults(run=verify)


def verify(args: argparse.Namespace) -> int:
    """0: every check found its promise kept; 1: one did not; 2: it cannot be read."""
    from buffer.errors import StoreError
    from buffer.verify import verified
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return EXIT_UNREADABLE
    found = []
    try:
        load = _loader(args, where / DATABASE_NAME)
        for one in verified(where / DATABASE_NAME, quick=args.quick, load=load):
            found.append(one)
            if not args.json:
                verdict = "ok" if not one.defects else f"{one.defects} defects"
                print(f"{one.name:<34} {one.looked_at:>9}  {verdict}", flush=True)
                for text in (*one.told, *one.notes):
                    print(clean(f"    {text}", SHOWN_CHARS_MAX))
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return EXIT_UNREADABLE
    if args.json:
        print(json.dumps({"whole": not any(one.defects for one in found), "checks": [one._asdict() for one in found]}))
    return EXIT_BROKEN if any(one.defects for one in found) else 0


def _loader(args: argparse.Namespace, path: Path) -> Callable[[str, bytes], str] | None:
    """With a configuration each snapshot is loaded as at a start; without one only its frame is looked at."""
    from buffer.readonly import ReadOnlyStore
    from gateway.cli.config import load_or_complain
    from gateway.core import snapshot
    from gateway.core.document import Identity
    from gateway.core.work_unit import WorkUnit

    settings = None if args.config is None else load_or_complain(args.config)
    if settings is None:
        return None
    with ReadOnlyStore(path) as store:
        epoch = store.epoch
    gateway = settings.gateway

    def load(name: str, stored: bytes) -> str:
        rules = settings.work_units.get(name)
        if rules is None:  # it is kept, and nobody goes on with it
            return ""
        names = {"plant": gateway.plant, "gateway_id": gateway.id, "line": gateway.line, "epoch": epoch}
        try:
            snapshot.load(WorkUnit(rules, Identity(**names, machine=name, work_center=rules.work_center)), stored)
        except snapshot.SnapshotError as error:
            return str(error)
        return ""

    return load
