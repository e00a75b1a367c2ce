"""``linegate buffer status``: depth, age, room, what is lost and what is held; also of a stopped gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.cli import state_dir

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``status``."""
    parser = verbs.add_parser(
        "status",
        help="what waits, how old it is, when the buffer is full, what is lost for certain, what is held",
        description="Asks the running gateway; where none runs, the database is read, as of the last time in it.",
    )
    state_dir.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    parser.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    """0 done, 1 where nobody can be asked and the database cannot be read."""
    from buffer.errors import StoreError
    from gateway.control import ControlError, NotRunningError, call
    from gateway.shown.buffer_text import lines

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        found = call(where, "buffer")
    except NotRunningError:
        try:
            found = _of_file(where)
        except StoreError as error:
            return state_dir.complain(ControlError(str(error)))
    except ControlError as error:
        return state_dir.complain(error)
    print(json.dumps(found) if args.json else "\n".join(lines(found)))
    return 0


def _of_file(where: Path) -> dict[str, Any]:
    from dataclasses import replace
    from functools import partial

    from buffer.beside import classes_of_file, figures_of_file
    from buffer.readonly import ReadOnlyStore
    from buffer.telemetry import FILE_NAME
    from buffer.telemetry import figures_of_file as events_of_file
    from gateway.core.calendar.honest_time import utc_of
    from gateway.lock import DATABASE_NAME
    from gateway.shown.status import to_json

    with ReadOnlyStore(where / DATABASE_NAME) as store, store.moment():
        found = replace(figures_of_file(store), events=events_of_file(where / FILE_NAME))
        document: dict[str, Any] = to_json(found, partial(utc_of, store.corrections()))
        document["classes"] = [one._asdict() for one in classes_of_file(store)]
    return document
