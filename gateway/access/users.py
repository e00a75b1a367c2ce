"""Users and what changes about them: added, given other roles, given a passphrase, revoked. Opens no file.

Users are individual, and a name is never given twice: what is signed or written down under it is one person's for ever.
There is no user that nobody added. Each change leaves a numbered record, which the gateway takes into its audit trail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gateway.core.access.roles import role_of
from gateway.core.audit.entry import Change, EntryContent, SystemAction
from gateway.core.foreign_text import clean, is_clean
from gateway.core.orders.lifecycle import ActorRole

if TYPE_CHECKING:
    from collections.abc import Iterable

USERS_MAX: Final = 1000
#: Changes that are remembered; the gateway has written them down long before they are dropped.
CHANGES_MAX: Final = 1000
NAME_CHARS_MAX: Final = 32
FULL_NAME_CHARS_MAX: Final = 64
REASON_CHARS_MAX: Final = 500
#: Such a name in an audit trail would be nobody's.
RESERVED: Final = frozenset({*(role.value for role in ActorRole), "gateway", "erp", "admin", "root", "guest", "user"})

_NAME: Final = re.compile(rf"[a-z][a-z0-9._-]{{0,{NAME_CHARS_MAX - 1}}}")
_FORBID: Final[dict[str, Any]] = {"extra": "forbid"}


class AccessError(Exception):
    """It was not done, and nothing has changed; says what was found, what is allowed and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token of a user, in one of his roles. ``hash`` is the SHA-256 of its secret, which is kept nowhere."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    id: str
    role: ActorRole
    hash: str
    issued_ns: int
    expires_ns: int
    revoked_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One person, or one program. ``passphrase`` is a hash, "" where he has none and cannot sign."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    name: str
    full_name: str
    roles: tuple[ActorRole, ...]
    added_ns: int
    revoked_ns: int | None = None
    passphrase: str = ""
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessChange:
    """What was changed: ``number`` counts from 1 without a gap. A secret never stands here."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    number: int
    at_ns: int
    by: str
    action: str
    user: str
    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """All users, and the last changes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    version: int = 1
    users: tuple[User, ...] = ()
    changes: tuple[AccessChange, ...] = ()

    def user(self, name: str) -> User | None:
        """The user of that name, also a revoked one."""
        return next((user for user in self.users if user.name == name), None)

    def changes_after(self, number: int) -> tuple[AccessChange, ...]:
        """What is not written down yet by somebody who has seen the changes up to that number."""
        return tuple(change for change in self.changes if change.number > number)


def add_user(
    directory: Directory, name: str, full_name: str, roles: Iterable[str], *, by: str, at_ns: int
) -> Directory:
    """The directory with one user more; he has no token yet. Raises AccessError."""
    if not _NAME.fullmatch(name):
        shown = clean(ascii(name), 80)
        raise AccessError(
            f"name: found {shown}, allowed: 1 to {NAME_CHARS_MAX} of a-z, 0-9, '.', '_', '-', a letter first"
        )
    if name in RESERVED:
        raise AccessError(f"name: found {name!r}, which could be anybody; allowed: a name of one person or program")
    held = directory.user(name)
    if held is not None:
        state = "is there" if held.revoked_ns is None else "was revoked, and a name is never given twice"
        raise AccessError(f"name: found {name!r}: this user {state}; take another name")
    if len(directory.users) >= USERS_MAX:
        raise AccessError(f"users: found {len(directory.users)}, allowed: {USERS_MAX}")
    spoken = full_name.strip()
    if not spoken or len(spoken) > FULL_NAME_CHARS_MAX or not is_clean(spoken):
        shown = clean(ascii(full_name), 80)
        raise AccessError(f"full name: found {shown}, allowed: 1 to {FULL_NAME_CHARS_MAX} printable characters")
    user = User(name=name, full_name=spoken, roles=roles_of(roles), added_ns=at_ns)
    new = f"{spoken}: {', '.join(user.roles)}"
    done = replace(directory, users=(*directory.users, user))
    return noted(done, SystemAction.USER_ADDED.value, name, by=by, at_ns=at_ns, new=new)


