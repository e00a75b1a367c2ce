"""What to do about a server's refusal to let the gateway in, in plain words. Pure but for the library's codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaSettings

_NO_ROOM = (
    "the server has no free session: close other clients or raise its limit; the session of a client that was cut off "
    "is free again after its time-out (ours: 60 s)"
)
_NOT_TRUSTED = (
    "the server does not trust this gateway's certificate: put it on the server's trust list "
    "('linegate opcua certificate' shows file and fingerprint)"
)
_WRONG_USER = "the server refuses the user: check user, its rights, and its secret"

_ADVICE = {
    StatusCodes.BadTooManySessions: _NO_ROOM,
    StatusCodes.BadMaxConnectionsReached: _NO_ROOM,
    StatusCodes.BadTcpNotEnoughResources: _NO_ROOM,
    StatusCodes.BadTcpServerTooBusy: _NO_ROOM,
    StatusCodes.BadCertificateUntrusted: _NOT_TRUSTED,
    StatusCodes.BadSecurityChecksFailed: _NOT_TRUSTED,
    StatusCodes.BadCertificateInvalid: _NOT_TRUSTED,
    StatusCodes.BadCertificateChainIncomplete: _NOT_TRUSTED,
    StatusCodes.BadCertificateTimeInvalid: "the server takes this gateway's certificate for out of date: check the "
    "server's clock and 'linegate opcua certificate'",
    StatusCodes.BadIdentityTokenRejected: _WRONG_USER,
    StatusCodes.BadIdentityTokenInvalid: _WRONG_USER,
    StatusCodes.BadUserAccessDenied: _WRONG_USER,
    StatusCodes.BadUserSignatureInvalid: _WRONG_USER,
    StatusCodes.BadTcpEndpointUrlInvalid: "the server does not know the path behind the port: check the endpoint",
}


def advice(error: BaseException, settings: OpcUaSettings, application_uri: str) -> str:
    """What a person should do, or an empty text where the code says nothing particular."""
    if not isinstance(error, UaStatusCodeError):
        return ""
    if error.code == StatusCodes.BadCertificateUriInvalid:
        return f"the server expects another application URI than {application_uri}, which our certificate names"
    if error.code in {StatusCodes.BadIdentityTokenRejected, StatusCodes.BadIdentityTokenInvalid} and not settings.user:
        return "the server allows no anonymous log-in: set user"
    return _ADVICE.get(error.code, "")


def is_answer(error: BaseException) -> bool:
    """Whether there was a server that said no, and not just silence."""
    return isinstance(error, UaError)
