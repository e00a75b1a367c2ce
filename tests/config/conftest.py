from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from config.loader import load
from drivers.signal import Writable
from gateway.core.duration import Duration
from gateway.core.rules import FORBID_UNKNOWN_KEYS
from gateway.core.secret import SecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class PressSignal:
    """A value of the press.

    Attributes:
        register: where it is.
        telemetry: whether it is published as a block.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    register: int
    deadband: str | None = None
    report: Literal["always", "change"] = "always"
    writable: Writable | None = None
    telemetry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PressSettings:
    """A press on the network.

    Attributes:
        host: address of the press.
        scan: how often it is read.
        password: where the password is.
        words: how many values without a name of their own it has, called words.0 and so on.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["press"]
    host: str
    port: int = 502
    scan: Duration = Duration("1 s")
    password: SecretRef | None = None
    signals: dict[str, PressSignal]
    words: int = 0

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise ValueError(f"port: found {self.port}, allowed 1 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSettings:
    """Switches of the box."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["switch"]
    signals: dict[str, PressSignal]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostSettings:
    """Where messages are posted.

    Attributes:
        url: the address.
        token: where the token is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    connector: Literal["post"]
    url: str
    token: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """A folder; one of its keys has the same name as the connector."""

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    connector: Literal["folder"]
    folder: str


@dataclass(frozen=True)
class Plugin:
    name: str
    settings: type[Any]


@dataclass(frozen=True)
class DriverPlugin(Plugin):
    """What the loader asks of a driver besides."""

    templates: Path | None = None

    def signals(self, settings):
        return (*settings.signals, *(f"words.{number}" for number in range(getattr(settings, "words", 0))))


TEMPLATES = Path(__file__).parent / "templates"
DRIVERS = {
    "press": DriverPlugin("press", PressSettings, TEMPLATES / "press"),
    "switch": DriverPlugin("switch", SwitchSettings, TEMPLATES / "switch"),
}
CONNECTORS = {"post": Plugin("post", PostSettings), "folder": Plugin("folder", FolderSettings)}


@pytest.fixture
def drivers():
    return DRIVERS


@pytest.fixture
def connectors():
    return CONNECTORS


@pytest.fixture
def load_file():
    def loading(path, env=None):
        return load(Path(path), drivers=DRIVERS, connectors=CONNECTORS, env=env or {})

    return loading


@pytest.fixture
def good_text():
    return (Path(__file__).parent / "good" / "full.yaml").read_text(encoding="utf-8")


@pytest.fixture
def load_text(tmp_path, load_file):
    def loading(text, env=None):
        path = tmp_path / "linegate.yaml"
        path.write_text(text, encoding="utf-8")
        return load_file(path, env)

    return loading
