"""Users, tokens and passphrases: the rules, the file on a real disk, and ``linegate user``."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest

from gateway.access import access_file, passphrase, tokens, users
from gateway.access.access_file import AccessFile, AccessFileError
from gateway.access.tokens import DAY_NS, Bearer, TokenIndex, TokenRefused, issue, revoke_token
from gateway.access.users import AccessError, Directory, add_user, change_roles, entry_of, revoke_user
from gateway.cli import main
from gateway.cli.user import ROLES
from gateway.core.audit.chain import genesis, linked
from gateway.core.audit.entry import EntryContent
from gateway.core.orders.lifecycle import ActorRole

NOW_NS = 1_775_000_000 * 1_000_000_000
BY = {"by": "root", "at_ns": NOW_NS}
WHY = {**BY, "reason": "left the plant"}
WORDS = "correct horse battery"
COMMON = EntryContent(1, 1, 4, 0, "UTC", "gateway", "service", "", "", "started", "event", "gateway")


@pytest.fixture
def ann():
    return add_user(Directory(), "ann", "Ann Berg", ["setter", "operator"], **BY)


def identify(directory, text, utc_ns=NOW_NS):
    return TokenIndex(directory).identify(text, utc_ns)


# --- users -----------------------------------------------------------------------------------------------------------


def test_there_is_nobody_until_somebody_is_added():
    assert Directory().users == ()
    assert identify(Directory(), "lg_00000000_" + "0" * 64).code == "UNKNOWN"


def test_a_user_has_roles_and_no_token(ann):
    (user,) = ann.users
    assert (user.name, user.full_name, user.roles) == ("ann", "Ann Berg", (ActorRole.OPERATOR, ActorRole.SETTER))
    assert (user.tokens, user.passphrase, user.revoked_ns) == ((), "", None)


@pytest.mark.parametrize(
    ("name", "full_name", "roles", "said"),
    [
        ("", "A", ["operator"], "name: found '', allowed: 1 to 32"),
        ("Ann", "A", ["operator"], "name: found 'Ann'"),
        ("a" * 33, "A", ["operator"], "name: found"),
        ("a\n", "A", ["operator"], "name: found 'a\\n'"),
        ("../x", "A", ["operator"], "name: found"),
        ("operator", "A", ["operator"], "could be anybody"),
        ("gateway", "A", ["service"], "could be anybody"),
        ("admin", "A", ["service"], "could be anybody"),
        ("ann", "A", ["operator"], "this user is there; take another name"),
        ("bob", " ", ["operator"], "full name: found ' '"),
        ("bob", "x" * 65, ["operator"], "full name: found"),
        ("bob", "a\x1b[2J", ["operator"], "full name: found"),
        ("bob", "A", [], "role: found none"),
        ("bob", "A", ["boss"], "role: found 'boss', allowed: operator, setter"),
    ],
)
def test_who_is_not_added(ann, name, full_name, roles, said):
    with pytest.raises(AccessError) as found:
        add_user(ann, name, full_name, roles, **BY)
    assert said in str(found.value)
    assert "\x1b" not in str(found.value)


def test_a_name_is_never_given_twice(ann):
    gone = revoke_user(ann, "ann", **WHY)
    with pytest.raises(AccessError, match="was revoked, and a name is never given twice"):
        add_user(gone, "ann", "Ann Other", ["operator"], **BY)
    for refused in (
        lambda: revoke_user(gone, "ann", **WHY),
        lambda: issue(gone, "ann", "operator", **BY),
        lambda: change_roles(gone, "ann", ["operator"], **WHY),
        lambda: users.set_passphrase(gone, "ann", "x", **WHY),
    ):
        with pytest.raises(AccessError, match="this user was revoked"):
            refused()
    with pytest.raises(AccessError, match="there is no such user"):
        revoke_user(ann, "bob", **WHY)


def test_users_are_bounded(ann, monkeypatch):
    monkeypatch.setattr(users, "USERS_MAX", 1)
    with pytest.raises(AccessError, match="users: found 1, allowed: 1"):
        add_user(ann, "bob", "Bob", ["operator"], **BY)


def test_every_change_is_numbered_and_says_who_and_why(ann, monkeypatch):
    one = issue(ann, "ann", "operator", **BY)
    two = change_roles(one.directory, "ann", ["setter"], by="root", at_ns=NOW_NS, reason="moved")
    three = revoke_user(two, "ann", **WHY)
    told = [(c.number, c.action, c.user, c.old, c.new, c.reason, c.by) for c in three.changes]
    assert told == [
        (1, "user_added", "ann", "", "Ann Berg: operator, setter", "", "root"),
        (2, "token_issued", "ann", "", f"token {one.token.id}, role operator, 90 days", "", "root"),
        (3, "user_roles_changed", "ann", "operator, setter", "setter", "moved", "root"),
        (4, "user_revoked", "ann", "Ann Berg: setter", "", "left the plant", "root"),
    ]
    assert [change.number for change in three.changes_after(2)] == [3, 4]
    assert one.text not in repr(three)
    head = genesis("epoch")
    for change in three.changes:
        kept = linked(head, entry_of(change, COMMON)).content
        assert (kept.user, kept.entity, kept.entity_id, kept.reason_text) == ("root", "user", "ann", change.reason)
    monkeypatch.setattr(users, "CHANGES_MAX", 2)
    four = add_user(three, "bob", "Bob", ["operator"], **BY)
    assert [change.number for change in four.changes] == [4, 5]


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_nothing_is_taken_away_without_a_reason(ann, reason):
    why = {**BY, "reason": reason}
    token = issue(ann, "ann", "operator", **BY)
    for refused in (
        lambda: revoke_user(ann, "ann", **why),
        lambda: change_roles(ann, "ann", ["setter"], **why),
        lambda: revoke_token(token.directory, token.token.id, **why),
        lambda: users.set_passphrase(users.set_passphrase(ann, "ann", "x", **BY), "ann", "y", **why),
    ):
        with pytest.raises(AccessError, match="reason: found nothing"):
            refused()
    with pytest.raises(AccessError, match="by: found nothing"):
        add_user(ann, "bob", "Bob", ["operator"], by=" ", at_ns=1)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_opens_for_its_user_in_its_role(ann):
    issued = issue(ann, "ann", "setter", days=1, **BY)
    assert re.fullmatch(r"lg_[0-9a-f]{8}_[0-9a-f]{64}", issued.text), "256 random bits"
    expires_ns = NOW_NS + DAY_NS
    bearer = Bearer("ann", "Ann Berg", ActorRole.SETTER, issued.token.id, expires_ns)
    assert identify(issued.directory, issued.text) == bearer
    assert identify(issued.directory, issued.text, expires_ns - 1) == bearer
    expired = identify(issued.directory, issued.text, expires_ns)
    assert (expired.code, expired.token_id) == ("EXPIRED", issued.token.id)
    assert "ask for a new one" in expired.text


def test_the_secret_is_kept_nowhere(ann):
    issued = issue(ann, "ann", "setter", **BY)
    secret = issued.text.rsplit("_", 1)[1]
    assert secret not in repr(issued.directory)
    assert secret not in repr(issued)
    assert len({issue(ann, "ann", "setter", **BY).text for _ in range(50)}) == 50


def test_what_is_no_token_learns_nothing(ann):
    issued = issue(ann, "ann", "setter", **BY)
    right = issued.text
    other = issue(ann, "ann", "setter", **BY).text
    wrong = [
        "", "lg_", right[:-1], right + "0", right.upper(), f" {right}", right.replace("_", "-"), "\x00", "x" * 10**7,
        f"{right[:-1]}{'0' if right[-1] != '0' else '1'}", other, f"{other[:12]}{right[12:]}", "lg_\u0660" + right[4:],
    ]  # fmt: skip
    said = {identify(issued.directory, text) for text in wrong}
    assert all(isinstance(found, TokenRefused) for found in said)
    assert {found.code for found in said} == {"MALFORMED", "UNKNOWN"}
    assert len({found.text for found in said}) == 1, "one text for all of them"


def test_a_revoked_token_and_that_of_a_revoked_user(ann):
    one = issue(ann, "ann", "setter", **BY)
    two = issue(one.directory, "ann", "operator", **BY)
    less = revoke_token(two.directory, one.token.id, **WHY)
    assert identify(less, one.text).code == "REVOKED"
    assert identify(less, two.text).user == "ann"
    wrong = one.text[:-1] + ("0" if one.text[-1] != "0" else "1")
    assert identify(less, wrong).code == "UNKNOWN", "who does not know the secret is not told that it was revoked"
    none = revoke_user(less, "ann", **WHY)
    assert identify(none, two.text).code == "REVOKED"
    with pytest.raises(AccessError, match="there is none of that id that is not revoked"):
        revoke_token(less, one.token.id, **WHY)


def test_with_a_role_its_tokens_go(ann):
    one = issue(ann, "ann", "setter", **BY)
    two = issue(one.directory, "ann", "operator", **BY)
    moved = change_roles(two.directory, "ann", ["operator", "quality"], **WHY)
    assert identify(moved, one.text).code == "REVOKED"
    assert identify(moved, two.text).role is ActorRole.OPERATOR


@pytest.mark.parametrize(
    ("role", "days", "said"),
    [
        ("quality", 90, "role: found 'quality', allowed for ann: operator, setter"),
        ("boss", 90, "role: found 'boss'"),
        ("setter", 0, "days: found 0, allowed: 1 to 400"),
        ("setter", 401, "days: found 401, allowed: 1 to 400"),
    ],
)
def test_a_token_that_is_not_issued(ann, role, days, said):
    with pytest.raises(AccessError) as found:
        issue(ann, "ann", role, days=days, **BY)
    assert str(found.value).startswith(said)


def test_tokens_of_a_user_are_bounded(ann, monkeypatch):
    monkeypatch.setattr(tokens, "TOKENS_MAX", 2)
    one = issue(ann, "ann", "setter", days=1, **BY)
    two = issue(one.directory, "ann", "setter", days=9, **BY)
    with pytest.raises(AccessError, match="tokens of ann: found 2 valid ones, allowed: 2; revoke some"):
        issue(two.directory, "ann", "setter", **BY)
    later = issue(two.directory, "ann", "setter", by="root", at_ns=NOW_NS + DAY_NS)
    assert [token.id for token in later.directory.users[0].tokens] == [two.token.id, later.token.id]


def test_secrets_are_compared_in_constant_time(ann, monkeypatch):
    compared = []
    monkeypatch.setattr(tokens.hmac, "compare_digest", lambda one, other: compared.append(len(one)) or one == other)
    issued = issue(ann, "ann", "setter", **BY)
    identify(issued.directory, issued.text)
    identify(issued.directory, "lg_ffffffff_" + "0" * 64)
    assert compared == [64, 64], "also where there is no such token"


# --- passphrases -----------------------------------------------------------------------------------------------------


def test_a_passphrase_is_kept_as_a_slow_hash_of_its_own():
    kept = passphrase.hashed(WORDS, "ann")
    assert kept.startswith("scrypt$16384$")
    assert "horse" not in kept
    assert passphrase.hashed(WORDS, "ann") != kept
    assert passphrase.matches(WORDS, kept)
    assert not passphrase.matches(WORDS + " ", kept)
    composed, decomposed = "Gr\u00fc\u00dfe aus Kiel", "Gru\u0308\u00dfe aus Kiel"
    assert passphrase.matches(decomposed, passphrase.hashed(composed, "ann")), "as another keyboard writes it"


@pytest.mark.parametrize("kept", ["", "scrypt", "scrypt$a$b$c", "scrypt$99999999$AAAA$AAAA", "md5$1$AA==$AA==", "$$$"])
def test_nothing_matches_what_is_no_hash(kept):
    assert not passphrase.matches(WORDS, kept)
    assert not passphrase.matches("", kept)


@pytest.mark.parametrize("text", ["", "short", "x" * 129, "Ann is at work", "aaaaaaaaaaaa"])
def test_a_passphrase_that_is_not_taken(text):
    with pytest.raises(AccessError, match=r"^passphrase: found") as found:
        passphrase.hashed(text, "ann")
    assert not text or text not in str(found.value)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return AccessFile(tmp_path)


def with_ann(directory):
    return add_user(directory, "ann", "Ann Berg", ["operator"], **BY)


def test_a_file_that_is_not_there_holds_nobody(file):
    assert file.load() == Directory()
    assert file.current()[0] == Directory()
    assert not file.path.exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_is_its_owners_only(file, umask):
    old = os.umask(umask)
    try:
        file.change(with_ann)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["users.json"]


def test_what_is_written_is_read_back_whole(file):
    issued = []

    def how(directory):
        issued.append(issue(with_ann(directory), "ann", "operator", **BY))
        return users.set_passphrase(issued[0].directory, "ann", "scrypt$1$a$b", **BY)

    assert file.load() != (changed := file.change(how))
    assert AccessFile(file.path.parent).load() == changed
    assert issued[0].text.rsplit("_", 1)[1] not in file.path.read_text()


def test_a_change_by_another_process_is_seen_and_only_then_is_the_file_read(file, monkeypatch):
    other = AccessFile(file.path.parent)
    assert file.current()[0].users == ()
    other.change(with_ann)
    reads = []
    monkeypatch.setattr(access_file.os, "fdopen", lambda *args, call=os.fdopen: reads.append(1) or call(*args))
    assert [user.name for user in file.current()[0].users] == ["ann"]
    assert file.current()[0] is file.current()[0]
    assert reads == [1]
    file.path.unlink()
    assert file.current()[0].users == ()


def test_a_change_that_fails_changes_nothing(file):
    file.change(with_ann)
    before = file.path.read_bytes()
    with pytest.raises(AccessError, match="this user is there"):
        file.change(with_ann)
    assert file.path.read_bytes() == before
    assert [path.name for path in file.path.parent.iterdir()] == ["users.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_file_that_others_may_read_or_write_is_refused(file, mode):
    file.change(with_ann)
    file.current()
    file.path.chmod(mode)
    for refused in (file.load, file.current, lambda: file.change(with_ann)):
        with pytest.raises(AccessFileError, match=f"found mode {mode:04o}, allowed 0600"):
            refused()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be understood"),
        ("{", "cannot be understood"),
        ('{"version": 2}', "found version 2, allowed 1"),
        ('{"version": "1"}', "cannot be understood: version"),
        ('{"users": [{"name": "ann"}]}', "cannot be understood: users.0.full_name"),
        ('{"admins": []}', "cannot be understood: admins"),
    ],
)
def test_a_damaged_file_lets_nobody_in(file, text, said):
    file.path.write_text(text)
    file.path.chmod(0o600)
    with pytest.raises(AccessFileError, match=re.escape(said)):
        file.current()
    with pytest.raises(AccessFileError):
        file.change(with_ann)
    assert file.path.read_text() == text


def test_a_secret_in_a_damaged_file_is_not_told(file):
    file.path.write_text('{"users": [{"name": "ann", "passphrase": 5, "tokens": "SECRET"}]}')
    file.path.chmod(0o600)
    with pytest.raises(AccessFileError) as found:
        file.load()
    assert "SECRET" not in str(found.value)


def test_what_is_no_file_is_refused(tmp_path, file, monkeypatch):
    file.path.symlink_to("/dev/null")
    with pytest.raises(AccessFileError, match="no link"):
        file.load()
    file.path.unlink()
    os.mkfifo(file.path, 0o600)
    with pytest.raises(AccessFileError, match="is no file"):
        file.load()
    file.path.unlink()
    file.change(with_ann)
    monkeypatch.setattr(access_file, "FILE_BYTES_MAX", 100)
    with pytest.raises(AccessFileError, match="allowed: up to 100"):
        file.load()
    with pytest.raises(AccessFileError, match="cannot be opened"):
        AccessFile(tmp_path / "nowhere").change(with_ann)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in the name of another user")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(file):
    os.chown(file.path.parent, 65_534, 65_534)
    file.change(with_ann)
    assert (file.path.stat().st_uid, stat.S_IMODE(file.path.stat().st_mode)) == (65_534, 0o600)


def add_some(folder, first):
    for number in range(first, first + 10):
        name = f"user{number}"
        AccessFile(Path(folder)).change(lambda held, name=name: add_user(held, name, name, ["operator"], **BY))


def test_processes_that_change_it_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(access_file, "LOCK_WAIT_S", 60.0)  # no turns are kept, and a disk that others use is slow
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_some, args=(tmp_path, first)) for first in (100, 200, 300)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    directory = AccessFile(tmp_path).load()
    assert len(directory.users) == 30
    assert [change.number for change in directory.changes] == list(range(1, 31))


def test_a_lock_that_is_held_is_not_waited_for_for_ever(file, monkeypatch):
    monkeypatch.setattr(access_file, "LOCK_WAIT_S", 0.05)
    other = AccessFile(file.path.parent)

    def how(directory):
        with pytest.raises(AccessFileError, match="another process changes it"):
            other.change(with_ann)
        return with_ann(directory)

    assert len(file.change(how).users) == 1


# --- linegate user ---------------------------------------------------------------------------------------------------


@pytest.fixture
def linegate(tmp_path, capsys):
    def run(*words):
        code = main(["user", *words, "--state-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_from_a_new_user_to_a_revoked_one(linegate, tmp_path):
    assert linegate("list")[1].startswith("nobody; add the first: linegate user add")
    code, out, err = linegate("add", "ann", "--full-name", "Ann Berg", "--role", "operator", "--role", "setter")
    assert (code, out, err) == (0, "ann is added; next: linegate user token ann --role operator\n", "")
    code, token, err = linegate("token", "ann", "--role", "setter", "--days", "7")
    assert code == 0
    assert "it is not shown again" in err
    file = AccessFile(tmp_path)
    added_ns = file.load().users[0].added_ns
    bearer = file.current()[1].identify(token.strip(), added_ns)
    assert (bearer.user, bearer.role) == ("ann", ActorRole.SETTER)
    code, out, _ = linegate("list", "--json")
    (shown,) = json.loads(out)
    assert (shown["name"], shown["roles"], shown["can_sign"]) == ("ann", ["operator", "setter"], False)
    assert [(one["id"], one["state"]) for one in shown["tokens"]] == [(bearer.token_id, "valid")]
    assert token.strip().rsplit("_", 1)[1] not in out
    assert f"token {bearer.token_id}  setter  valid" in linegate("list")[1]
    code, out, _ = linegate("revoke", "ann", "--token", bearer.token_id, "--reason", "lost")
    assert (code, out) == (0, f"token {bearer.token_id} of ann is revoked\n")
    assert file.current()[1].identify(token.strip(), added_ns).code == "REVOKED"
    assert linegate("roles", "ann", "--role", "quality", "--reason", "moved")[0] == 0
    assert linegate("revoke", "ann", "--reason", "left")[:2] == (0, "ann is revoked\n")
    assert "ann" in linegate("list")[1]
    assert "revoked 20" in linegate("list")[1]
    assert all(change.by for change in file.load().changes)


FIRST = """
gateway: {{ id: box-1, plant: P1, timezone: UTC, state_dir: {folder} }}
sources:
  pins: {{ driver: digital_io, pins: simulated, signals: {{ piece: {{ pin: 17 }} }} }}
