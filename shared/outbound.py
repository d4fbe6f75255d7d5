"""Requests to foreign addresses, such as those of webhooks: to the public internet only, and never for long.

* The address is checked at the moment of connecting, for every connection: what a name led to before, a number in odd
  notation or a second answer of the name server cannot lead inside.
* Redirects are not followed, proxies and cookies of the environment are not used, TLS certificates are verified.
* There is a limit to the time that connecting takes, to that of the whole exchange, and to what is read of the answer.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Literal, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from shared.immutable import immutable

Failing = Literal["address_refused", "dns", "connect", "tls", "timeout", "disconnected", "invalid_answer"]
"""Why there was no answer."""

_LONGEST_URL = 2_000
_USER_AGENT = "Throughline/1 (+https://www.standardwebhooks.com)"
_IDLE_S = 1.5
"""Shorter than servers usually keep an idle connection, so that it does not end just as it is used again."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_V4_REFUSED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; one of them is a cloud's metadata service
        "192.88.99.0/24",  # relays from IPv6 to wherever
        "168.63.129.16/32",  # a cloud's metadata service at a public number
    )
)
_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6_REFUSED = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "3fff::/20")  # protocols and tunnels, documentation twice
)
_V6_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_V4_BITS = 0xFFFF_FFFF
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(host: str) -> bool:
    """Whether the address (no name) is one of the public internet, also when it carries an IPv4 address inside."""
    return _public(ipaddress.ip_address(host))


def is_public_or_local(host: str) -> bool:
    """The same, or an address of this machine or of a private network; for development."""
    address = _inner(ipaddress.ip_address(host))
    return _public(address) or any(address in network for network in _LOCAL)


def refusal_of(url: str, *, local: bool = False) -> str | None:
    """Why nothing would be sent to this URL, as far as it can be told without looking up its name; `None` when it can
    be. With `local`, addresses of this machine and private networks are fine, and so is `http`."""
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        return "must be a URL"
    if len(url) > _LONGEST_URL:
        return f"must have at most {_LONGEST_URL} characters"
    if parsed.scheme != "https" and not (local and parsed.scheme == "http"):
        return "must begin with https://"
    if not host or not port:
        return "must name a host"
    if parsed.user is not None or parsed.password is not None or parsed.fragment:
        return "must have neither user, password nor fragment"
    return None if _admits_host(host, local=local) else "must be an address of the public internet"


class NoAnswer(Exception):
    """The request may have been received or not; there is no answer to it."""

    def __init__(self, failing: Failing) -> None:
        super().__init__(failing)
        self.failing = failing


@immutable
class Answer:
    """The beginning of an answer; what `body` lacks was not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most as much as the limits say, as it came: not decompressed."""


@immutable
class Limits:
    """How long and how much."""

    connect_s: float = 5.0
    """Looking up the name, connecting, agreeing on TLS."""
    total_s: float = 15.0
    """From the beginning until the status is there."""
    body_s: float = 2.0
    """Reading of the body, which decides nothing."""
    body_bytes: int = 4_096


class _AddressRefused(OSError):
    """The address must not be connected to."""


class Outbound:
    """An HTTP client for foreign addresses, for as long as its context lasts."""

    def __init__(
        self,
        admits: Callable[[str], bool] = is_public,
        limits: Limits = Limits(),  # noqa: B008 - nobody changes it
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._admits, self._limits, self._resolver = admits, limits, resolver

    async def __aenter__(self) -> Self:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=ssl.create_default_context(),
            # Name servers that are slow to answer would fill the threads of the default one.
            resolver=self._resolver or aiohttp.AsyncResolver(),
            keepalive_timeout=_IDLE_S,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=limits.total_s, connect=limits.connect_s),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: URL, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer, whatever its status; raises `NoAnswer` when none came in time."""
        return await self._request("GET", url, None, headers or {})

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status; raises `NoAnswer` when none came in time."""
        return await self._request("POST", url, body, headers)

    async def _request(self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers, await self._beginning(response))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NoAnswer(_failing(error)) from error

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """The first bytes of the body; the connection is closed when there are more, or when they are slow to come."""
        content, parts = response.content, list[bytes]()
        try:
            # Mostly all of it came with the headers, and nothing has to be waited for.
            parts.append(content.read_nowait(self._limits.body_bytes))
            if not content.at_eof():
                async with asyncio.timeout(self._limits.body_s):
                    await self._read_on(content, parts)
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        if not content.at_eof():
            response.close()
        return b"".join(parts)

    async def _read_on(self, content: aiohttp.StreamReader, parts: list[bytes]) -> None:
        room = self._limits.body_bytes - len(parts[0])
        while room > 0 and not content.at_eof():
            parts.append(await content.read(room))
            room -= len(parts[-1])

    def _socket(self, target: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """The socket for a connection to this very address; no other way leads to a connection."""
        family, kind, protocol, _, where = target
        if not self._admits(str(where[0])):
            raise _AddressRefused("not an address of the public internet")
        return socket.socket(family, kind, protocol)


def _failing(error: Exception) -> Failing:
    match error:
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, _AddressRefused):
            return "address_refused"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL():
            return "connect"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "invalid_answer"
        case _:
            return "disconnected"


def _admits_host(host: str, *, local: bool) -> bool:
    """Whether the host is a name, or an address that may be connected to."""
    try:
        return is_public_or_local(host) if local else is_public(host)
    except ValueError:
        return True


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for or leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and (address in _V6_TRANSLATED or (int(address) >> 32) & _V4_BITS in _ISATAP):
        inside = ipaddress.IPv4Address(int(address) & _V4_BITS)
    return inside or address


def _public(address: _Address) -> bool:
    address = _inner(address)
    if isinstance(address, ipaddress.IPv6Address):
        return address in _V6_GLOBAL and address.is_global and not any(address in net for net in _V6_REFUSED)
    special = address.is_multicast or address.is_reserved or any(address in net for net in _V4_REFUSED)
    return address.is_global and not special
