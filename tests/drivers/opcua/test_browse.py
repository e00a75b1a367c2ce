"""Browsing a server that gives its children piece by piece, without end, or breaks off."""

import time

import pytest
from asyncua import ua
from asyncua.server.internal_session import InternalSession
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary
from pydantic import TypeAdapter

from drivers.opcua import PLUGIN, browse
from drivers.opcua.session import Session

#: The library's server has no such service.
BROWSE_NEXT = ua.NodeId(ua.ObjectIds.BrowseNextRequest_Encoding_DefaultBinary)


class Pages:
    """The references of the objects folder, one an answer."""

    def __init__(self, references, *, again=False, status=ua.StatusCodes.Good):
        self.references = references
        self.again = again
        self.status = status
        self.asked = 0
        self.released = 0

    def _page(self):
        number = self.asked % len(self.references) if self.again else self.asked
        self.asked += 1
        more = self.again or self.asked < len(self.references)
        return [
            ua.BrowseResult(
                StatusCode=ua.StatusCode(self.status if self.asked > 1 else 0),
                ContinuationPoint=b"more" if more else None,
                References=[self.references[number]],
            )
        ]

    def next_page(self, parameters):
        if parameters.ReleaseContinuationPoints:
            self.released += 1
            return [ua.BrowseResult()]
        return self._page()


@pytest.fixture
async def session(server, tmp_path):
    settings = TypeAdapter(PLUGIN.settings).validate_python(
        {
            "driver": "opcua",
            "endpoint": f"opc.tcp://127.0.0.1:{server.port}",
            "security": "none",
            "signals": {"x": {"node": "i=2257"}},
        }
    )
    session = Session(settings, tmp_path, now_ns=time.time_ns)
    await session.open()
    yield session
    await session.close()


@pytest.fixture
def paged(server, monkeypatch):
    async def objects():
        return await server._server.nodes.objects.get_references(refs=33, direction=ua.BrowseDirection.Forward)

    references = server.call(objects())
    ordinary, process = InternalSession.browse, UaProcessor._process_message

    def serve(**how):
        pages = Pages(references, **how)

        async def first(self, parameters):
            if len(parameters.NodesToBrowse) == 1 and parameters.NodesToBrowse[0].NodeId == ua.NodeId(85):
                return pages._page()
            return await ordinary(self, parameters)

        async def processed(self, typeid, requesthdr, seqhdr, body):
            if typeid != BROWSE_NEXT:
                return await process(self, typeid, requesthdr, seqhdr, body)
            response = ua.BrowseNextResponse()
            response.Parameters.Results = pages.next_page(struct_from_binary(ua.BrowseNextParameters, body))
            self.send_response(requesthdr.RequestHandle, seqhdr, response)
            return True

        monkeypatch.setattr(InternalSession, "browse", first)
        monkeypatch.setattr(UaProcessor, "_process_message", processed)
        return pages

    return serve


async def test_children_in_many_answers_are_all_found(session, paged):
    at_once = [child.node for child in await session.browse(None)]
    pages = paged()
    assert [child.node for child in await session.browse(None)] == at_once
    assert (pages.asked, pages.released) == (len(at_once), 0)
    assert len(at_once) > 2


async def test_a_server_that_always_announces_more_is_left(session, paged, monkeypatch):
    monkeypatch.setattr(browse, "PAGES_MAX", 7)
    pages = paged(again=True)
    with pytest.raises(ConnectionError, match="i=85: 7 answers brought 7 children, and the server announces more"):
        await session.browse(None)
    assert (pages.asked, pages.released) == (7, 1)


async def test_a_list_that_breaks_off_is_not_taken_for_the_whole(session, paged):
    paged(status=ua.StatusCodes.BadContinuationPointInvalid)
    with pytest.raises(ConnectionError, match="i=85: after 1 children BadContinuationPointInvalid"):
        await session.browse(None)
