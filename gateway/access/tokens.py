"""Bearer tokens: issued once, shown once, kept as a hash, held against the clock and the user. Opens no file.

A token is ``lg_ID_SECRET``: the id finds it, the secret (256 random bits) proves it. So much randomness needs no slow
hash: nobody guesses it, and it is looked at with every call.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.access.users import AccessError, Directory, Token, User, living, noted, reason_of, with_user
from gateway.core.access.roles import role_of
from gateway.core.audit.entry import SystemAction
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.orders.lifecycle import ActorRole

SECRET_BYTES: Final = 32
ID_BYTES: Final = 4
DAY_NS: Final = 86_400 * 1_000_000_000
DAYS_DEFAULT: Final = 90
DAYS_MAX: Final = 400
#: Of one user, whether they are worth something or not; of more, the oldest that are worth nothing are forgotten.
TOKENS_MAX: Final = 20
TOKEN_CHARS_MAX: Final = 200

_TOKEN: Final = re.compile(rf"lg_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
#: Compared with where there is no such token, so that the answer takes as long.
_NOBODY: Final = hashlib.sha256(b"").hexdigest()


class Issued(NamedTuple):
    """A new token: ``text`` is shown to the user now and never again. Not for logs."""

    directory: Directory
    text: str
    token: Token

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Issued(id={self.token.id!r})"


class Bearer(NamedTuple):
    """Whose token it is, and in which role he acts with it."""

    user: str
    full_name: str
    role: ActorRole
    token_id: str
    expires_ns: int


class TokenRefused(NamedTuple):
    """The token opens nothing. ``text`` is for the one who brought it; ``code`` and ``token_id`` are for the log.

    Codes: MALFORMED, UNKNOWN, REVOKED, EXPIRED. Who does not know the secret learns only that it is not accepted.
    """

    code: str
    text: str
    token_id: str = ""


class TokenIndex:
    """All tokens of a directory, ready to be asked; make a new one when the directory has changed."""

    def __init__(self, directory: Directory) -> None:
        self._held = {token.id: (user, token) for user, token in _all(directory)}

    def identify(self, text: str, utc_ns: int) -> Bearer | TokenRefused:
        """Whose token this is at that time. ``utc_ns`` is the true time as the gateway knows it, not its steady one."""
        found = _TOKEN.fullmatch(text) if len(text) <= TOKEN_CHARS_MAX else None
        if found is None:
            return TokenRefused("MALFORMED", _NOT_ACCEPTED)
        token_id, secret = found[1], found[2]
        user, token = self._held.get(token_id, (None, None))
        right = hmac.compare_digest(_hash(secret), _NOBODY if token is None else token.hash)
        if user is None or token is None or not right:
            return TokenRefused("UNKNOWN", _NOT_ACCEPTED, token_id)
        if (worthless := _worthless(user, token, utc_ns)) is not None:
            return worthless
        return Bearer(user.name, user.full_name, token.role, token_id, token.expires_ns)

    def ended(self, token_id: str, utc_ns: int) -> TokenRefused | None:
        """Why a token that was recognised before is worth nothing any more at that time; None: it still is."""
        user, token = self._held.get(token_id, (None, None))
        if user is None or token is None:
            return TokenRefused("UNKNOWN", _NOT_ACCEPTED, token_id)
        return _worthless(user, token, utc_ns)


_NOT_ACCEPTED: Final = "the token is not accepted; allowed: one that linegate user token has shown, whole"


def _worthless(user: User, token: Token, utc_ns: int) -> TokenRefused | None:
    if token.revoked_ns is not None or user.revoked_ns is not None:
        return TokenRefused("REVOKED", "the token was revoked; ask for a new one: linegate user token", token.id)
    if utc_ns >= token.expires_ns:
        return TokenRefused("EXPIRED", "the token has expired; ask for a new one: linegate user token", token.id)
    return None


def issue(directory: Directory, name: str, role: str, *, days: int = DAYS_DEFAULT, by: str, at_ns: int) -> Issued:
    """A new token for a user, in one of his roles, for so many days (1 to ``DAYS_MAX``). Raises AccessError."""
    user = living(directory, name)
    if not 1 <= days <= DAYS_MAX:
        raise AccessError(f"days: found {days}, allowed: 1 to {DAYS_MAX}")
    try:
        wanted = role_of(role)
    except ValueError as error:
        raise AccessError(str(error)) from error
    if wanted not in user.roles:
        raise AccessError(f"role: found {role!r}, allowed for {name}: {', '.join(user.roles)}")
    kept = _with_room(user, at_ns)
    taken = {token.id for _user, token in _all(directory)}
    token_id = next(new for new in iter(lambda: secrets.token_hex(ID_BYTES), "") if new not in taken)
    secret = secrets.token_hex(SECRET_BYTES)
    token = Token(id=token_id, role=wanted, hash=_hash(secret), issued_ns=at_ns, expires_ns=at_ns + days * DAY_NS)
    done = with_user(directory, replace(user, tokens=(*kept, token)))
    new = f"token {token_id}, role {wanted}, {days} days"
    done = noted(done, SystemAction.TOKEN_ISSUED.value, name, by=by, at_ns=at_ns, new=new)
    return Issued(done, f"lg_{token_id}_{secret}", token)


def revoke_token(directory: Directory, token_id: str, *, by: str, at_ns: int, reason: str) -> Directory:
    """The directory in which that token is worth nothing. Raises AccessError."""
    said = reason_of(reason)
    for user, token in _all(directory):
        if token.id == token_id and token.revoked_ns is None:
            tokens = tuple(replace(one, revoked_ns=at_ns) if one.id == token_id else one for one in user.tokens)
            done = with_user(directory, replace(user, tokens=tokens))
            old = f"token {token_id}, role {token.role}"
            action = SystemAction.TOKEN_REVOKED.value
            return noted(done, action, user.name, by=by, at_ns=at_ns, old=old, reason=said)
    shown = clean(ascii(token_id), 80)
    raise AccessError(f"token: found {shown}: there is none of that id that is not revoked; see linegate user list")


def state_of(user: User, token: Token, utc_ns: int) -> str:
    """In one word: revoked, expired or valid."""
    if token.revoked_ns is not None or user.revoked_ns is not None:
        return "revoked"
    return "expired" if utc_ns >= token.expires_ns else "valid"


def _with_room(user: User, utc_ns: int) -> tuple[Token, ...]:
    tokens = list(user.tokens)
    while len(tokens) >= TOKENS_MAX:
        worthless = next((token for token in tokens if state_of(user, token, utc_ns) != "valid"), None)
        if worthless is None:
            raise AccessError(
                f"tokens of {user.name}: found {len(tokens)} valid ones, allowed: {TOKENS_MAX}; revoke some"
            )
        tokens.remove(worthless)
    return tuple(tokens)


def _all(directory: Directory) -> Iterator[tuple[User, Token]]:
    return ((user, token) for user in directory.users for token in user.tokens)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
