"""How much one caller may ask of this process: token buckets, in memory.

Three kinds of buckets: of each credential, of each merchant and environment above all of its credentials, and of each
address from which requests come without a valid credential. A request takes one token from each bucket that it falls
under, or none at all. Answers say what is left (draft-ietf-httpapi-ratelimit-headers-11).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

import structlog
from litestar.types import Scope
from prometheus_client import Counter

from shared.auth.access import Access
from shared.clock import monotonic
from shared.http.edge import RawHeader
from shared.http.problems import Problem
from shared.settings import RateLimits

_log = structlog.get_logger(__name__)

LARGEST = 50_000
"""Buckets of one kind in memory. The one that was not used for longest goes first, and is full should it come back."""
_ONE_NETWORK = 64
"""Bits of an IPv6 address that a provider gives to one customer, who may use all addresses below."""

_ROUNDING_S = 1e-6
"""What sums of times may be off by."""

_REFUSED = Counter("throughline_rate_limited_total", "Requests refused for their number.", ["service", "policy"])
_FORWARDED_FOR = b"x-forwarded-for"
_SHARED = "all who come through it share one address, and its limits"
_DETAILS = {
    "credential": "This credential has sent too many requests.",
    "merchant": "This merchant's credentials have sent too many requests together.",
    "address": "Too many requests without a valid credential came from this address.",
}


class Buckets:
    """Buckets of one size: each holds `burst` tokens when full, and gets `per_s` new ones a second.

    Of a bucket only the moment is kept at which it will be full again.
    """

    def __init__(self, policy: str, per_s: float, burst: int, largest: int = LARGEST) -> None:
        self.policy = policy
        self.header = f'"{policy}";q={burst};w={ceil(burst / per_s)}'
        self._token_s, self._empty_s = 1 / per_s, burst / per_s
        self._largest = largest
        self._full_at: dict[Hashable, float] = {}

    def wait_s(self, key: Hashable, now: float) -> float:
        """Seconds until the bucket has a token; 0 when it has one."""
        wait_s = self._full_at.get(key, now) - now + self._token_s - self._empty_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def take(self, key: Hashable, now: float) -> None:
        """One token less. Only of a bucket that has one."""
        full_at = max(now, self._full_at.pop(key, now)) + self._token_s
        if len(self._full_at) >= self._largest:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at

    def left(self, key: Hashable, now: float) -> str:
        """How many tokens there are, and the seconds within which there will be no further one."""
        free_s = self._empty_s - max(0.0, self._full_at.get(key, now) - now)
        tokens = max(0, int((free_s + _ROUNDING_S) / self._token_s))
        return f'"{self.policy}";r={tokens};t={max(1, ceil((tokens + 1) * self._token_s - free_s))}'

    def __len__(self) -> int:
        return len(self._full_at)


_Level = tuple[Buckets, Hashable]


@dataclass(frozen=True, slots=True)
class _Standing:
    levels: Sequence[_Level]
    now: float


class Limiter:
    """The buckets of one process. A refusal is the problem `RATE_LIMITED`, and takes no token."""

    def __init__(self, service: str, limits: RateLimits, timer: Callable[[], float] = monotonic) -> None:
        self._service, self._timer = service, timer
        self._credentials = {
            "api_key": _buckets("credential", limits.api_key_per_s, limits.api_key_burst),
            "installation": _buckets("credential", limits.installation_per_s, limits.installation_burst),
            "platform": _buckets("credential", limits.platform_per_s, limits.platform_burst),
        }
        self._merchants = _buckets("merchant", limits.merchant_per_s, limits.merchant_burst)
        self._addresses = _buckets("address", limits.address_per_s, limits.address_burst)
        self._noticed = False
        """Whether it was said that there is a proxy which is not believed; once is enough."""

    def admit(self, scope: Scope, access: Access) -> None:
        """A caller's request counts; raises when its credential or its merchant has none left."""
        levels: list[_Level] = []
        if (credentials := self._credentials[access.kind]) is not None:
            levels.append((credentials, access.credential_hash))
        if self._merchants is not None and access.merchant_id is not None:
            levels.append((self._merchants, (access.merchant_id, access.environment)))
        self._take(scope, levels)

    def admit_client(self, scope: Scope, client_id: str) -> None:
        """The same for an app that proves itself without a token; it may ask as often as with one."""
        credentials = self._credentials["installation"]
        self._take(scope, [] if credentials is None else [(credentials, ("client", client_id))])

    def refuse_guessing(self, scope: Scope) -> None:
        """Before a credential is looked up that may be a guess: raises when its address has guessed too often."""
        self._require(scope, self._of_address(scope))

    def count_stranger(self, scope: Scope) -> None:
        """A request without a valid credential counts; raises when there were too many from its address."""
        if not self._noticed and (proxy := unbelieved_proxy(scope)) is not None:
            self._noticed = True
            _log.warning("proxy_not_believed", address=proxy, consequence=_SHARED, remedy="FORWARDED_ALLOW_IPS")
        self._take(scope, self._of_address(scope))

    def _of_address(self, scope: Scope) -> list[_Level]:
        return [] if self._addresses is None else [(self._addresses, network_of(scope))]

    def _take(self, scope: Scope, levels: Sequence[_Level]) -> None:
        now = self._require(scope, levels)
        for buckets, key in levels:
            buckets.take(key, now)

    def _require(self, scope: Scope, levels: Sequence[_Level]) -> float:
        """The time at which all of them had a token."""
        now = self._timer()
        scope["state"][_STANDING] = _Standing(levels, now)
        for buckets, key in levels:
            wait_s = buckets.wait_s(key, now)
            if wait_s > 0:
                _REFUSED.labels(self._service, buckets.policy).inc()
                raise Problem("RATE_LIMITED", _DETAILS[buckets.policy], headers={"Retry-After": str(ceil(wait_s))})
        return now


def limit_headers(scope: Scope, _headers: list[RawHeader]) -> tuple[RawHeader, ...]:
    """What the caller may send, and what is left of it."""
    standing = scope.get("state", {}).get(_STANDING)
    if standing is None or not standing.levels:
        return ()
    policies = ", ".join(buckets.header for buckets, _ in standing.levels)
    left = ", ".join(buckets.left(key, standing.now) for buckets, key in standing.levels)
    return ((b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode()))


def network_of(scope: Scope) -> str:
    """Whose address it is: an IPv4 address, or the network of an IPv6 one."""
    client = scope.get("client")
    return _network(client[0]) if client else ""


def unbelieved_proxy(scope: Scope) -> str | None:
    """The address of a proxy that says for whom it asks without being believed; `None` where there is none.

    Of one that is believed (`FORWARDED_ALLOW_IPS`) uvicorn has put the address that it named in the place of its own.
    """
    client = scope.get("client")
    said = [value for name, value in scope["headers"] if name == _FORWARDED_FOR]
    if client is None or not said or any(client[0].encode() in value for value in said):
        return None
    return client[0]


@lru_cache(maxsize=10_000)
def _network(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _ONE_NETWORK), strict=False))


def _buckets(policy: str, per_s: float, burst: int) -> Buckets | None:
    return Buckets(policy, per_s, burst) if per_s > 0 else None


_STANDING = "rate_limits"
