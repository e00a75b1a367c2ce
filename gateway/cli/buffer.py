"""``linegate buffer``: what the database holds, whether it is whole, and copies of it; a module for each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.cli import buffer_copy, buffer_days, buffer_export, buffer_salvage, buffer_status, buffer_verify

if TYPE_CHECKING:
    import argparse


class _Verbs(Protocol):
    """A module with verbs of ``buffer``."""

    def add_verbs(self, verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add its verbs; each sets ``run``, and has the arguments that find the state directory."""


PARTS: Final[tuple[_Verbs, ...]] = (
    buffer_status,
    buffer_verify,
    buffer_days,
    buffer_export,
    buffer_copy,
    buffer_salvage,
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``buffer`` with its verbs."""
    parser = commands.add_parser("buffer", help="whether the database is whole, what it holds, and copies of it")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for part in PARTS:
        part.add_verbs(verbs)
