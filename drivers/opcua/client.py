"""The library's client, with a log-in that never sends a readable password by accident. Opens nothing by itself.

Mends what the library does not check of a server's answers (``bounds.py``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.uaerrors import UaError
from cryptography.exceptions import InvalidSignature

from drivers.opcua import bounds
from drivers.opcua.endpoints import LOGINS, POLICIES

if TYPE_CHECKING:
    from asyncua.crypto.security_policies import SecurityPolicy

#: What a lost or refused link may raise out of the library.
LINK_ERRORS: Final = (UaError, OSError, TimeoutError, asyncio.IncompleteReadError, InvalidSignature)
_POLICY_URIS: Final = frozenset(policy.URI for policy in POLICIES.values())

bounds.mend_the_library()
# At its usual level the library formats every notification; its client reports losses with tracebacks, we raise.
logging.getLogger("asyncua").setLevel(logging.WARNING)
logging.getLogger("asyncua.client").setLevel(logging.CRITICAL + 1)
# Certificates are judged here: it would log an error each time the clock of the computer is not set yet.
logging.getLogger("asyncua.crypto.uacrypto").setLevel(logging.CRITICAL)


class LoginError(UaError):
    """The server takes no log-in of the configured kind, or only one that would give the password away."""


class LoginClient(Client):
    """One connection with the configured security and user."""

    may_send_plain_password = False

    def use(self, policy: SecurityPolicy) -> None:
        """Sign, or sign and encrypt, what goes over this connection."""
        self.security_policy = policy  # type: ignore[assignment] # the library declares its default's own class
        self.uaclient.set_security(policy)

    def server_policy(self, token_type: ua.UserTokenType) -> ua.UserTokenPolicy:
        """The log-in to use. Raises LoginError where the server has none, or only one that shows the password."""
        offered = [one for one in self._policy_ids if one.TokenType == token_type]
        if not offered and self._policy_ids:
            others = dict.fromkeys(LOGINS.get(one.TokenType, "unknown") for one in self._policy_ids)
            raise LoginError(f"the server takes no log-in by {LOGINS[token_type]}; it takes {', '.join(others)}")
        usable = [one for one in offered if self._algorithms(one) in _POLICY_URIS]
        if offered and not usable:
            raise LoginError(f"the log-in by {LOGINS[token_type]} needs {offered[0].SecurityPolicyUri}: not supported")
        hidden = [one for one in usable if self._algorithms(one) != SecurityPolicyNone.URI]
        encrypted = self.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt
        if token_type is ua.UserTokenType.UserName and not (hidden or encrypted or self.may_send_plain_password):
            raise LoginError("the server wants the password readable; set security: sign_and_encrypt")
        if hidden or usable:
            self._policy_ids = (hidden or usable)[:1]
        return super().server_policy(token_type)

    def _algorithms(self, policy: ua.UserTokenPolicy) -> str:
        return str(policy.SecurityPolicyUri or self.security_policy.URI)


def said(error: BaseException) -> str:
    """An error of the library with its kind, because nobody wrote it for a reader."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
