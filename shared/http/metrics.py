"""How many requests each route answers, with which status, and how fast."""

from functools import lru_cache

from litestar.types import Scope
from prometheus_client import Counter, Histogram

from shared.http.edge import Observer

_REQUESTS = Counter("throughline_http_requests_total", "Answered requests.", ["service", "method", "route", "status"])
_SECONDS = Histogram(
    "throughline_http_request_seconds",
    "Seconds until the first byte of the answer.",
    ["service", "method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

# A client can invent methods and paths; only known methods and route templates may become labels.
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_NO_ROUTE = "(none)"


def observer(service: str) -> Observer:
    """Counts the answers of one service."""

    @lru_cache(maxsize=4096)
    def counter(method: str, route: str, status: int) -> Counter:
        return _REQUESTS.labels(service, method, route, str(status))

    @lru_cache(maxsize=1024)
    def histogram(method: str, route: str) -> Histogram:
        return _SECONDS.labels(service, method, route)

    def observe(scope: Scope, status: int, seconds: float) -> None:
        method = str(scope.get("method", ""))
        method = method if method in _METHODS else "OTHER"
        route = str(scope.get("path_template", _NO_ROUTE))
        counter(method, route, status).inc()
        histogram(method, route).observe(seconds)

    return observe
