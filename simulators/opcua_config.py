"""The head of the gateway's source for a simulated OPC UA machine: endpoint, security, user. Knows no signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def source(
    name: str, options: argparse.Namespace, facts: Mapping[str, Any], *, path: str, publish: str,
    namespaces: Mapping[str, str],
) -> str:  # fmt: skip
    """The section ``sources`` up to its signals; the best security that is offered is taken."""
    host = f"[{facts['host']}]" if ":" in facts["host"] else facts["host"]
    words = options.security.split(",")
    security = "sign_and_encrypt" if "encrypt" in words else "sign" if "sign" in words else "none"
    lines = ["sources:", f"  {name}:", "    driver: opcua", f"    endpoint: opc.tcp://{host}:{facts['port']}{path}"]
    remark = f" # first: linegate opcua trust {name}" if security != "none" else ""
    lines.append(f"    security: {security}{remark}")
    if options.user is not None:
        password = f"{{ file: {_quoted(options.password_file)} }}"
        lines.append(f"    user: {{ name: {_quoted(options.user)}, password: {password} }}")
    elif options.user_certificate is not None:
        lines.append(f"    user: {{ cert_file: {_quoted(options.user_certificate)}, key: {{ file: user-key.pem }} }}")
    lines.append(f"    publish: {publish}")
    declared = ", ".join(f"{short}: {_quoted(uri)}" for short, uri in namespaces.items())
    lines.append(f"    namespaces: {{ {declared} }}")
    return "\n".join(lines) + "\n"


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