work_units:
  M-1: {{ work_center: WC-1, ideal_cycle: 2 s, counters: [{{ mode: pulse, signal: pins.piece }}] }}
connectors:
  share: {{ connector: file, folder: share }}
"""


def test_the_first_user_is_added_before_the_first_start(tmp_path, capsys):
    config = tmp_path / "linegate.yaml"
    folder = tmp_path / "state"
    config.write_text(FIRST.format(folder=folder))
    words = ["ann", "--full-name", "Ann", "--role", "operator", "-c", str(config)]
    assert main(["user", "list", "-c", str(config)]) == 0
    assert not folder.exists(), "who only looks makes nothing"
    assert main(["user", "add", *words]) == 0, capsys.readouterr().err
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [user.name for user in AccessFile(folder).load().users] == ["ann"]
    config.write_text(FIRST.format(folder=tmp_path / "nowhere" / "state"))
    capsys.readouterr()
    assert main(["user", "add", *words]) == 1
    assert "nowhere does not exist; create it, or correct gateway.state_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "Ann", "--full-name", "A", "--role", "operator"), "linegate: name: found 'Ann'"),
        (("token", "bob", "--role", "operator"), "linegate: name: found 'bob': there is no such user"),
        (("revoke", "bob", "--reason", "x"), "linegate: name: found 'bob'"),
        (("revoke", "ann", "--reason", " "), "linegate: reason: found nothing"),
        (("revoke", "ann", "--token", "ffff", "--reason", "x"), "linegate: token: ann has none of the id 'ffff'"),
        (("token", "ann", "--role", "quality"), "linegate: role: found 'quality', allowed for ann: operator"),
        (("token", "ann", "--role", "operator", "--days", "0"), "linegate: days: found 0"),
    ],
)
def test_what_the_command_refuses(linegate, words, said):
    linegate("add", "ann", "--full-name", "Ann", "--role", "operator")
    code, out, err = linegate(*words)
    assert (code, out) == (1, "")
    assert err.startswith(said)


def test_the_passphrase_is_read_from_standard_input(linegate, tmp_path, monkeypatch, tmp_path_factory):
    linegate("add", "ann", "--full-name", "Ann", "--role", "quality")
    typed = tmp_path_factory.mktemp("typed") / "words"

    def given(text, *words):
        typed.write_text(text)
        with typed.open() as stream:
            monkeypatch.setattr("sys.stdin", stream)
            return linegate("passphrase", "ann", *words)

    assert given(f"{WORDS}\n") == (0, "ann can sign\n", "")
    (user,) = AccessFile(tmp_path).load().users
    assert passphrase.matches(WORDS, user.passphrase)
    assert given("another passphrase\n")[2].startswith("linegate: reason: found nothing")
    assert given("another passphrase\n", "--reason", "forgot")[0] == 0
    assert given("short\n", "--reason", "x")[2].startswith("linegate: passphrase: found 5 characters")
    assert json.loads(linegate("list", "--json")[1])[0]["can_sign"] is True


def test_the_command_knows_all_roles():
    assert tuple(ActorRole) == ROLES
