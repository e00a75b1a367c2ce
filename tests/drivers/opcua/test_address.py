import pytest

from drivers.opcua.address import ROOT, Address, Element, check_namespaces, parse, parse_node, parse_path

SHORT = {"m": "http://x/y", "packml": "http://own/packml"}
START = Address("nsu=http://x/y;s=Press", (Element(None, 0, "A"),))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("i=2257", Address("i=2257")),
        ("ns=4;s=a/b:c", Address("ns=4;s=a/b:c")),
        ("nsu=http://x/y;s=Counter;1", Address("nsu=http://x/y;s=Counter;1")),
        ("nsu=m;s=Counter", Address("nsu=http://x/y;s=Counter")),
        ("nsu=packml;i=7", Address("nsu=http://own/packml;i=7")),
        ("nsu=di;i=7", Address("nsu=http://opcfoundation.org/UA/DI/;i=7")),
        ("nsu=urn:a:b;i=7", Address("nsu=urn:a:b;i=7")),
        ("/Objects", Address(ROOT, (Element(None, 0, "Objects"),))),
        ("/m:A B/2:C", Address(ROOT, (Element("http://x/y", 0, "A B"), Element(None, 2, "C")))),
        ("/{http://x/y}A/{urn:z}B:C", Address(ROOT, (Element("http://x/y", 0, "A"), Element("urn:z", 0, "B:C")))),
        ("/m:A&/B&&C/D&:E", Address(ROOT, (Element("http://x/y", 0, "A/B&C"), Element(None, 0, "D:E")))),
        ("m:Speed", Address(START.node, (*START.path, Element("http://x/y", 0, "Speed")))),
        ("./m:Speed", Address(START.node, (*START.path, Element("http://x/y", 0, "Speed")))),
    ],
)  # fmt: skip
def test_a_text_names_a_node(text, found):
    assert parse(text, SHORT, START) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/Objects/q:A", "the namespace 'q', known are di, euromap77, euromap83, m, "),
        ("/", "with an empty element"),
        ("/Objects//A", "with an empty element"),
        ("/Objects/{}A", "with an empty element"),
        ("/Objects/m:", "with an empty element"),
        ("/" + "/".join("A" * 51), "allowed 1 to 50 elements"),
        ("nsu=nobody;s=A", "the namespace 'nobody'"),
    ],
)
def test_what_names_nothing_is_said(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text, SHORT, START)


def test_a_path_without_a_slash_needs_a_start():
    with pytest.raises(ValueError, match="the source has no start"):
        parse_path("m:Speed", SHORT, None)


def test_a_node_is_not_a_path():
    with pytest.raises(ValueError, match="allowed such as 'nsu=http://vendor/machine;s=Counter'"):
        parse_node("/Objects", SHORT)


@pytest.mark.parametrize(("namespaces", "words"), [({"a b": "x"}, "short name 'a b'"), ({"a": ""}, "empty URI")])
def test_namespaces_are_words_and_uris(namespaces, words):
    with pytest.raises(ValueError, match=words):
        check_namespaces(namespaces)
