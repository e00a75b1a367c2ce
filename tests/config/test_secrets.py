from __future__ import annotations

import os
import pickle
import traceback

import pytest

from config.errors import ConfigError, ConfigErrors
from config.secrets import SecretStore, resolve_secret, secret_refs
from gateway.core.secret import SecretRef

CANARY = "canary-7f3a"


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{CANARY}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def test_from_a_file_relative_to_the_base(secret_file):
    assert resolve_secret(SecretRef(file="token"), secret_file.parent, {}) == CANARY
    assert resolve_secret(SecretRef(file=str(secret_file)), secret_file.parent / "elsewhere", {}) == CANARY


@pytest.mark.parametrize(
    ("content", "secret"), [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), ("pä".encode(), "pä")]
)
def test_one_newline_is_dropped(secret_file, content, secret):
    secret_file.write_bytes(content)
    assert resolve_secret(SecretRef(file="token"), secret_file.parent, {}) == secret


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(secret_file, mode):
    secret_file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\); run: chmod 600 {secret_file}") as caught:
        resolve_secret(SecretRef(file="token"), secret_file.parent, {}, "connectors.erp.token")
    assert str(caught.value).startswith(f"{secret_file}: connectors.erp.token: ")
    assert CANARY not in str(caught.value)


def test_files_that_hold_no_secret(secret_file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, expected in (("none", "No such file"), ("folder", "Is a directory"), ("pipe", "is not a file")):
        with pytest.raises(ConfigError, match=expected):
            resolve_secret(SecretRef(file=name), tmp_path, {})
    for content, expected in ((b"\n", "empty"), (b"", "empty"), (b"x" * 70_000, "64 KiB"), (b"\xff" * 9, "not UTF-8")):
        secret_file.write_bytes(content)
        with pytest.raises(ConfigError, match=expected):
            resolve_secret(SecretRef(file="token"), tmp_path, {})


def test_a_secret_that_is_not_text_does_not_reach_the_traceback(secret_file):
    secret_file.write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(ConfigError) as caught:
        resolve_secret(SecretRef(file="token"), secret_file.parent, {})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None, "a UnicodeDecodeError carries the bytes"


def test_from_the_environment(tmp_path):
    assert resolve_secret(SecretRef(env="TOKEN"), tmp_path, {"TOKEN": CANARY}) == CANARY
    for env in ({}, {"TOKEN": ""}):
        with pytest.raises(ConfigError, match="environment: TOKEN: the variable is not set"):
            resolve_secret(SecretRef(env="TOKEN"), tmp_path, env)


def test_from_a_systemd_credential(secret_file):
    env = {"CREDENTIALS_DIRECTORY": str(secret_file.parent)}
    secret_file.chmod(0o440)  # what an access list of systemd looks like
    assert resolve_secret(SecretRef(credential="token"), secret_file.parent, env) == CANARY
    with pytest.raises(ConfigError, match="LoadCredential=token:FILE"):
        resolve_secret(SecretRef(credential="token"), secret_file.parent, {})
    for name in ("../token", "", "..", "/etc/passwd"):
        with pytest.raises(ConfigError, match="without '/'"):
            resolve_secret(SecretRef(credential=name), secret_file.parent, env)


def test_all_secrets_of_settings_by_path(load_text, good_text, tmp_path):
    settings = load_text(good_text, {"ERP_TOKEN": CANARY})
    erp = settings.connectors["erp"].connector_settings
    assert list(secret_refs(erp)) == [("token", SecretRef(env="ERP_TOKEN"))]
    assert settings.secrets.resolve_all(erp, "connectors.erp") == {"token": CANARY}
    with pytest.raises(ConfigError, match=r"mqtt\.password: the secret cannot be read"):
        settings.secrets.resolve_all(settings.mqtt, "mqtt")


def test_a_store_shows_no_environment(tmp_path):
    store = SecretStore(tmp_path, {"TOKEN": CANARY})
    assert CANARY not in f"{store!r} {store}"


def test_no_secret_in_settings_or_their_digest(load_text, good_text, tmp_path):
    (tmp_path / "mqtt.secret").write_text(CANARY, encoding="utf-8")
    (tmp_path / "mqtt.secret").chmod(0o600)
    settings = load_text(good_text, {"ERP_TOKEN": CANARY})
    assert settings.secrets.resolve(settings.mqtt.password) == CANARY
    without = {"gateway": settings.gateway, "connectors": dict(settings.connectors), "mqtt": settings.mqtt}
    assert CANARY not in f"{settings!r} {settings} {settings.digest}"
    assert CANARY.encode() not in pickle.dumps({key: repr(value) for key, value in without.items()})
    assert settings.digest == load_text(good_text, {"ERP_TOKEN": "another"}).digest


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        f'"{CANARY}"',
        f"[{CANARY}]",
        f"!{CANARY} x",
        f"*{CANARY}",
        f"'{CANARY}",
        f"{CANARY}: x",
        f"@{CANARY}",
        f"{{ value: {CANARY} }}",
        f"{{ file: a, env: [{CANARY}] }}",
        f"{{ file: {{ a: {CANARY} }} }}",
        f'"{CANARY}\\0"',
        f"&{CANARY} [",
    ],
)
def test_a_secret_written_into_the_file_by_mistake_is_not_repeated(load_text, good_text, written):
    for before in ("{ file: mqtt.secret }", "{ env: ERP_TOKEN }"):
        with pytest.raises(ConfigErrors) as caught:
            load_text(good_text.replace(before, written))
        assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("number", ["0777123", "7771234", "777_123", "777123.5", "0o777123"])
def test_a_secret_that_looks_like_a_number_is_not_repeated(load_text, good_text, number):
    for before in ("{ file: mqtt.secret }", "{ env: ERP_TOKEN }", "env: ERP_TOKEN"):
        after = f"env: {number}" if before.startswith("env") else number
        with pytest.raises(ConfigErrors) as caught:
            load_text(good_text.replace(before, after))
        assert number not in "".join(traceback.format_exception(caught.value))


def test_user_information_in_an_address_is_not_repeated(load_text, good_text):
    text = good_text.replace(
        "host: broker.example", f"host: 'mqtt://me:{CANARY}@broker'\n  protocol: 'x://me:{CANARY}@b'"
    )
    with pytest.raises(ConfigErrors) as caught:
        load_text(text.replace("tls: { ca_file: ca.pem }", "tls: false"))
    assert CANARY not in str(caught.value)
