"""Checks the address of a target, without any HTTP library: settings are read also where nothing is sent."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.core.host import is_loopback


def check_url(url: str, *, insecure: bool) -> None:
    """Raises ValueError where the URL is no http(s) base address, or sends secrets and orders in the clear.

    Plain http is allowed to this very machine, elsewhere only where the settings say ``insecure: true``.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url: found {url!r}: {error}; allowed: https://host[:port][/path]") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"url: found {url!r}, allowed: https://host[:port][/path]")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url: holds a user name or password; name a secret instead")
    if parts.query or parts.fragment:
        raise ValueError(f"url: found {url!r} with a query or fragment, allowed: https://host[:port][/path]")
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise ValueError(
            f"url: found {url!r}: orders and the token would cross the network in the clear; "
            "use https, or write insecure: true"
        )
