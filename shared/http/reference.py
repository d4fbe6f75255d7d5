"""The API reference, its document and the pages of the problems; everything is served from here and works offline.

The bundled viewer knows OpenAPI 3.0 only, so it is given the document in those words; `/openapi.json` is the real one.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp
from swagger_ui_bundle import swagger_ui_path

from shared.auth.guard import OPEN
from shared.http.answers import to_json
from shared.http.edge import edge
from shared.http.html import PAGE_POLICY, problem_page, problems_page, reference_page
from shared.http.merging import as_openapi_30, merge_openapi
from shared.http.metrics import observer
from shared.http.problem_codes import code_of
from shared.http.problems import EXCEPTION_HANDLERS, not_found
from shared.http.security import security_headers

Documents = Callable[[], Sequence[dict[str, Any]]]
"""The documents of the services; asked once, when the reference is first opened."""

TITLE = "Throughline API"

_OWN = {"reference.css": "text/css", "pages.css": "text/css", "reference.js": "text/javascript"}
_BUNDLED = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_VIEWER_DOCUMENT = "openapi-3.0.json"
_A_DAY = {"Cache-Control": "public, max-age=86400"}


def reference_app(documents: Callable[[], list[dict[str, Any]]], public_base_url: str = "") -> ASGIApp:
    """An app of its own for a gateway: `/docs`, `/docs-assets/*`, `/openapi.json`, `/problems` and `/problems/*`."""
    app = Litestar(
        route_handlers=reference_routes(documents),
        openapi_config=None,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
    )
    app.asgi_handler = edge(app.asgi_handler, (security_headers(public_base_url),), observer("reference"))
    return app


def reference_routes(documents: Documents) -> list[HTTPRouteHandler]:
    """The handlers of the reference; open to everybody."""

    @cache
    def document() -> dict[str, Any]:
        return merge_openapi(*documents(), title=TITLE)

    @get("/openapi.json", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def openapi_json() -> Response[bytes]:
        return Response(to_json(document()), media_type="application/json")

    @get("/docs", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def docs() -> Response[str]:
        return _html(reference_page(TITLE))

    @get("/docs-assets/{name:str}", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def docs_asset(name: FromPath[str]) -> Response[bytes]:
        if name == _VIEWER_DOCUMENT:
            return Response(to_json(as_openapi_30(document())), media_type="application/json")
        content, media_type = _asset(name)
        return Response(content, media_type=media_type, headers=_A_DAY)

    @get("/problems", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def problems() -> Response[str]:
        return _html(problems_page())

    @get("/problems/{slug:str}", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def problem(slug: FromPath[str]) -> Response[str]:
        code = code_of(slug)
        if code is None:
            raise not_found("There is no problem of this name.")
        return _html(problem_page(code))

    return [openapi_json, docs, docs_asset, problems, problem]


@cache
def _asset(name: str) -> tuple[bytes, str]:
    if name in _OWN:
        return resources.files("shared.http").joinpath("assets", name).read_bytes(), _OWN[name]
    if name in _BUNDLED:
        return (swagger_ui_path / name).read_bytes(), _BUNDLED[name]
    raise not_found()


def _html(page: str) -> Response[str]:
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})
