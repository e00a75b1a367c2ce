"""Passphrases, with which a person signs: hashed slowly, compared in constant time. Kept and counted elsewhere.

The second component of a signature (21 CFR 11.200) beside the token. One check takes some 50 ms and 16 MiB, so a
daemon does it in a thread, one at a time, and asks ``core/access/lockout.py`` before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from typing import Final

from gateway.access.users import AccessError

CHARS_MIN: Final = 10
CHARS_MAX: Final = 128
SALT_BYTES: Final = 16
COST: Final = 2**14
BLOCK: Final = 8
PARALLEL: Final = 1
#: What a hash in the file may ask for: a damaged one must not take all memory.
COST_MAX: Final = 2**14
KEY_BYTES: Final = 32


def hashed(passphrase: str, name: str) -> str:
    """The hash that is kept. Raises AccessError for one that is too short, too long, or holds the user's name."""
    text = unicodedata.normalize("NFC", passphrase)
    if not CHARS_MIN <= len(text) <= CHARS_MAX:
        raise AccessError(f"passphrase: found {len(text)} characters, allowed: {CHARS_MIN} to {CHARS_MAX}")
    if name.lower() in text.lower() or len(set(text)) < CHARS_MIN // 2:
        raise AccessError("passphrase: found the user's name, or few different characters; take some words of your own")
    salt = secrets.token_bytes(SALT_BYTES)
    key = _key(text, salt, COST)
    return "$".join(("scrypt", str(COST), base64.b64encode(salt).decode(), base64.b64encode(key).decode()))


def matches(passphrase: str, kept: str) -> bool:
    """Whether it is the one; without a kept one, or with one that cannot be read, False, after as long a time."""
    salt, key, cost = bytes(SALT_BYTES), b"", COST
    try:
        kind, cost_text, salt_text, key_text = kept.split("$")
        if kind == "scrypt" and cost_text.isdecimal() and 1 < int(cost_text) <= COST_MAX:
            salt, key, cost = base64.b64decode(salt_text), base64.b64decode(key_text), int(cost_text)
    except (ValueError, binascii.Error):
        pass  # not one of ours: nothing matches it
    text = unicodedata.normalize("NFC", passphrase[: CHARS_MAX + 1])
    return hmac.compare_digest(_key(text, salt, cost), key)


def _key(text: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(text.encode(errors="surrogatepass"), salt=salt, n=cost, r=BLOCK, p=PARALLEL, dklen=KEY_BYTES)
