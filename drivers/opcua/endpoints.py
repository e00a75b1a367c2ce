"""What a server offers before anybody logs in: its endpoints with their security, certificates and log-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies

from drivers.base import DriverError
from drivers.opcua import certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.settings import OpcUaSettings

POLICIES: Final[dict[str, Any]] = {
    "none": security_policies.SecurityPolicyNone,
    "basic256sha256": security_policies.SecurityPolicyBasic256Sha256,
    "aes128_sha256_rsaoaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "aes256_sha256_rsapss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
MODES: Final = {
    "none": ua.MessageSecurityMode.None_,
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
LOGINS: Final = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user name and password",
    ua.UserTokenType.Certificate: "certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}
_POLICY_NAMES: Final = {policy.URI: name for name, policy in POLICIES.items()}
_MODE_NAMES: Final = {mode: name for name, mode in MODES.items()}


class Offer(NamedTuple):
    """One endpoint: security, policy, the server's certificate (DER, may be empty) and the log-ins it takes."""

    security: str
    policy: str
    certificate: bytes
    logins: tuple[str, ...]

    def __str__(self) -> str:
        how = self.security if self.security == "none" else f"{self.security} with {self.policy}"
        return f"{how} ({', '.join(self.logins) or 'no log-in'})"


async def offers(endpoint: str, timeout_s: float) -> list[Offer]:
    """All endpoints of a server. Raises what connecting raises (``session.LINK_ERRORS``)."""
    client = Client(endpoint, timeout=timeout_s)
    return [
        Offer(
            _MODE_NAMES.get(found.SecurityMode, "invalid"),
            _POLICY_NAMES.get(found.SecurityPolicyUri, str(found.SecurityPolicyUri).rpartition("#")[2]),
            certificates.first_of_chain(found.ServerCertificate or b""),
            tuple(dict.fromkeys(LOGINS.get(token.TokenType, "unknown") for token in found.UserIdentityTokens or ())),
        )
        for found in await client.connect_and_get_server_endpoints()
        if str(found.EndpointUrl).startswith("opc.tcp")
    ]


def choose(settings: OpcUaSettings, offered: Sequence[Offer]) -> Offer:
    """The endpoint with the configured security. Raises DriverError with what the server offers instead."""
    policy = "none" if settings.security == "none" else settings.policy
    for offer in offered:
        if (offer.security, offer.policy) == (settings.security, policy):
            return offer
    wanted = settings.security if policy == "none" else f"{settings.security} with {policy}"
    raise DriverError(
        f"{settings.endpoint}: the server does not offer security {wanted}; it offers "
        f"{'; '.join(map(str, offered)) or 'nothing'}; set security and policy to one of these"
    )
