"""``linegate audit``: the audit trail: what is in it, whether it is whole, and all of it for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import audit_trail

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``audit`` with its verbs."""
    parser = commands.add_parser("audit", help="who did what, when and why; whether the trail is whole; export")
    audit_trail.add_verbs(parser.add_subparsers(title="verbs", metavar="VERB", required=True))
