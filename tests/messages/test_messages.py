"""What a person reads when an ERP, a PLC or an OPC UA server answers badly: word for word, from real processes.

``golden/<part>.txt`` holds a line a case. Ports are written as PORT. To renew after a deliberate change, run with
``LINEGATE_RENEW_MESSAGES=1`` and read the difference.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drivers import modbus, opcua
from drivers.base import DriverContext, DriverError
from drivers.modbus.settings import ModbusSettings
from drivers.opcua.settings import OpcUaSettings
from gateway.connectors import rest
from gateway.connectors.base import ConnectorContext, Posting, Rendered
from gateway.connectors.rest.settings import RestSettings
from gateway.core.duration import Duration
from gateway.demo.process import Process

GOLDEN = Path(__file__).parent / "golden"
RENEW = "LINEGATE_RENEW_MESSAGES"
NOW_NS = 1_795_000_000_000_000_000


@pytest.fixture
async def simulator(tmp_path):
    running = []

    async def start(name, *options):
        process = Process(name, ["simulators", name, "--port", "0", *options], tmp_path / f"{name}.log")
        running.append(process)
        await process.start(speaks=True)
        return process

    yield start
    for process in running:
        await process.stop()


def hold_against_golden(part, said):
    text = "".join(f"{case}: {_neutral(message)}\n" for case, message in said.items())
    file = GOLDEN / f"{part}.txt"
    if os.environ.get(RENEW):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def _neutral(message):
    return re.sub(r"(127\.0\.0\.1(?::|', ))\d+", r"\1PORT", message)


# --- ERP -------------------------------------------------------------------------------------------------------------

ERP_CASES = {
    "refused by business (422)": ["reject 100240"],
    "bad request (400)": ["error 400 1"],
    "not there (404)": ["error 404 1"],
    "login refused (401)": ["unauthorized 1"],
    "locked (409)": ["locked 1"],
    "broken inside (500)": ["error 500 1"],
    "broken after booking (500)": ["error-booked 500 1"],
    "bad gateway (502)": ["error 502 1"],
    "overloaded, come later (503)": ["unavailable 7 1"],
    "a login page instead (HTML)": ["html 1"],
    "half a body": ["half 1"],
    "the answer is lost": ["lose-answers 1"],
    "nobody listens": ["down 30"],
}


async def test_erp_answers(simulator):
    said = {}
    erp = await simulator("erp", "--release", "demo")
    settings = RestSettings(connector="rest", url=erp.ready["url"], timeout=Duration("60 s"))
    connector = rest.PLUGIN.build(settings, _context())
    await connector.open()
    try:
        for number, (case, commands) in enumerate(ERP_CASES.items(), 1):
            await erp.command("clear")
            for command in commands:
                await erp.command(command)
            outcome = await connector.send(_posting(number))
            wait = f" [retry after {outcome.retry_after_ns // 10**9} s]" if outcome.retry_after_ns else ""
            said[case] = f"{outcome.kind} {outcome.code or '-'} | {outcome.detail}{wait}"
    finally:
        await connector.close()
    hold_against_golden("erp", said)


def _posting(number):
    key = f"RQ1/EPOCH/100240/0010/{number}"
    document = {
        "order_id": "100240", "operation": "0010", "seq": number, "type": "partial", "machine": "ASM-01",
        "work_center": "WC-ASM", "idempotency_key": key,
        "qty": {"good": "1", "scrap": [], "rework": "0", "test": "0", "hold": "0"},
    }  # fmt: skip
    body = json.dumps(document).encode()
    return Posting(key, f"id-{number}", "100240", "0010", number, 1, Rendered(body, "application/json", ""))


def _context():
    return ConnectorContext(name="erp", gateway_id="g", now_ns=lambda: NOW_NS, secrets={}, base_dir=Path())


# --- Modbus ----------------------------------------------------------------------------------------------------------

MODBUS_FATAL = {
    "short frame": "short 1",
    "another unit answers": "wrong-unit 1",
    "garbage": "garbage 1",
    "silence": "blackhole 30",
}


def modbus_driver(port, timeout="30 s"):
    document = {
        "driver": "modbus", "host": "127.0.0.1", "port": port, "scan": "50 ms", "timeout": timeout,
        "signals": {"good": {"address": 0}, "boots": {"address": 6}, "nowhere": {"address": 60_100}},
    }  # fmt: skip
    settings = TypeAdapter(ModbusSettings).validate_python(document)
    return modbus.PLUGIN.build(settings, _driver_context("plc", settings))


async def test_modbus_answers(simulator, tmp_path):
    said = {}
    plc = await simulator("asm-01")
    driver = modbus_driver(plc.ready["port"])
    await driver.open()
    async for reading in driver.readings():
        if reading.values and driver.problems():
            break
    await driver.close()
    for signal, reason in driver.problems().items():
        said[f"exception 2, {signal}"] = reason
    for case, command in MODBUS_FATAL.items():
        process = await simulator("asm-01")
        said[case] = await _end_of(await connected(process.ready["port"]), process, command)
    gone = modbus_driver(plc.ready["port"])
    await plc.stop()
    said["nobody listens"] = await _open_error(gone)
    hold_against_golden("modbus", said)


async def connected(port):
    """A driver that gives up soon; it may have to be made again on a computer that others use."""
    for _ in range(100):
        driver = modbus_driver(port, "500 ms")
        try:
            await driver.open()
        except DriverError:
            await driver.close()
        else:
            return driver
    raise AssertionError("it never connected")


async def _end_of(driver, process, command):
    await process.command(command)
    try:
        async for _reading in driver.readings():
            pass
    except DriverError as error:
        return str(error)
    finally:
        await driver.close()
    raise AssertionError("the driver did not notice")


async def _open_error(driver):
    try:
        await driver.open()
    except DriverError as error:
        return str(error)
    finally:
        await driver.close()
    raise AssertionError("it connected to nobody")


# --- OPC UA ----------------------------------------------------------------------------------------------------------


async def test_opcua_answers(simulator):
    server = await simulator("imm-01")
    space = "nsu=http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
    nodes = {
        "shots": f"{space};s=MachineCycleCounter",
        "misspelt": f"{space};s=MachineCycleCountr",
        "elsewhere": "nsu=http://example.org/nowhere/;s=X",
    }
    driver = opcua_driver(server.ready["endpoint"], nodes)
    await driver.open()
    good = set()
    async for reading in driver.readings():
        good |= {value.signal for value in reading.values if value.value is not None}
        if good and len(driver.problems()) == len(nodes) - 1:
            break
    said = {f"bad node, {signal}": reason for signal, reason in sorted(driver.problems().items())}
    assert good == {"plc.shots"}
    await driver.close()
    gone = opcua_driver(server.ready["endpoint"], nodes)
    await server.stop()
    said["nobody listens"] = await _open_error(gone)
    hold_against_golden("opcua", said)


def opcua_driver(endpoint, nodes):
    document = {
        "driver": "opcua", "endpoint": endpoint, "security": "none", "publish": "100 ms",
        "signals": {name: {"node": node} for name, node in nodes.items()},
    }  # fmt: skip
    settings = TypeAdapter(OpcUaSettings).validate_python(document)
    return opcua.PLUGIN.build(settings, _driver_context("plc", settings))


def _driver_context(source, settings):
    return DriverContext(
        source=source,
        now_ns=lambda: NOW_NS,
        rule_signals=frozenset(settings.signals),
        telemetry_signals=frozenset(),
        state_dir=Path(),
    )
