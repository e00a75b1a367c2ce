"""Makes the API of one run from its settings, and starts and ends it. Decides nothing about requests."""

from __future__ import annotations

from collections import ChainMap
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import structlog

from gateway import __version__
from gateway.access.access_file import AccessFile
from gateway.api.body import BodyLimits
from gateway.api.certificate import Certificate, CertificateError
from gateway.api.changes import Changes
from gateway.api.gate import Gate
from gateway.api.identity import Identity
from gateway.api.rate import RateLimit
from gateway.api.reads import Reads
from gateway.api.replays import Replays
from gateway.api.routes import ROUTES
from gateway.api.server import IDLE_CONNECTIONS_MAX, ApiError, ApiServer, Listening
from gateway.api.service import Answering, Service
from gateway.lock import DATABASE_NAME

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping

    from buffer.store import Store
    from config.api_settings import ApiSettings
    from config.settings import Settings
    from gateway.api.identity import OnRefused
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.tasks import Tasks

    LooksAfter = Callable[[], Coroutine[None, None, None]]
    from gateway.timing.clock import SteadyClock

TASK: Final = "outer api"
CERTIFICATE_TASK: Final = "outer api certificate"
#: A little more than the server itself allows for requests under way.
CLOSE_S: Final = 3.0

log = structlog.get_logger(__name__)


class Api:
    """The API of one run."""

    def __init__(self, server: ApiServer, changes: Changes, replays: Replays, looks: LooksAfter | None) -> None:
        self._server = server
        self._looks = looks
        self._changes = changes
        self._replays = replays

    async def start(self, tasks: Tasks) -> None:
        """Serve as a task of the gateway, with the answers that were given before. Raises StoreError."""
        await self._replays.recall()
        tasks.start(TASK, self._server.run())
        if self._looks is not None:
            tasks.start(CERTIFICATE_TASK, self._looks())
        host, port = self._server.address
        shown = f"[{host}]" if ":" in host else host
        log.info("api listens", address=f"{'http' if self._looks is None else 'https'}://{shown}:{port}")

    async def close(self, tasks: Tasks) -> None:
        """Take no request any more; those under way may end."""
        self._changes.close()
        await self._server.close()
        await tasks.finish([TASK], CLOSE_S)


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
    changes = Changes(clock.now_ns(), clock.utc_ns, parts.runners)
    parts.watchers.append(changes)
    verbs = ChainMap(reads.table(), changes.table(), cast("dict[str, Verb]", table))
    replays = Replays(api.idempotency_keep, clock.now_ns, store)
    certificate = _certificate(settings, api)
    tls = None if certificate is None else certificate.context
    server = ApiServer(_app(settings, api, clock, verbs, on_refused, replays), _listening(api, tls))
    server.start()
    looks = None if certificate is None else partial(certificate.run, parts.trouble, clock.utc_now_ns)
    return Api(server, changes, replays, looks)


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
        failures=RateLimit(api.refusals_per_minute, clock.now_ns),
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
        waiting_max=api.waiting_requests,
        waiting_per_token=api.waiting_per_token,
    )


def _listening(api: ApiSettings, tls: ssl.SSLContext | None) -> Listening:
    return Listening(
        host=api.listen,
        port=api.port,
        tls=tls,
        header_bytes_max=int(api.max_header),
        head_timeout_ns=api.request_timeout,
        connections_max=api.concurrent_requests + api.waiting_requests + IDLE_CONNECTIONS_MAX,
    )


def _certificate(settings: Settings, api: ApiSettings) -> Certificate | None:
    if api.tls is None:
        return None
    try:
        return Certificate(settings.base_dir, api.tls)
    except CertificateError as error:
        raise ApiError(f"{settings.place('api.tls')}: {error}") from error
