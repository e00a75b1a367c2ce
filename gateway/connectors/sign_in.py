"""How a connector signs in at its target over HTTP: the settings. What is done with them stands in ``signed_client``.

Importing this is cheap: no HTTP library. Knows nothing of CSRF tokens and of sign-ins that are a message of the
target's own (those belong to its connector).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.url import check_url
from gateway.core.secret import SecretRef

HEADERS_MAX: Final = 20

#: What each method needs, and may not do without.
_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "basic": ("username", "password"),
    "bearer": ("token",),
    "oauth2": ("token_url", "client_id", "client_secret"),
    "certificate": ("certificate_file",),
}
#: What belongs to one method only.
_OWN: Final[dict[str, str]] = {
    "username": "basic",
    "password": "basic",
    "token": "bearer",
    "token_url": "oauth2",
    "client_id": "oauth2",
    "client_secret": "oauth2",
    "scope": "oauth2",
    "parameters": "oauth2",
    "token_ca_file": "oauth2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """How the gateway signs in.

    Attributes:
        method: ``none``, ``basic`` (user name and password), ``bearer`` (a token that does not change), ``oauth2``
            (client credentials: a token of a token server), ``certificate`` (a client certificate by TLS alone).
        username: for ``basic``.
        password: where the password is, for ``basic``.
        token: where the token is, for ``bearer``.
        token_url: where tokens are given out, for ``oauth2``.
        client_id: the gateway's name at the token server.
        client_secret: where its secret is.
        client_in: where name and secret stand in the request for a token: in its ``body``, or in its ``header``.
        scope: what the token is to be good for, such as https://erp.example.com/.default.
        parameters: further fields of the request for a token, such as ``resource`` or ``audience``.
        token_ca_file: PEM file of the authority of the token server, relative to the configuration.
        certificate_file: PEM file of the client certificate, relative to the configuration; goes with every method.
        key_file: PEM file of its key; none: the key stands in the same file.
        key_password: where the password of the key is; none: it has none.
        headers: further headers of each request, none of them secret.
        secret_headers: further headers whose text is a secret.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    method: Literal["none", "basic", "bearer", "oauth2", "certificate"] = "none"
    username: str | None = None
    password: SecretRef | None = None
    token: SecretRef | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret: SecretRef | None = None
    client_in: Literal["body", "header"] = "body"
    scope: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    token_ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: SecretRef | None = None
    headers: dict[str, str] = field(default_factory=dict)
    secret_headers: dict[str, SecretRef] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        for name in _NEEDED[self.method]:
            if not getattr(self, name):
                raise ValueError(f"{name}: is missing; method {self.method} needs {', '.join(_NEEDED[self.method])}")
        for name, method in _OWN.items():
            if getattr(self, name) and method != self.method:
                raise ValueError(f"{name}: belongs to method {method}, found method {self.method}; leave one out")
        if self.certificate_file is None and (self.key_file is not None or self.key_password is not None):
            raise ValueError("key_file, key_password: belong to a certificate_file; name it, or leave them out")
        if self.token_url is not None:
            _check_token_url(self.token_url)
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self.headers) + len(self.secret_headers) > HEADERS_MAX:
            raise ValueError(f"headers: allowed at most {HEADERS_MAX} with secret_headers")
        for name in (*self.headers, *self.secret_headers):
            if not name or not all(one.isascii() and (one.isalnum() or one in "-_") for one in name):
                raise ValueError(f"headers: found {name!r}, allowed: a name of letters, digits, - and _")
        for name, text in self.headers.items():
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"headers.{name}: found {text!r}, allowed: printable ASCII")

    def __str__(self) -> str:
        """For people: how, and as whom; never a secret."""
        who = {"basic": f" as {self.username}", "oauth2": f" as {self.client_id} at {self.token_url}"}
        also = ", with a client certificate" if self.certificate_file and self.method != "certificate" else ""
        return f"sign-in {self.method}{who.get(self.method, '')}{also}"


def _check_token_url(url: str) -> None:
    try:
        check_url(url, insecure=False)
    except ValueError as error:
        text = str(error).replace("url: ", "token_url: ", 1).replace(", or write insecure: true", "")
        raise ValueError(text) from None
