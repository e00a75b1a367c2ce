import base64
import datetime as dt
import gzip
import hashlib
import json
import ssl
from decimal import Decimal
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from kept_waiting import Taken

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.http import BODY_MAX_BYTES, HttpClient, TransportError, basic, bearer
from gateway.connectors.rest import PLUGIN
from gateway.connectors.rest.connector import ORDERS_MAX_BYTES
from gateway.connectors.rest.settings import RestSettings
from gateway.contract import Booked, FaultContract, IdempotentContract, NoticeContract, faults
from gateway.core.duration import Duration
from gateway.core.orders.erp_notice import NoticeType


@pytest.fixture
def settings(erp):
    def made(**changes):
        defaults = {"url": erp.url, "timeout": Duration("60 s"), "server_time_limit": Duration("5 s")}
        return RestSettings(connector="rest", **{**defaults, **changes})

    return made


@pytest.fixture
def connector(settings, context):
    return PLUGIN.build(settings(), context())


@pytest.fixture
async def opened(connector):
    await connector.open()
    yield connector
    await connector.close()


@pytest.fixture
async def impatient(settings, context):
    """For a target that does not end what it says."""
    connector = PLUGIN.build(settings(timeout=Duration("1 s")), context())
    await connector.open()
    yield connector
    await connector.close()


@pytest.fixture
def posting(document, connector):
    def made(seq=1, **changes):
        image = document(seq, **changes)
        return Posting(
            image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], seq, 1,
            connector.render(image),
        )  # fmt: skip

    return made


class _Contract:
    idempotent = False

    @pytest.fixture
    def bench(self, erp, settings, context, document, order_image):
        erp.idempotent = self.idempotent
        patience = {"timeout": Duration("60 s")}
        faults = {
            "lost_answer": {"book": True, "cut": True},
            "lost_request": {"cut": True},
            "slow_booking": {"slow_s": 1.3},
            "busy": {"status": 423, "body": b'{"error": {"code": "LOCKED", "message": "locked"}}'},
            "refused": {"status": 422, "body": b'{"error": {"code": "CLOSED", "message": "closed"}}'},
            "login_expired": {"status": 401, "body": b"{}"},
            "html": {"status": 200, "body": b"<html>sign in</html>", "type": "text/html"},
            "half_answer": {"book": True, "half": True},
        }

        def fault(name, count=1):
            if name == "slow_booking":  # the only one whose end nobody tells
                patience["timeout"] = Duration("1 s")
            erp.faults.extend([faults[name]] * count)
            return True

        return SimpleNamespace(
            build=lambda: PLUGIN.build(settings(idempotent=self.idempotent, **patience), context()),
            document=document,
            release=lambda order: erp.orders.append(order_image(order)),
            take_away=erp.stop,
            bookings=lambda key: erp.booked[key],
            fault=fault,
            working=lambda: bool(erp.slow),
            booked=lambda: [Booked(key, Decimal(10), Decimal(1)) for key in erp.booked.elements()],
        )


class TestContract(_Contract, FaultContract):
    pass


class TestNotices(NoticeContract):
    @pytest.fixture
    def bench(self, erp, settings, context, document):
        erp.idempotent = True
        chosen = settings(notices=tuple(NoticeType), idempotent=True)
        met = {faults.LOST_ANSWER: {"book": True, "cut": True}, faults.NOT_SERVED: {"status": 404, "body": b"{}"}}
        mine = [f"RQ1/epochepochabc/100240/0010/{seq}" for seq in (1, 2)]
        return SimpleNamespace(
            build=lambda: PLUGIN.build(chosen, context()),
            document=document,
            bookings=lambda key: erp.booked[key],
            notices_meet=lambda name, count=1: erp.notice_faults.extend([met[name]] * count),
            working=lambda: False,
            booked=lambda: [Booked(key, Decimal(10), Decimal(1)) for key in mine for _ in range(erp.booked[key])],
            told=lambda: [key for key in erp.order if key not in mine],
        )


class TestContractOfAnIdempotentTarget(_Contract, IdempotentContract, FaultContract):
    idempotent = True


async def test_the_request_says_which_confirmation_it_is(opened, erp, posting, document):
    sent = posting(7)._replace(attempt=3)
    await opened.send(sent)
    method, path, headers = erp.requests[0]
    assert (method, path) == ("POST", "/confirmations")
    assert headers["idempotency-key"] == "RQ1/epochepochabc/100240/0010/7"
    digest = base64.b64encode(hashlib.sha256(sent.rendered.body).digest()).decode()
    assert headers["content-digest"] == f"sha-256=:{digest}:"
    assert headers["linegate-attempt"] == "3"
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert json.loads(erp.bodies[sent.key][0]) == document(7)
    assert erp.bodies[sent.key][0] == json.dumps(document(7), separators=(",", ":")).encode()


async def test_a_key_with_any_characters_is_looked_up(opened, erp, posting):
    sent = posting(1, order="WH/MO/äö 7?#%")
    await opened.send(sent)
    assert erp.booked["RQ1/epochepochabc/WH/MO/%C3%A4%C3%B6%207%3F%23%25/0010/1"] == 1
    assert (await opened.lookup(sent)).kind is LookupKind.FOUND
    assert (await opened.lookup(posting(2, order="WH/MO/äö 7?#%"))).kind is LookupKind.ABSENT


