"""``linegate user``: who may speak to the gateway, in which roles, with which tokens; needs no running gateway."""

from __future__ import annotations

import getpass
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import person, state_dir
from gateway.core.document import utc
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from gateway.access.access_file import AccessFile
    from gateway.access.users import Directory, User

SHOWN_CHARS_MAX: Final = 1000
PASSPHRASE_CHARS_MAX: Final = 200  # more is not read
ROLES: Final = ("operator", "setter", "supervisor", "quality", "planner", "service")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``user`` with its verbs."""
    parser = commands.add_parser("user", help="who may speak to the gateway: users, roles, tokens")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    adding = verbs.add_parser("add", help="a person or a program; it has no token yet")
    adding.add_argument("name", help="short name, for ever: a-z, 0-9, '.', '_', '-'")
    adding.add_argument("--full-name", required=True, metavar="TEXT", help="as it stands beside a signature")
    adding.add_argument("--role", required=True, action="append", choices=ROLES, help="may be given more than once")
    adding.set_defaults(run=add)
    listing = verbs.add_parser("list", help="users, roles and tokens; shows no secret")
    listing.add_argument("--json", action="store_true", help="print for programs")
    listing.set_defaults(run=list_users)
    roles = verbs.add_parser("roles", help="other roles; tokens in roles that go are revoked")
    roles.add_argument("name")
    roles.add_argument("--role", required=True, action="append", choices=ROLES, help="all that the user is to have")
    roles.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    roles.set_defaults(run=change_roles)
    token = verbs.add_parser("token", help="a new token, shown once")
    token.add_argument("name")
    token.add_argument("--role", required=True, choices=ROLES, help="in which he acts with it")
    token.add_argument("--days", type=int, default=90, metavar="N", help="how long it is worth something (default 90)")
    token.set_defaults(run=issue_token)
    words = verbs.add_parser("passphrase", help="with which the user signs; typed twice, or one line of standard input")
    words.add_argument("name")
    words.add_argument("--reason", default="", metavar="TEXT", help="needed where there is one already")
    words.set_defaults(run=set_passphrase)
    ending = verbs.add_parser("revoke", help="a user for ever, or one of his tokens")
    ending.add_argument("name")
    ending.add_argument("--token", metavar="ID", help="only this token")
    ending.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    ending.set_defaults(run=revoke)
    mine = verbs.add_parser(
        "me", help="in whose name the next command asks: the token in LINEGATE_TOKEN, or your login"
    )
    mine.add_argument("--json", action="store_true", help="print for programs")
    mine.set_defaults(run=me)
    for verb in (adding, listing, roles, token, words, ending, mine):
        state_dir.add_arguments(verb)


def add(args: argparse.Namespace) -> int:
    """Add a user."""
    from gateway.access import users

    def how(directory: Directory) -> Directory:
        return users.add_user(directory, args.name, args.full_name, args.role, by=person.name(), at_ns=_now_ns())

    return _change(args, how, f"{args.name} is added; next: linegate user token {args.name} --role {args.role[0]}")


def change_roles(args: argparse.Namespace) -> int:
    """Give a user other roles."""
    from gateway.access import users

    def how(directory: Directory) -> Directory:
        who = person.name()
        return users.change_roles(directory, args.name, args.role, by=who, at_ns=_now_ns(), reason=args.reason)

    return _change(args, how, f"{args.name} has the roles {', '.join(args.role)}")


def issue_token(args: argparse.Namespace) -> int:
    """Print a new token on standard output, and nothing else there."""
    from gateway.access import tokens

    texts: list[str] = []

    def how(directory: Directory) -> Directory:
        issued = tokens.issue(directory, args.name, args.role, days=args.days, by=person.name(), at_ns=_now_ns())
        texts.append(issued.text)
        return issued.directory

    code = _change(args, how, "")
    if code == 0:
        print(f"linegate: a token of {args.name}, {args.role}; it is not shown again:", file=sys.stderr)
        print(texts[-1])
    return code


def set_passphrase(args: argparse.Namespace) -> int:
    """Ask for a passphrase and keep its hash."""
    from gateway.access import passphrase, users

    text = _asked(args.name)
    if text is None:
        print("linegate: passphrase: the two are not the same; nothing was changed", file=sys.stderr)
        return 1

    def how(directory: Directory) -> Directory:
        users.living(directory, args.name)  # before the slow hash
        kept = passphrase.hashed(text, args.name)
        who = person.name()
        return users.set_passphrase(directory, args.name, kept, by=who, at_ns=_now_ns(), reason=args.reason)

    return _change(args, how, f"{args.name} can sign")


def revoke(args: argparse.Namespace) -> int:
    """Revoke a user, or one token."""
    from gateway.access import tokens, users

    def how(directory: Directory) -> Directory:
        who, now_ns = person.name(), _now_ns()
        if args.token is None:
            return users.revoke_user(directory, args.name, by=who, at_ns=now_ns, reason=args.reason)
        if not any(token.id == args.token for token in users.living(directory, args.name).tokens):
            raise users.AccessError(
                f"token: {args.name} has none of the id {args.token[:80]!a}; see linegate user list"
            )
        return tokens.revoke_token(directory, args.token, by=who, at_ns=now_ns, reason=args.reason)

    what = args.name if args.token is None else f"token {args.token} of {args.name}"
    return _change(args, how, f"{what} is revoked")


def me(args: argparse.Namespace) -> int:
    """Print who asks; 1 where the token is worth nothing."""
    from gateway.access.tokens import TokenRefused
    from gateway.access.users import AccessError
    from gateway.control import TOKEN_VARIABLE
    from gateway.core.access.permissions import permitted
    from gateway.core.access.roles import ActorRole

    given = os.environ.get(TOKEN_VARIABLE)
    if not given:
        role = ActorRole.SUPERVISOR
        found = {"user": person.name(), "full_name": "", "role": role.value, "expires": None}
    else:
        file = _file(args)
        if file is None:
            return 1
        try:
            known = file.current()[1].identify(given, _now_ns())
        except AccessError as error:
            return _complain(error)
        if isinstance(known, TokenRefused):
            return _complain(ValueError(f"{TOKEN_VARIABLE}: {known.text}; ask for another: linegate user token"))
        role = known.role
        found = {"user": known.user, "full_name": known.full_name, "role": role.value, "expires": utc(known.expires_ns)}
    may = [action.value for action in permitted(role)]
    if args.json:
        print(json.dumps({**found, "may": may}))
        return 0
    until = f"{found['full_name']}, until {found['expires']}" if given else "a login of this computer, without a token"
    print(clean(f"{found['user']}, {found['role']} ({until}); may: {', '.join(may)}", SHOWN_CHARS_MAX))
    return 0


def list_users(args: argparse.Namespace) -> int:
    """Print users and tokens."""
    from gateway.access.users import AccessError

    file = _file(args)
    if file is None:
        return 1
    try:
        directory = file.load()
    except AccessError as error:
        return _complain(error)
    now_ns = _now_ns()
    shown = [_plain(user, now_ns) for user in directory.users]
    if args.json:
        print(json.dumps(shown))
        return 0
    for user in shown:
        state = f"revoked {user['revoked']}" if user["revoked"] else "can sign" if user["can_sign"] else ""
        print(clean(f"{user['name']:<16} {user['full_name']}  {', '.join(user['roles'])}  {state}".rstrip()))
        for token in user["tokens"]:
            print(f"  token {token['id']}  {token['role']}  {token['state']}  until {token['expires']}")
    if not shown:
        print("nobody; add the first: linegate user add NAME --full-name TEXT --role ROLE")
    return 0


def _plain(user: User, now_ns: int) -> dict[str, Any]:
    from gateway.access.tokens import state_of

    return {
        "name": user.name,
        "full_name": user.full_name,
        "roles": [role.value for role in user.roles],
        "added": utc(user.added_ns),
        "revoked": utc(user.revoked_ns),
        "can_sign": bool(user.passphrase),
        "tokens": [
            {
                "id": token.id,
                "role": token.role.value,
                "state": state_of(user, token, now_ns),
                "issued": utc(token.issued_ns),
                "expires": utc(token.expires_ns),
            }
            for token in user.tokens
        ],
    }


def _change(args: argparse.Namespace, how: Callable[[Directory], Directory], done: str) -> int:
    from gateway.access.users import AccessError
    from gateway.lock import StateDirError

    file = _file(args)
    if file is None:
        return 1
    try:
        _make_folder(file)
        file.change(how)
    except (AccessError, StateDirError) as error:
        return _complain(error)
    if done:
        print(clean(done, SHOWN_CHARS_MAX))
    return 0


def _file(args: argparse.Namespace) -> AccessFile | None:
    from gateway.access.access_file import AccessFile

    where = state_dir.find(args)
    return None if where is None else AccessFile(where)


def _make_folder(file: AccessFile) -> None:
    """Users can be added before the first start, which makes the folder otherwise."""
    from gateway.lock import StateDirLock

    folder = file.path.parent
    if folder.exists():
        return
    StateDirLock(folder).make()
    if os.geteuid() == 0:
        text = f"linegate: {folder}: made now and root's; give it to the gateway's user where that is another (chown)"
        print(clean(text, SHOWN_CHARS_MAX), file=sys.stderr)


def _complain(error: Exception) -> int:
    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return 1


def _asked(name: str) -> str | None:
    """What was typed twice, or the line that a program gave; None where the two differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(PASSPHRASE_CHARS_MAX).removesuffix("\n")
    first = getpass.getpass(f"Passphrase of {name}: ")
    return first if getpass.getpass("Again: ") == first else None


def _now_ns() -> int:
    from gateway.timing.clock import SteadyClock

    return SteadyClock(0).now_ns()
