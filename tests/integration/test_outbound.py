"""The client for foreign addresses against receivers that misbehave."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.outbound import Answer, Limits, NoAnswer, Outbound, is_public
from tests.receiver import Received, answer, receiving

QUICK = Limits(connect_s=1.0, total_s=1.0, body_s=0.3, body_bytes=1_000)


class Names(AbstractResolver):
    """A name server that gives its next answer to each question, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def anywhere(_: str) -> bool:
    return True


async def post(
    url: str, admits: Callable[[str], bool] = anywhere, limits: Limits = QUICK, names: Names | None = None
) -> Answer:
    async with Outbound(admits, limits, names) as outbound:
        return await outbound.post(URL(url), b"{}", {})


async def failing(
    url: str, admits: Callable[[str], bool] = anywhere, limits: Limits = QUICK, names: Names | None = None
) -> str:
    with pytest.raises(NoAnswer) as raised:
        await post(url, admits, limits, names)
    return raised.value.failing


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
async def test_this_machine_is_not_connected_to_however_it_is_written(host: str) -> None:
    async with receiving() as receiver:
        assert await failing(receiver.url(host=host), is_public) in ("address_refused", "dns", "connect")
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::ffff:127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "fe80::1", "64:ff9b::7f00:1"]
)
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    async with receiving() as receiver:
        names = Names([address])
        assert await failing(receiver.url(host="hooks.example.com"), is_public, names=names) == "address_refused"
        assert receiver.connections == 0


async def test_an_ipv4_address_inside_of_an_ipv6_one_is_refused() -> None:
    async with receiving() as receiver:
        assert await failing(receiver.url(host="[::ffff:7f00:1]"), is_public) == "address_refused"
        assert receiver.connections == 0


async def test_every_connection_is_checked_not_only_the_first_answer_of_the_name_server() -> None:
    """127.0.0.2 stands for the public internet here."""
    async with receiving() as receiver:
        names = Names(["127.0.0.2"], ["127.0.0.1"])
        server = await asyncio.start_server(receiver.serve, "127.0.0.2", receiver.port)
        async with Outbound(lambda host: host == "127.0.0.2", QUICK, names) as outbound:
            url = URL(receiver.url(host="hooks.example.com"))
            assert (await outbound.post(url, b"{}", {})).status == 200
            await asyncio.sleep(2)  # until the idle connection is closed
            outbound._session.connector.clear_dns_cache()  # type: ignore[union-attr]
            with pytest.raises(NoAnswer, match="address_refused"):
                await outbound.post(url, b"{}", {})
        server.close()
        assert (names.asked, receiver.connections) == (2, 1)


async def test_of_several_addresses_only_those_outside_are_tried() -> None:
    async with receiving() as receiver:
        names = Names(["10.0.0.1", "127.0.0.1", "::1"])
        answered = await post(receiver.url(host="hooks.example.com"), lambda host: host == "127.0.0.1", names=names)
        assert answered.status == 200


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with receiving() as inside, receiving() as receiver:

        async def redirect(_: Received) -> bytes:
            return answer(302, b"", Location=inside.url("/admin"))

        receiver.answering = redirect
        assert (await post(receiver.url())).status == 302
        assert (inside.connections, len(receiver.received)) == (0, 1)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        monkeypatch.setenv("ALL_PROXY", proxy.url(""))
        assert (await post(receiver.url())).status == 200
        assert (proxy.connections, receiver.connections) == (0, 1)


async def test_a_huge_answer_is_cut_and_its_connection_closed() -> None:
    async def huge(_: Received) -> bytes:
        return answer(200, b"x" * 50_000_000)

    async with receiving(huge) as receiver, Outbound(anywhere, QUICK) as outbound:
        for _ in range(2):
            answered = await outbound.post(URL(receiver.url()), b"{}", {})
            assert (answered.status, answered.body) == (200, b"x" * 1_000)
        assert receiver.connections == 2


async def test_a_small_answer_leaves_the_connection_for_the_next() -> None:
    async with receiving() as receiver, Outbound(anywhere, QUICK) as outbound:
        for _ in range(5):
            assert (await outbound.post(URL(receiver.url()), b"{}", {})).body == b"ok"
        assert receiver.connections == 1


async def test_a_compressed_bomb_is_not_inflated() -> None:
    async def bomb(_: Received) -> bytes:
        return answer(200, b"\x1f\x8b" + b"\0" * 100, Content_Encoding="gzip")

    async with receiving(bomb) as receiver:
        answered = await post(receiver.url())
        assert len(answered.body) == 102
        assert receiver.received[0].headers["accept-encoding"] == "identity"


def raw(begin: bytes, again: bytes, pause_s: float) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    """A server that says something, and then something again and again."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        try:
            while True:
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    return serve


@pytest.mark.parametrize(
    ("begin", "again", "pause_s", "found"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 10_000, 0.0, 200),  # endless
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"y", 0.05, 200),  # slow to say what is of no interest
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n", 0.05, 200),
        (b"HTTP/1.1 200 O", b"O", 0.05, "timeout"),  # never comes to its status
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.0, "invalid_answer"),  # endless headers
        (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 1_000, 0.0, "invalid_answer"),  # an endless header
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02, "timeout"),
        (b"", b"SSH-2.0-OpenSSH_9.6\r\n", 0.02, "invalid_answer"),
    ],
)
async def test_answers_without_end_end(begin: bytes, again: bytes, pause_s: float, found: int | str) -> None:
    server = await asyncio.start_server(raw(begin, again, pause_s), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    async with server:
        url = f"http://127.0.0.1:{port}/"
        if isinstance(found, int):
            answered = await post(url, limits=Limits(total_s=30, body_s=0.3, body_bytes=1_000))
            assert (answered.status, len(answered.body) <= 1_000) == (found, True)
        else:
            assert await failing(url) == found
    assert time.monotonic() - began < 10


async def test_whoever_never_answers_hangs_up_or_is_not_there_is_told_apart() -> None:
    async def never(_: Received) -> bytes:
        await asyncio.sleep(60)
        return b""

    async def hang_up(_: Received) -> bytes:
        raise ConnectionError

    async with receiving() as receiver:
        url = receiver.url()
        for answering, found in ((never, "timeout"), (hang_up, "disconnected")):
            receiver.answering = answering
            assert await failing(url) == found
    assert await failing(url) == "connect"
    assert await failing("http://does-not-exist.invalid/") == "dns"


async def test_tls_is_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    names = Names(["127.0.0.1"])
    for issuer, name, found in (
        (ours, "hooks.example.com", 200),
        (theirs, "hooks.example.com", "tls"),
        (ours, "other.example.com", "tls"),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(name).configure_cert(context)
        async with receiving(tls=context) as receiver:
            url = receiver.url(host="hooks.example.com", scheme="https")
            if found == 200:
                assert (await post(url, names=names)).status == 200
            else:
                assert await failing(url, names=names) == found
                assert receiver.received == []