async def test_two_keys_never_become_one(opened, erp, posting):
    orders = ["\u00e4", "%C3%A4", "%25C3%25A4", "a b", "a%20b", "ASM:1", "ASM%3A1"]
    for order in orders:
        assert (await opened.lookup(posting(1, order=order))).kind is LookupKind.ABSENT
        assert (await opened.send(posting(1, order=order))).kind is OutcomeKind.POSTED
        assert (await opened.lookup(posting(1, order=order))).kind is LookupKind.FOUND
    assert len(erp.booked) == len(orders)


async def test_a_look_up_that_speaks_of_another_key_proves_nothing(opened, erp, posting):
    sent = posting(1, order="\u00e4")
    for key, kind in ((sent.key, LookupKind.FOUND), ("RQ1/other", LookupKind.UNKNOWN)):
        body = json.dumps({"reference": "C-1", "idempotency_key": key}).encode()
        erp.get_faults.append({"status": 200, "body": body})
        assert (await opened.lookup(sent)).kind is kind


FAULTS = [
    ({"cut": True}, OutcomeKind.UNCERTAIN, 0),
    ({"book": True, "cut": True}, OutcomeKind.UNCERTAIN, 1),
    ({"book": True, "half": True}, OutcomeKind.UNCERTAIN, 1),
    ({"book": True, "drip": True}, OutcomeKind.UNCERTAIN, 1),
    ({"book": True, "hold": True}, OutcomeKind.UNCERTAIN, 1),
    ({"status": 500, "book": True}, OutcomeKind.UNCERTAIN, 1),
    ({"status": 200, "body": b"<html>Log in", "type": "text/html"}, OutcomeKind.PROTOCOL, 0),
    ({"status": 201, "body": b" " * (BODY_MAX_BYTES + 1)}, OutcomeKind.UNCERTAIN, 0),
    ({"status": 201, "body": gzip.compress(b"{}"), "headers": {"Content-Encoding": "gzip"}}, OutcomeKind.UNCERTAIN, 0),
    ({"status": 307, "headers": {"Location": "http://127.0.0.1:1/elsewhere"}}, OutcomeKind.PROTOCOL, 0),
    ({"status": 503, "headers": {"Retry-After": "9"}}, OutcomeKind.NOT_SENT, 0),
    ({"status": 422, "body": b'{"error": {"code": "X", "message": "m"}}'}, OutcomeKind.BUSINESS_REJECT, 0),
]


@pytest.mark.parametrize(("fault", "kind", "booked"), FAULTS, ids=[str(sorted(fault))[:50] for fault, _, _ in FAULTS])
async def test_every_fault_of_a_target(opened, impatient, erp, posting, fault, kind, booked):
    connector = impatient if fault.keys() & {"drip", "hold"} else opened
    erp.faults.append(fault)
    sent = posting()
    taken = Taken()
    outcome = await connector.send(sent)
    assert taken.seconds() < 3
    assert outcome.kind is kind, outcome
    assert erp.booked[sent.key] == booked
    assert len(erp.posts()) == 1  # nothing below repeats by itself
    erp.release.set()
    assert (await opened.lookup(sent)).kind is (LookupKind.FOUND if booked else LookupKind.ABSENT)


async def test_a_connection_that_the_target_closed_meanwhile_is_not_repeated_by_itself(opened, erp, posting):
    await opened.send(posting(1))
    erp.stop()
    erp.start()
    outcome = await opened.send(posting(2))
    assert outcome.kind in {OutcomeKind.POSTED, OutcomeKind.UNCERTAIN}
    assert erp.booked[posting(2).key] <= 1


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "http://no-such-host.invalid:1", "http://127.0.0.1:1"])
async def test_surely_not_sent(erp, settings, context, posting, url):
    # TLS to a port that speaks none, a name that nobody knows, a port that nobody listens on.
    connector = PLUGIN.build(settings(url=url.format(port=erp.port), insecure=True), context())
    await connector.open()
    outcome = await connector.send(posting())
    assert outcome.kind is OutcomeKind.NOT_SENT, outcome
    assert not erp.posts()
    assert not (await connector.probe()).ok
    await connector.close()


@pytest.fixture
def certificate(tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "erp")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "erp.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


async def test_tls_is_checked(erp, settings, context, posting, certificate):
    erp.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    erp.tls.load_cert_chain(certificate)
    unknown = PLUGIN.build(settings(), context())
    await unknown.open()
    outcome = await unknown.send(posting())
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.detail
    await unknown.close()
    trusted = PLUGIN.build(settings(ca_file="erp.pem"), context())
    await trusted.open()
    assert (await trusted.send(posting())).kind is OutcomeKind.POSTED
    await trusted.close()


