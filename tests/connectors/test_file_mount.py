"""A mounted share that goes away and comes back: a real mount, which only root can make."""

import os
import shutil
import subprocess

import pytest

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN, handover
from gateway.connectors.file.settings import FileSettings


@pytest.fixture
def mount(tmp_path):
    """A folder that is mounted at ``share``, whose mount point has folders of the same names."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a share that is mounted: not run, only root can mount")
    server, point = tmp_path / "server", tmp_path / "share"
    for folder in (server, point):
        for name in ("orders", "confirmations"):
            (folder / name).mkdir(parents=True)
    (server / ".linegate").touch()

    class Mount:
        files = server / "confirmations"
        below = point / "confirmations"

        def up(self):
            made = subprocess.run(["mount", "--bind", server, point], check=False, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"a share that is mounted: not run, {made.stderr.strip()}")

        def down(self, *options):
            subprocess.run(["umount", *options, point], check=True, capture_output=True)

    mount = Mount()
    mount.up()
    yield mount
    subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


@pytest.mark.parametrize("ack", ["none", "moved", "deleted"])
async def test_a_share_that_goes_away_is_noticed_and_used_again(mount, context, document, ack):
    settings = FileSettings(connector="file", folder="share", ack=ack, marker_file=".linegate")
    connector = PLUGIN.build(settings, context())
    sent = []
    for seq in (1, 2):
        image = document(seq)
        rendered = connector.render(image)
        sent.append(Posting(image["idempotency_key"], image["confirmation_id"], "100240", "0010", seq, 1, rendered))
    first, second = sent
    assert (await connector.send(first)).kind is OutcomeKind.ACCEPTED
    mount.down()
    outcome = await connector.send(second)
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "the share is not mounted" in outcome.detail
    found = await connector.lookup(first)
    assert found.kind is LookupKind.UNKNOWN, "absence below a mount point proves nothing"
    assert not (await connector.probe()).ok
    with pytest.raises(ConnectorError, match="not mounted"):
        await connector.fetch_orders("")
    assert list(mount.below.iterdir()) == [], "written below the mount point"
    mount.up()
    assert (await connector.lookup(first)).kind is LookupKind.ACCEPTED
    assert (await connector.send(first)).kind is OutcomeKind.ACCEPTED
    assert (await connector.send(second)).kind is OutcomeKind.ACCEPTED
    assert sorted(path.name for path in mount.files.glob("*.csv")) == sorted(one.rendered.name for one in sent)
    await connector.close()


async def test_a_share_that_goes_away_while_a_file_is_written(mount, context, document, monkeypatch):
    connector = PLUGIN.build(FileSettings(connector="file", folder="share", marker_file=".linegate"), context())
    image = document(1)
    one = Posting(image["idempotency_key"], image["confirmation_id"], "100240", "0010", 1, 1, connector.render(image))
    given = handover.give

    def gone(*values):
        mount.down("--lazy")
        given(*values)

    with monkeypatch.context() as patched:
        patched.setattr(handover, "give", gone)
        outcome = await connector.send(one)
    assert outcome.kind is OutcomeKind.UNCERTAIN, "it lies below the mount point"
    assert "the share went away" in outcome.detail
    assert (await connector.lookup(one)).kind is LookupKind.UNKNOWN
    mount.up()
    assert (await connector.lookup(one)).kind is LookupKind.ABSENT
    assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    assert [path.name for path in mount.files.glob("*.csv")] == [one.rendered.name]
    await connector.close()
