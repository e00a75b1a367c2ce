"""Makes the API of one run from its settings, and starts and ends it. Decides nothing about requests."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Final, cast

import structlog

from gateway import __version__
from gateway.access.access_file import AccessFile
from gateway.api.body import BodyLimits
from gateway.api.certificate import CertificateError, tls_context
from gateway.api.gate import Gate
from gateway.api.identity import FAILURES_PER_MINUTE, Identity
from gateway.api.rate import RateLimit
from gateway.api.reads import Reads
from gateway.api.replays import Replays
from gateway.api.routes import ROUTES
from gateway.api.server import IDLE_CONNECTIONS_MAX, ApiError, ApiServer, Listening
from gateway.api.service import Answering, Service
from gateway.lock import DATABASE_NAME

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from buffer.store import Store
    from config.api_settings import ApiSettings
    from config.settings import Settings
    from gateway.api.identity import OnRefused
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.tasks import Tasks

TASK: Final = "outer api"
#: A little more than the server itself allows for requests under way.
CLOSE_S: Final = 3.0

log = structlog.get_logger(__name__)


class Api:
    """The API of one run."""

    def __init__(self, server: ApiServer, reads: Reads, replays: Replays, where: str) -> None:
        self._server = server
        self._reads = reads
        self._replays = replays
        self._where = where

    async def start(self, tasks: Tasks) -> None:
        """Serve as a task of the gateway, with the answers that were given before. Raises StoreError."""
        await self._replays.recall()
        tasks.start(TASK, self._server.run())
        log.info("api listens", address=self._where)

    async def close(self, tasks: Tasks) -> None:
        """Take no request any more; those under way may end."""
        await self._server.close()
        await tasks.finish([TASK], CLOSE_S)
        self._reads.close()


def api_of(
    settings: Settings,
    api: ApiSettings,
    parts: Parts,
    store: Store,
    clock: SteadyClock,
    table: Mapping[str, Verb],
    on_refused: OnRefused,
) -> Api:
    """The API with its port taken. ``table``: the gateway's verbs, looked into with each request.

    ``on_refused`` hears of everybody whom the gateway does not know, or whose role may not do what he asks for.

    Raises ApiError: a certificate that cannot be used, a port that is taken.
    """
    reads = Reads(parts, clock, settings.gateway.state_dir / DATABASE_NAME)
    verbs = ChainMap(reads.table(), cast("dict[str, Verb]", table))
    replays = Replays(api.idempotency_keep, clock.now_ns, store)
    server = ApiServer(_app(settings, api, clock, verbs, on_refused, replays), _listening(settings, api))
    server.start()
    host, port = server.address
    shown = f"[{host}]" if ":" in host else host
    return Api(server, reads, replays, f"{'http' if api.tls is None else 'https'}://{shown}:{port}")


def _app(
    settings: Settings,
    api: ApiSettings,
    clock: SteadyClock,
    verbs: Mapping[str, Verb],
    on_refused: OnRefused,
    replays: Replays,
) -> Gate:
    identity = Identity(
        AccessFile(settings.gateway.state_dir),
        clock.utc_now_ns,
        requests=RateLimit(api.requests_per_minute, clock.now_ns),
        failures=RateLimit(FAILURES_PER_MINUTE, clock.now_ns),
        on_refused=on_refused,
    )
    service = Service(
        ROUTES,
        verbs,
        identity=identity,
        replays=replays,
        limits=Answering(BodyLimits(int(api.max_body), api.request_timeout), api.request_timeout),
        version=__version__,
    )
    return Gate(
        service,
        hosts=(api.listen, *api.hosts),
        concurrent_max=api.concurrent_requests,
        head_bytes_max=int(api.max_header),
    )


def _listening(settings: Settings, api: ApiSettings) -> Listening:
    return Listening(
        host=api.listen,
        port=api.port,
        tls=_tls(settings, api),
        header_bytes_max=int(api.max_header),
        head_timeout_ns=api.request_timeout,
        connections_max=api.concurrent_requests + IDLE_CONNECTIONS_MAX,
    )


def _tls(settings: Settings, api: ApiSettings) -> ssl.SSLContext | None:
    if api.tls is None:
        return None
    try:
        return tls_context(settings.base_dir, api.tls)
    except CertificateError as error:
        raise ApiError(f"{settings.place('api.tls')}: {error}") from error