async def test_the_certificates_of_the_system_are_read_for_https_only(
    erp, settings, context, posting, certificate, monkeypatch
):
    """They are long to read, and plain HTTP shows none."""
    read, really = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **asked: read.append(asked) or really(**asked))
    for url in (None, erp.url.replace("http:", "HTTPS:")):
        if url is not None:
            erp.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            erp.tls.load_cert_chain(certificate)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        connector = PLUGIN.build(settings(**({"url": url} if url else {})), context())
        await connector.open()
        assert (await connector.send(posting())).kind is OutcomeKind.POSTED
        await connector.close()
        assert read == ([{"cafile": None}] if url else [])


async def test_a_missing_certificate_file_is_named(settings, context):
    with pytest.raises(ConnectorError, match=r"nothing\.pem"):
        await PLUGIN.build(settings(ca_file="nothing.pem"), context()).open()


async def test_the_token_goes_into_the_header_and_nowhere_else(erp, settings, context, posting):
    connector = PLUGIN.build(settings(), context(token="s3cret-canary"))
    await connector.open()
    erp.faults.append({"status": 401, "body": b"{}"})
    outcome = await connector.send(posting())
    assert outcome.kind is OutcomeKind.AUTH
    assert erp.requests[0][2]["authorization"] == "Bearer s3cret-canary"
    erp.stop()
    for text in (repr(outcome), repr(await connector.send(posting())), repr(await connector.probe())):
        assert "canary" not in text
    await connector.close()


def test_credentials_that_no_header_can_carry():
    assert basic("ann", "pä:ss") == "Basic " + base64.b64encode("ann:pä:ss".encode()).decode()
    for token in ("", "a b", "a\nb", "ä"):
        with pytest.raises(ConnectorError, match="token"):
            bearer(token)
    with pytest.raises(ConnectorError, match="colon"):
        basic("a:b", "c")


async def test_the_environment_sets_no_proxy(opened, erp, posting, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await opened.send(posting())).kind is OutcomeKind.POSTED


async def test_an_unopened_client_has_not_sent():
    with pytest.raises(TransportError) as caught:
        await HttpClient("http://127.0.0.1:1", timeout_ns=10**9).request("GET", "/")
    assert caught.value.sent is False


async def test_orders_since_the_cursor(opened, erp, order_image):
    erp.orders += [order_image("1"), order_image("2")]
    page = await opened.fetch_orders("1")
    assert [order.order for order in page.orders] == ["2"]
    assert page.cursor == "2"
    assert erp.requests[0][1] == "/orders?since=1"
    await opened.fetch_orders("")
    assert erp.requests[1][1] == "/orders"


async def test_a_page_of_orders_may_be_long_and_a_longer_one_is_told_as_such(opened, erp, order_image):
    erp.orders += [order_image(str(number), sales_order="S" * 400) for number in range(3000)]
    assert len(json.dumps(erp.orders)) > 2 * BODY_MAX_BYTES
    assert len((await opened.fetch_orders("")).orders) == 3000
    erp.get_faults.append({"status": 200, "body": b" " * (ORDERS_MAX_BYTES + 1)})
    with pytest.raises(
        ConnectorError, match=f"above {ORDERS_MAX_BYTES} bytes; make the ERP send fewer orders"
    ) as caught:
        await opened.fetch_orders("")
    assert "network" not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 200, "body": b"<html>", "type": "text/html"},
        {"status": 200, "body": b"{}"},
        {"status": 302, "headers": {"Location": "/x"}},
        {"half": True},
        {"cut": True},
    ],
    ids=str,
)
async def test_orders_that_cannot_be_read(opened, erp, fault):
    erp.get_faults.append(fault)
    with pytest.raises(ConnectorError, match="orders"):
        await opened.fetch_orders("")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "ftp://erp"}, "allowed: https"),
        ({"url": "erp.example.com"}, "allowed: https"),
        ({"url": "http://erp.example.com"}, "insecure: true"),
        ({"url": "http://10.0.0.1:8080"}, "insecure: true"),
        ({"url": "https://ann:pw@erp"}, "name a secret"),
        ({"url": "https://erp:99999"}, "url"),
        ({"url": "https://erp/x?y=1"}, "query"),
        ({"orders_path": "orders"}, "orders_path"),
        ({"health_path": "/a b"}, "health_path"),
        ({"lookup_path": "/confirmations"}, "lookup_path"),
        ({"timeout": Duration("500 ms")}, "timeout"),
        ({"timeout": Duration("1 h")}, "timeout"),
    ],
)
def test_settings_that_are_refused(settings, changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://erp.example.com/api"},
        {"url": "http://localhost:1"},
        {"url": "http://127.8.9.1"},
        {"url": "http://[::1]:80"},
        {"url": "http://erp", "insecure": True},
    ],
)
def test_settings_that_are_taken(settings, changes):
    assert PLUGIN.describe(settings(**changes))


def test_a_confirmation_that_is_too_long_is_refused(connector, document):
    from gateway.connectors.base import MappingError

    with pytest.raises(MappingError, match="bytes"):
        connector.render({**document(1), "text": "x" * 300_000})
    with pytest.raises(MappingError, match="JSON"):
        connector.render({**document(1), "text": {1, 2}})
