"""Every service's HTTP app is made here, so that all of them answer, refuse, measure and protect alike."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

from litestar import Litestar
from litestar.types import ControllerRouterHandler, Middleware

from shared.auth.grants import GrantsCopy
from shared.auth.guard import authentication, version_header
from shared.http.bodies import DEFAULT_BODY_LIMIT
from shared.http.edge import edge
from shared.http.health import Health, health_routes
from shared.http.limits import Limiter, limit_headers
from shared.http.metrics import observer
from shared.http.openapi import describe
from shared.http.options import with_all_methods
from shared.http.problems import EXCEPTION_HANDLERS
from shared.http.reference import reference_routes
from shared.http.security import cors_headers, security_headers, with_preflight
from shared.settings import Settings

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def http_app(
    *,
    service: str,
    controllers: Sequence[ControllerRouterHandler],
    health: Health,
    lifespan: Sequence[Lifespan],
    settings: Settings,
    grants: GrantsCopy | None = None,
    body_limit: int = DEFAULT_BODY_LIMIT,
    middleware: Sequence[Middleware] = (),
) -> Litestar:
    """The app of one service: its controllers, probes, metrics, reference and the pages of the problems.

    With `grants`, every route needs a credential unless its handler is `opt=OPEN`, and the app is ready once the copy
    has caught up; a lifespan of the service runs it (`grants.running(pool)`). `middleware` runs before authentication.
    """
    limiter = Limiter(service, settings.rate_limits)
    document = cache(lambda: describe(f"Throughline {service}", controllers))
    app = Litestar(
        route_handlers=[*controllers, *health_routes(health), *reference_routes(lambda: [document()])],
        middleware=[
            *middleware,
            *([authentication(grants, settings.public_base_url, limiter)] if grants is not None else []),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=list(lifespan),
        request_max_body_size=body_limit,
        openapi_config=None,
        logging_config=None,
    )
    app.state.openapi_document = document
    header_makers = (version_header, limit_headers, cors_headers, security_headers(settings.public_base_url))
    handler = with_all_methods(app.asgi_handler, app.routes)
    if grants is not None:
        _watch(health, grants)
        handler = with_preflight(handler, grants.origin_is_listed, limiter)
    app.asgi_handler = edge(handler, header_makers, observer(service))
    return app


def openapi_of(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document of an app that `http_app` made."""
    document: dict[str, Any] = app.state.openapi_document()
    return document


def _watch(health: Health, grants: GrantsCopy) -> None:
    health.add_readiness("grants", grants.not_ready)
    health.add_liveness("grants", grants.stalled)
