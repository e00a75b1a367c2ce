"""Each kind of channel against a server that checks what the real ones check."""

from __future__ import annotations

import socket
import time

import pytest

from gateway.alerts.channel import PER_MINUTE_MAX, AddressError, Channel, address_of
from gateway.alerts.message import Message, Sender
from gateway.alerts.message import test_message as message_to_test
from gateway.alerts.wire import Form
from gateway.core.duration import Duration

LONG = Message("linegate P1/box-1: 90 new", ("目标 erp:确认被锁定 😀 " * 30,) * 90, {"v": 1, "event": "alert"})
SHORT = message_to_test(Sender("box-1", "P1", ""), 0, lambda at_ns: at_ns)


@pytest.fixture
def forms(secret_texts):
    _token, robot_secret, _key, _path, hook_secret, hook_token = secret_texts
    return {
        "dingtalk": Form("dingtalk", robot_secret),
        "wecom": Form("wecom"),
        "webhook": Form("webhook", hook_secret, hook_token),
    }


@pytest.fixture
async def channel_to(robots, forms):
    made = []
    now = {"ns": 0}

    def make(kind, url="", **changes):
        address = address_of(url or robots.url(kind), insecure=False)
        form = forms[kind]._replace(**changes)
        made.append(
            Channel(kind, address, form, timeout_ns=Duration("10 s"), ca_file=None, now_ns=lambda: now["ns"],
                    utc_now_ns=time.time_ns)
        )  # fmt: skip
        return made[-1]

    make.now = now
    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize("kind", ["dingtalk", "wecom", "webhook"])
async def test_a_message_arrives_signed_and_within_its_bytes(channel_to, robots, kind):
    channel = channel_to(kind)
    reply = await channel.send(SHORT)
    assert reply.ok, reply
    assert reply.detail == ("HTTP 204 No Content" if kind == "webhook" else "HTTP 200 OK, errcode 0: ok")
    assert (await channel.send(LONG)).ok
    short, long = robots.of(kind)
    assert short.text.startswith("linegate P1/box-1: test message")
    assert "more; see linegate status" in long.text
    assert long.text.encode().decode() == long.text
    if kind == "webhook":
        assert (short.document["event"], short.document["gateway"]) == ("test", "box-1")
        assert len(long.text.encode()) <= 4096
    else:
        assert 1024 < long.size <= 2048


@pytest.mark.parametrize("kind", ["dingtalk", "wecom"])
async def test_markdown_is_longer(channel_to, robots, kind):
    assert (await channel_to(kind, markdown=True).send(LONG)).ok
    (one,) = robots.of(kind)
    assert one.document["msgtype"] == "markdown"
    assert 2048 < one.size <= 4096


async def test_people_are_mentioned_as_each_robot_wants_it(channel_to, robots):
    assert (await channel_to("dingtalk", mention=("13800000000", "all")).send(LONG)).ok
    assert (await channel_to("wecom", mention=("ann", "all")).send(LONG)).ok
    ding, wecom = robots.taken
    assert ding.document["at"] == {"atMobiles": ["13800000000"], "isAtAll": True}
    assert ding.text.endswith("@13800000000")
    assert ding.size <= 2048
    assert wecom.document["text"]["mentioned_list"] == ["ann", "@all"]


async def test_a_wrong_secret_is_what_the_robot_says(channel_to, robots):
    reply = await channel_to("dingtalk", secret="SECwrong").send(SHORT)
    assert (reply.ok, reply.detail) == (False, "HTTP 200 OK, errcode 310000: sign not match")
    assert (await channel_to("webhook", secret="wrong").send(SHORT)).detail == "HTTP 403 Forbidden"
    assert (await channel_to("webhook", token="wrong").send(SHORT)).detail == "HTTP 401 Unauthorized"
    assert robots.taken == []


