"""A secret is read from its file and shown nowhere: logs, errors, status, outbox, database, MQTT, arguments."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

TOKEN = "canary/Zm9v+token=4711"
PASSWORD = "canary-pass%wort-0815"


@pytest.fixture
async def secretive(plant):
    plant.keep("ASM-01")
    plant.broker = True
    for name, text in (("token", TOKEN), ("password", PASSWORD), ("wrong", TOKEN[::-1])):
        (plant.folder / name).write_text(text + "\n")
        (plant.folder / name).chmod(0o600)
    plant.document["connectors"]["erp"]["token"] = {"file": "token"}
    plant.document["mqtt"].update(username="gateway", password={"file": "password"})
    broker = await plant.simulate("broker", "--port", "0")
    plant.ports["broker"] = broker.ready["port"]
    await plant.start_machine("ASM-01")
    return plant


def forms(secret):
    return {secret, quote(secret, safe=""), quote(secret)}


async def collect(plant):
    """Everything that leaves the daemon, or that somebody else may see of it."""
    seen = {}
    for name, arguments in {
        "status": ("status", "-d", plant.state_dir),
        "status json": ("status", "--json", "-d", plant.state_dir),
        "outbox": ("outbox", "list", "--json", "-d", plant.state_dir),
        "posting": ("outbox", "show", "1", "--json", "-d", plant.state_dir),
        "check": ("check", plant.config),
        "check json": ("check", "--json", plant.config),
    }.items():
        _code, out, err = await plant.cli(*arguments)
        seen[name] = out + err
    for file in plant.state_dir.iterdir():
        if file.is_file():
            seen[file.name] = file.read_bytes().decode("latin-1")
    if plant.daemon.process.returncode is None:
        seen |= {name: process_file(plant.daemon.pid, name) for name in ("cmdline", "environ")}
    seen["log"] = plant.daemon.text()
    seen["broker"] = (plant.folder / "broker.log").read_text()
    return seen


def process_file(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1")


def shown(seen):
    return [
        (name, secret)
        for name, text in seen.items()
        for secret in (TOKEN, PASSWORD)
        if any(form in text for form in forms(secret))
    ]


async def test_while_all_goes_well(secretive, until):
    await secretive.start_erp("--release", "demo", "--token", str(secretive.folder / "token"))
    heard = []
    watcher = await subscriber(secretive, heard)
    await secretive.run()
    await secretive.ready()
    await secretive.produce()
    await secretive.status_where(lambda view: view["targets"][0]["posted"] and view["mqtt"]["connected"], "a booking")
    seen = await collect(secretive)
    await until(lambda: len(heard) > 3, "messages at the broker")
    seen["mqtt"] = b"\n".join(heard).decode("latin-1")
    watcher.disconnect()
    watcher.loop_stop()
    assert "posted" in seen["outbox"]
    assert "running" in seen["log"]
    assert shown(seen) == []
    # The search itself finds a secret in whatever form it is written.
    assert shown({"plain": f"x{TOKEN}x", "quoted": quote(TOKEN, safe="")}) == [("plain", TOKEN), ("quoted", TOKEN)]


async def test_while_the_erp_refuses_the_token_and_the_broker_is_away(secretive):
    await secretive.start_erp("--release", "demo", "--token", str(secretive.folder / "wrong"))
    secretive.ports["broker"] = 1  # nobody listens there
    await secretive.run()
    view = await secretive.status_where(
        lambda view: (
            any("orders cannot be fetched" in text for text in view["warnings"]) and view["mqtt"]["last_error"]
        ),
        "both troubles",
    )
    assert any("401" in text for text in view["warnings"]), view["warnings"]
    assert shown(await collect(secretive)) == []


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda file: file.chmod(0o644), "others may read"),
        (lambda file: file.write_bytes(TOKEN.encode() + b"\xff"), "not UTF-8"),
        (lambda file: file.write_text(f"{TOKEN}\nsecond line {TOKEN}\n"), "connectors.erp: token: "),
    ],
    ids=["mode", "encoding", "two lines"],
)
async def test_while_the_secret_cannot_be_used(secretive, break_it, said):
    break_it(secretive.folder / "token")
    await secretive.run()
    code = await secretive.daemon.ended()
    text = secretive.daemon.text()
    assert code == 1, text
    assert said in text
    assert "Traceback" not in text, text
    assert shown({"log": text}) == []


async def subscriber(plant, heard):
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    watcher = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    watcher.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    watcher.on_message = lambda _client, _data, message: heard.append(message.topic.encode() + b" " + message.payload)
    watcher.connect("127.0.0.1", plant.ports["broker"])
    watcher.loop_start()
    return watcher
