"""``linegate opcua``: the certificates that OPC UA needs on both sides, shown to a person who decides.

Trusts nothing by itself: a server's certificate is kept only after an explicit yes, or the right fingerprint.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings
    from drivers.opcua.settings import OpcUaSettings

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
YES: Final = "yes"
SHOWN_CHARS_MAX: Final = 500
LABELS: Final = {
    "subject": "subject",
    "issuer": "issued by",
    "application_uri": "application URI",
    "valid_from": "valid from",
    "valid_to": "valid to",
    "sha256": "SHA-256",
    "sha1": "SHA-1 (thumbprint)",
    "certificate_file": "certificate",
    "key_file": "private key",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``opcua`` with its verbs."""
    parser = commands.add_parser("opcua", help="certificates of OPC UA: trust a server's, show the gateway's own")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    trust = verbs.add_parser(
        "trust",
        help="trust the certificate of a source's server",
        description="Fetches the certificate of a source's server, shows it, and keeps it after an explicit yes: from "
        "then on this source talks to no other. Exit status 0 trusted, 1 not trusted or not reachable, 2 usage.",
    )
    trust.add_argument("source", metavar="SOURCE", help="source, as in the configuration")
    trust.add_argument("--config", "-c", metavar="FILE", type=Path, required=True, help="configuration of the daemon")
    trust.add_argument(
        "--fingerprint",
        metavar="SHA256",
        help="trust without asking if the certificate has this SHA-256 fingerprint (as the server's own display "
        "shows it), and only then",
    )
    trust.set_defaults(run=run_trust)
    show = verbs.add_parser(
        "certificate",
        help="show the gateway's own certificate",
        description="Shows the gateway's certificate for the servers' trust lists, and makes it if there is none yet; "
        "it is never made anew. Exit status 0 shown, 1 it cannot be used.",
    )
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=run_certificate)


def run_certificate(args: argparse.Namespace) -> int:
    """Show the gateway's certificate; 0 shown, 1 after a message."""
    where = state_dir.find(args)
    if where is None:
        return EXIT_REFUSED
    from drivers.base import DriverError
    from drivers.opcua import certificates

    try:
        own = certificates.own(where / certificates.FOLDER, time.time_ns())
    except DriverError as error:
        return _complain(str(error))
    facts = {
        **certificates.facts(own.der),
        "certificate_file": str(own.certificate_file),
        "key_file": str(own.key_file),
    }
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    _print_facts(facts)
    print("Put the certificate on the trust list of every server that this gateway reads with security.")
    return 0


def run_trust(args: argparse.Namespace) -> int:
    """Fetch, show, ask, keep; 0 trusted, 1 not, 2 where the source is none of OPC UA with security."""
    from gateway.cli.config import load_or_complain

    settings = load_or_complain(args.config)
    if settings is None:
        return EXIT_REFUSED
    own = _source(settings, args.source)
    if own is None:
        return EXIT_USAGE
    from drivers.base import DriverError
    from drivers.opcua import certificates

    stated = Path(settings.gateway.state_dir)
    folder = stated.absolute() / certificates.FOLDER  # what is shown must be found from any folder
    try:
        der = asyncio.run(_fetch(own))
        known = certificates.pinned(folder, args.source)
        _print_facts({"endpoint": own.endpoint, **certificates.facts(der)})
    except DriverError as error:
        return _complain(str(error))
    warning = certificates.validity_notice("this certificate", der, time.time_ns())
    if warning is not None:
        print(f"note: {warning}")
    if known == der:
        print(f"This certificate is trusted already ({certificates.pin_file(folder, args.source)}).")
        return 0
    if known is not None:
        print(f"It REPLACES the trusted one with SHA-256 {certificates.fingerprint(known)}.")
    if not _agreed(args.fingerprint, certificates.fingerprint(der)):
        return EXIT_REFUSED
    try:
        file = certificates.pin(folder, args.source, der)
    except OSError as error:
        return _complain(f"{certificates.pin_file(folder, args.source)}: cannot be written: {error.strerror}")
    if not stated.is_absolute():
        print(
            f"note: gateway.state_dir ({stated}) begins at the working directory; start the gateway from this one too"
        )
    _note(stated, args.source, known, der)
    print(f"Trusted: {file}. A running gateway uses it with its next attempt to connect.")
    return 0


def _note(state_dir: Path, source: str, before: bytes | None, now: bytes) -> None:
    """A gateway that runs writes down who it was; one that does not finds the other certificate at its start."""
    from drivers.opcua import certificates
    from gateway.control import ControlError, NotRunningError, call

    old = "none" if before is None else certificates.fingerprint(before)
    detail = f"SHA-256 {certificates.fingerprint(now)}, before: {old}"
    try:
        call(state_dir, "audit.note", what="server_trusted", about=source, detail=detail, who=person.name())
    except NotRunningError:
        return
    except ControlError as error:
        print(clean(f"linegate: not written down by whom: {error}", SHOWN_CHARS_MAX), file=sys.stderr)


def _source(settings: Settings, name: str) -> OpcUaSettings | None:
    """The settings of an OPC UA source with security, or None after a message."""
    found = settings.sources.get(name)
    if found is None:
        known = [key for key, one in settings.sources.items() if one.driver == "opcua"]
        _complain(f"{name}: no such source; sources of OPC UA are {', '.join(known) or 'none'}")
        return None
    if found.driver != "opcua":
        _complain(f"{name}: its driver is {found.driver}; only sources of OPC UA have certificates")
        return None
    own: OpcUaSettings = found.driver_settings
    if own.security == "none":
        _complain(f"{name}: found security: none, which uses no certificate; set security: sign_and_encrypt first")
        return None
    return own


async def _fetch(own: OpcUaSettings) -> bytes:
    """The certificate of the endpoint that the source would use. Raises DriverError."""
    from drivers.base import DriverError
    from drivers.opcua.client import LINK_ERRORS, said
    from drivers.opcua.endpoints import choose, offers
    from gateway.core.duration import seconds

    try:
        offer = choose(own, await offers(own.endpoint, seconds(own.timeout)))
    except LINK_ERRORS as error:
        raise DriverError(f"{own.endpoint}: no answer: {said(error)}; check address and port") from error
    if not offer.certificate:
        raise DriverError(f"{own.endpoint}: the server shows no certificate for {offer}; check its security settings")
    return offer.certificate


def _agreed(wanted: str | None, found: str) -> bool:
    """Whether a person says yes, now or by a fingerprint that fits."""
    from drivers.opcua.certificates import same_fingerprint

    if wanted is not None:
        if same_fingerprint(wanted, found):
            return True
        _complain(f"not trusted: found SHA-256 {found}, allowed by --fingerprint: {wanted}")
        return False
    if not sys.stdin.isatty():
        _complain("not trusted: nobody is there to ask; compare the fingerprint, then give it with --fingerprint")
        return False
    try:
        answer = input(f"Compare the SHA-256 with the server's own display. Trust it? Type {YES}: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() == YES:
        return True
    _complain(f"not trusted: found the answer {answer!r}, allowed: {YES}")
    return False


def _print_facts(facts: dict[str, Any]) -> None:
    width = max(len(LABELS.get(key, key)) for key in facts)
    for key, value in facts.items():
        print(clean(f"{LABELS.get(key, key):<{width}}  {value or 'none'}", SHOWN_CHARS_MAX))


def _complain(text: str) -> int:
    print(clean(f"linegate: {text}", SHOWN_CHARS_MAX * 4), file=sys.stderr)
    return EXIT_REFUSED