async def test_the_address_stands_in_no_reply(channel_to, robots, secret_texts):
    """Though the robot repeats its token, and whatever fails."""
    gone = f"{robots.origin}/robot/send?access_token={secret_texts[0]}x"
    first = await channel_to("dingtalk", gone).send(SHORT)
    assert "token is not exist: ***" in first.detail
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/robot/send?access_token={secret_texts[0]}"
        second = await channel_to("dingtalk", url).send(SHORT)
    robots.broken = ["no answer"]
    third = await channel_to("webhook").send(SHORT)
    assert not any(reply.ok for reply in (first, second, third))
    for secret in secret_texts:
        assert secret not in repr((first, second, third))
        assert secret not in repr([channel_to(kind)._form for kind in ("dingtalk", "webhook")])
        assert secret not in repr(channel_to("webhook")._address)


@pytest.mark.parametrize(
    ("broken", "detail", "pause"),
    [
        ((500, {}, b"oops"), "HTTP 500 Internal Server Error", None),
        ((429, {}, b""), "HTTP 429 Too Many Requests", "1 min"),
        ((503, {"Retry-After": "7"}, b""), "HTTP 503 Service Unavailable", "7 s"),
        ((302, {"Location": "http://elsewhere/"}, b""), "HTTP 302 Found", None),
        ((200, {"Content-Type": "text/html"}, b'{"errcode":0}'), "but no errcode: is this the address", None),
        ((200, {}, b"[]"), "but no errcode", None),
        ((200, {}, b'{"errcode":false}'), "but no errcode", None),
        ((200, {}, b"x" * 20_000), "the answer is above 16384 bytes", None),
        ((200, {}, b'{"errcode":130101,"errmsg":"too fast"}'), "errcode 130101: too fast", "10 min"),
        ((200, {}, b'{"errcode":-1,"errmsg":"busy"}'), "errcode -1: busy", None),
    ],
)
async def test_whatever_else_comes_back_is_no_success(channel_to, robots, broken, detail, pause):
    robots.broken = [broken]
    channel = channel_to("dingtalk")
    reply = await channel.send(SHORT)
    assert not reply.ok
    assert detail in reply.detail
    assert reply.pause_ns == (None if pause is None else Duration(pause))
    assert (await channel.send(SHORT)).ok, "the next one is none the worse"


async def test_never_more_than_the_robots_take(channel_to, robots):
    channel = channel_to("wecom")
    channel_to.now["ns"] = 5
    for _ in range(PER_MINUTE_MAX):
        assert (await channel.send(SHORT)).ok
    reply = await channel.send(SHORT)
    assert (reply.ok, reply.detail, reply.pause_ns) == (False, "not sent: 20 in the last minute", Duration("1 min"))
    assert robots.asked == PER_MINUTE_MAX
    channel_to.now["ns"] += Duration("1 min")
    robots.limit = 100
    assert (await channel.send(SHORT)).ok


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/x", "allowed: https://HOST/PATH"),
        ("https:///x", "allowed: https://HOST/PATH"),
        ("https://ann:pw@host/x", "without user name"),
        ("https://host/x#y", "without user name or #"),
        ("https://host:99999/", "cannot be read"),
        ("https://host/a b", "a character that cannot stand"),
        ("https://host/ä", "a character that cannot stand"),
        ("http://erp.plant/x", "allowed: https://; or set insecure: true"),
    ],
)
def test_addresses_that_cannot_be_used(url, said):
    with pytest.raises(AddressError, match=r"found|allowed|cannot|character") as failure:
        address_of(url, insecure=False)
    assert said in str(failure.value)
    assert url not in str(failure.value)


def test_addresses_that_can():
    assert address_of("http://erp.plant:81/x?key=a", insecure=True) == ("http://erp.plant:81", "/x?key=a")
    assert address_of("https://host", insecure=False) == ("https://host", "/")
    found = address_of("https://host/robot/send?access_token=0123456789%2B", insecure=False)
    assert found.with_query("sign=x") == "/robot/send?access_token=0123456789%2B&sign=x"
    assert {"0123456789+", "0123456789%2B"} <= set(found.secrets)


async def test_an_odd_host_is_a_reply_and_no_accident(channel_to):
    reply = await channel_to("webhook", "https://xn--/").send(SHORT)
    assert not reply.ok
    assert "https://xn--: is no address: " in reply.detail
