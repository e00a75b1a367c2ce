import re
import stat
import time
from datetime import UTC, datetime

import pytest

from drivers.base import DriverError
from drivers.opcua import certificates

DAY_NS = 86_400_000_000_000
NOW_NS = time.time_ns()


def at_ns(*moment):
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000_000


def test_the_own_certificate_is_made_once_and_kept(tmp_path):
    first = certificates.own(tmp_path, NOW_NS)
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    facts = certificates.facts(first.der)
    assert first.application_uri.startswith("urn:linegate:")
    assert facts["application_uri"] == first.application_uri == certificates.existing_application_uri(tmp_path)
    assert facts["issuer"] == "itself (self-signed)"
    again = certificates.own(tmp_path, NOW_NS + DAY_NS)
    assert (again.der, certificates.facts(again.der)) == (first.der, facts)
    assert sorted(file.name for file in (tmp_path / "own").iterdir()) == ["certificate.der", "key.pem"], (
        "no drafts are left"
    )


def test_a_box_that_thinks_it_is_1970_makes_a_certificate_for_today(tmp_path):
    der = certificates.own(tmp_path, at_ns(1970, 1, 1, 0, 5)).der
    assert certificates.validity_notice("it", der, NOW_NS) is None
    assert certificates.validity_notice("it", der, at_ns(2040, 1, 1)) is None


def test_a_lost_certificate_is_made_for_the_same_key_but_a_lost_key_is_an_error(tmp_path):
    first = certificates.own(tmp_path, NOW_NS)
    first.certificate_file.unlink()
    second = certificates.own(tmp_path, NOW_NS)
    assert second.key.public_key() == first.key.public_key()
    second.key_file.unlink()
    with pytest.raises(DriverError, match=r"cannot be used: .*key\.pem.*restore it from a backup"):
        certificates.own(tmp_path, NOW_NS)
    assert not second.key_file.exists(), "nothing is replaced silently"


def test_a_certificate_of_another_key_is_an_error(tmp_path):
    one, other = certificates.own(tmp_path / "one", NOW_NS), certificates.own(tmp_path / "other", NOW_NS)
    one.certificate_file.write_bytes(other.der)
    with pytest.raises(DriverError, match="does not belong to"):
        certificates.own(tmp_path / "one", NOW_NS)


def test_a_pin_belongs_to_one_source_and_can_be_replaced(tmp_path, make_certificate):
    old, new = make_certificate("old"), make_certificate("new")
    assert certificates.pinned(tmp_path, "imm") is None
    assert certificates.pin(tmp_path, "imm", old.der) == tmp_path / "trusted" / "imm.der"
    certificates.pin(tmp_path, "imm", new.der)
    assert certificates.pinned(tmp_path, "imm") == new.der
    assert certificates.pinned(tmp_path, "other") is None
    (tmp_path / "trusted" / "imm.der").write_bytes(b"torn")
    with pytest.raises(DriverError, match="a certificate of 4 bytes cannot be read"):
        certificates.pinned(tmp_path, "imm")


@pytest.mark.parametrize(
    ("days", "later_days", "words"),
    [
        (365, 0, None),
        (365, 334, None),
        (365, 336, "the server certificate expires on .*, in 2[89] days; replace it"),
        (365, 366, "the server certificate expired on .*; replace it"),
        (365, -401, "is valid from .* only, and the clock shows .*; check the clock"),
    ],
)
def test_validity_is_told_from_thirty_days_before_the_end(make_certificate, days, later_days, words):
    der = make_certificate("timed", days).der
    found = certificates.validity_notice("the server certificate", der, NOW_NS + later_days * DAY_NS)
    if words is None:
        assert found is None
    else:
        assert re.search(words, found)


def test_of_a_chain_the_first_counts(make_certificate):
    one, other = make_certificate("one"), make_certificate("other")
    assert certificates.first_of_chain(one.der + other.der) == one.der
    assert certificates.fingerprint(one.der + other.der) == certificates.fingerprint(one.der)


def test_fingerprints_are_compared_without_their_decoration(make_certificate):
    found = certificates.fingerprint(make_certificate("one").der)
    assert len(found) == 32 * 3 - 1
    assert certificates.same_fingerprint(found, found.replace(":", "").lower())
    assert certificates.same_fingerprint(found, found.replace(":", " "))
    assert not certificates.same_fingerprint(found, found[:-1] + ("0" if found[-1] != "0" else "1"))


def test_a_secret_that_is_no_key_is_not_shown():
    with pytest.raises(DriverError, match=r"imm: user\.key: not a private key") as caught:
        certificates.key_of("hunter2", "imm: user.key")
    assert "hunter2" not in str(caught.value)