def change_roles(
    directory: Directory, name: str, roles: Iterable[str], *, by: str, at_ns: int, reason: str
) -> Directory:
    """The directory with other roles of that user; his tokens in roles that he has no more are revoked.

    Raises AccessError.
    """
    said = reason_of(reason)
    user, wanted = living(directory, name), roles_of(roles)
    tokens = tuple(
        token if token.role in wanted or token.revoked_ns is not None else replace(token, revoked_ns=at_ns)
        for token in user.tokens
    )
    done = with_user(directory, replace(user, roles=wanted, tokens=tokens))
    old, new = ", ".join(user.roles), ", ".join(wanted)
    return noted(done, SystemAction.USER_ROLES_CHANGED.value, name, by=by, at_ns=at_ns, old=old, new=new, reason=said)


def revoke_user(directory: Directory, name: str, *, by: str, at_ns: int, reason: str) -> Directory:
    """The directory in which that user, all his tokens and his passphrase are worth nothing, for ever.

    Raises AccessError.
    """
    said = reason_of(reason)
    user = living(directory, name)
    tokens = tuple(token if token.revoked_ns is not None else replace(token, revoked_ns=at_ns) for token in user.tokens)
    done = with_user(directory, replace(user, revoked_ns=at_ns, passphrase="", tokens=tokens))
    old = f"{user.full_name}: {', '.join(user.roles)}"
    return noted(done, SystemAction.USER_REVOKED.value, name, by=by, at_ns=at_ns, old=old, reason=said)


def set_passphrase(directory: Directory, name: str, hashed: str, *, by: str, at_ns: int, reason: str = "") -> Directory:
    """The directory with that hash of a passphrase (``passphrase.hashed``). Raises AccessError.

    To replace one takes a reason.
    """
    user = living(directory, name)
    said = reason_of(reason) if user.passphrase else clean(reason, REASON_CHARS_MAX).strip()
    done = with_user(directory, replace(user, passphrase=hashed))
    old = "set" if user.passphrase else ""
    action = SystemAction.PASSPHRASE_SET.value
    return noted(done, action, name, by=by, at_ns=at_ns, old=old, new="set", reason=said)


def living(directory: Directory, name: str) -> User:
    """The user, if he is there and not revoked. Raises AccessError."""
    user = directory.user(name)
    if user is None or user.revoked_ns is not None:
        what = "there is no such user" if user is None else "this user was revoked"
        raise AccessError(f"name: found {clean(ascii(name), 80)}: {what}; see linegate user list")
    return user


def with_user(directory: Directory, user: User) -> Directory:
    """The directory with this user in the place of the one of his name."""
    return replace(directory, users=tuple(user if one.name == user.name else one for one in directory.users))


def noted(  # the fields of one change
    directory: Directory, action: str, user: str, *, by: str, at_ns: int, old: str = "", new: str = "", reason: str = ""
) -> Directory:
    """The directory with the next change in its list. Raises AccessError where nobody says who he is."""
    if not by.strip():
        raise AccessError("by: found nothing, allowed: the name of the one who does it")
    number = directory.changes[-1].number + 1 if directory.changes else 1
    change = AccessChange(
        number=number, at_ns=at_ns, by=clean(by, 64), action=action, user=user, old=old, new=new, reason=reason
    )
    return replace(directory, changes=(*directory.changes, change)[-CHANGES_MAX:])


def entry_of(change: AccessChange, common: EntryContent) -> EntryContent:
    """The change as an entry of the audit trail; time zone, quality and versions are those of ``common``.

    Who has a shell of the gateway's user acts in no role of the plant: "administrator".
    """
    return common._replace(
        at_ns=change.at_ns,
        utc_ns=change.at_ns,
        user=change.by,
        role="administrator",
        auth="login",
        client="command line",
        action=change.action,
        change=(Change.MODIFY if change.reason else Change.CREATE).value,
        entity="user",
        entity_id=change.user,
        field=f"change {change.number}",
        old=change.old or None,
        new=change.new or None,
        reason_code="",
        reason_text=change.reason,
    )


def roles_of(names: Iterable[str]) -> tuple[ActorRole, ...]:
    """The roles of these names, each once, in the order of the roles. Raises AccessError."""
    try:
        found = {role_of(name) for name in names}
    except ValueError as error:
        raise AccessError(str(error)) from error
    if not found:
        raise AccessError(f"role: found none, allowed: one or more of {', '.join(ActorRole)}")
    return tuple(role for role in ActorRole if role in found)


def reason_of(text: str) -> str:
    """The reason, made safe to store. Raises AccessError where there is none."""
    said = clean(text, REASON_CHARS_MAX).strip()
    if not said:
        raise AccessError(f"reason: found nothing, allowed: 1 to {REASON_CHARS_MAX} characters; say why")
    return said
