"""Our token, cookies and classes of errors against ``mock-sap``, which was written by others."""

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from gateway.connectors.base import OutcomeKind
from gateway.connectors.error_classes import table_of
from gateway.connectors.http import TransportError
from gateway.connectors.sap_odata.answers import DEFAULT_CLASSES, outcome_of
from gateway.connectors.sap_odata.connector import _without_token
from gateway.connectors.sap_odata.services import PRODUCTION
from gateway.connectors.sap_odata.session import NoTokenError, Session, is_token_wanted
from gateway.connectors.sign_in import SignIn
from gateway.connectors.signed_client import SignedClient
from gateway.core.secret import SecretRef

ORDERS = PRODUCTION._replace(confirmations="API_SALES_ORDER_SRV", confirmation_set="A_SalesOrder")
ORDER = {
    "SalesOrderType": "OR", "SalesOrganization": "1710", "DistributionChannel": "10", "OrganizationDivision": "00",
    "SoldToParty": "1000001", "TransactionCurrency": "EUR",
    "to_Item": [{"Material": "TG11", "RequestedQuantity": "2", "NetAmount": "1998.00"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def mock_sap(port_for_later):
    if importlib.util.find_spec("mocksap") is None:
        why = "mock-sap is not installed; pip install 'linegate[test]'"
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    port = port_for_later()
    process = subprocess.Popen(
        [sys.executable, "-m", "mocksap", "--port", str(port), "--auth", "LINEGATE:secret", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}", process
    process.kill()
    process.wait(60)


@pytest.fixture
async def session(mock_sap, context):
    url, process = mock_sap
    sign_in = SignIn(method="basic", username="LINEGATE", password=SecretRef(env="X"))
    client = SignedClient(url, sign_in, context(**{"sign_in.password": "secret"}), timeout_ns=60 * 10**9)
    await client.open()
    made = Session(client, "100")
    async with asyncio.timeout(60):
        while True:
            assert process.poll() is None, "mock-sap ended"
            with contextlib.suppress(TransportError):
                if (await made.ask("/sap/opu/odata/sap/API_SALES_ORDER_SRV/", {})).status == 200:
                    break
            await asyncio.sleep(0.05)
    yield made
    await client.close()


async def test_the_token_is_fetched_and_accepted_for_several_lanes(session):
    body = json.dumps(ORDER).encode()
    answers = await asyncio.gather(*(session.post(ORDERS, ORDERS.confirmation_path, {}, body) for _ in range(6)))
    assert [one.status for one in answers] == [201] * 6
    numbers = {json.loads(one.body)["d"]["SalesOrder"] for one in answers}
    assert len(numbers) == 6


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ("csrf", None),
        ("busy", OutcomeKind.NOT_SENT),
        ("lock", OutcomeKind.BUSY),
        ("precondition", OutcomeKind.BUSY),
        ("auth", OutcomeKind.AUTH),
        ("forbidden", OutcomeKind.AUTH),
        ("error", OutcomeKind.UNCERTAIN),
        ("notfound", OutcomeKind.PROTOCOL),
    ],
)
async def test_a_bad_day_of_mock_sap(session, scenario, kind):
    query = {"sap-mock-scenario": scenario}
    answer = await session.post(ORDERS, ORDERS.confirmation_path, query, json.dumps(ORDER).encode())
    if kind is None:
        assert is_token_wanted(answer)  # also with a new token: it was asked twice, and no more
    else:
        assert outcome_of(answer, table_of({}, DEFAULT_CLASSES), 0, "x").kind is kind
    assert (await session.post(ORDERS, ORDERS.confirmation_path, {}, json.dumps(ORDER).encode())).status == 201


async def test_no_token_for_a_wrong_password(mock_sap, session, context):
    del session  # it is up
    sign_in = SignIn(method="basic", username="LINEGATE", password=SecretRef(env="X"))
    client = SignedClient(mock_sap[0], sign_in, context(**{"sign_in.password": "other"}), timeout_ns=60 * 10**9)
    await client.open()
    with pytest.raises(NoTokenError) as caught:
        await Session(client, None).post(ORDERS, ORDERS.confirmation_path, {}, b"{}")
    assert _without_token(caught.value.answer).kind is OutcomeKind.AUTH
    await client.close()
