"""Who may call, over a real HTTP server: every refused credential looks alike, every missing right is named."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import uvicorn
from litestar import Controller, get, post
from litestar.params import FromPath
from litestar.response import Response

from shared.auth import (
    GRANTS_TABLE,
    SIGNING_KEYS_TABLE,
    ApiRequest,
    GrantsCopy,
    hash_credential,
    new_api_key,
    platform_only,
    requires,
)
from shared.auth.table import GrantRecord, save_records
from shared.contracts.access import CredentialsUsed, Grant
from shared.faults import Transient
from shared.http.answers import one, one_bytes
from shared.http.app import http_app
from shared.http.bodies import RequestModel, read_body
from shared.http.health import Health
from shared.http.operations import operation
from shared.http.problems import Problem
from shared.idempotency import IDEMPOTENCY_TABLE, idempotency_key, run_idempotent
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Connection, Pool
from shared.settings import KafkaSettings, Settings
from shared.topics import ACCESS_USED
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
KEYS = {name: new_api_key("test") for name in ("writer", "reader", "revoked", "over", "platform", "unknown")}
SHOP = "https://shop.example"


class Note(RequestModel):
    text: str
    slowly: bool = False


def routes(pool: Pool) -> type[Controller]:
    class Notes(Controller):
        path = "/v1/notes"

        @get("/{note_id:str}", guards=[requires("orders.read")])
        async def read(self, request: ApiRequest, note_id: FromPath[str]) -> Response[bytes]:
            access = request.user
            return one(request, {"note_id": note_id, "merchant_id": access.merchant, "actor": access.actor})

        @post(guards=[requires("orders.write", "payments.read")])
        async def create(self, request: ApiRequest) -> Response[bytes]:
            note = await read_body(request, Note)

            async def effect(connection: Connection) -> tuple[int, bytes]:
                await connection.execute("INSERT INTO notes VALUES ($1)", note.text)
                await asyncio.sleep(1 if note.slowly else 0)
                return 201, one_bytes(request, note)

            return await run_idempotent(pool, await idempotency_key(request, request.user), NOW, effect)

        @get("/of-a-merchant", guards=[requires("orders.read", platform=True)])
        async def of_a_merchant(self, request: ApiRequest) -> Response[bytes]:
            return one(request, {"grant_id": request.user.grant_id})

        @post("/sign-in", **operation("Sign in", takes=Note, open_to_all=True))
        async def sign_in(self, request: ApiRequest) -> Response[bytes]:
            note = await read_body(request, Note)
            if note.text != "good":
                raise Problem("UNAUTHENTICATED", "Nobody has this password.")
            return one(request, note)

        @get("/all-merchants", guards=[platform_only])
        async def everything(self, request: ApiRequest) -> Response[bytes]:
            return one(request, {"grant_id": request.user.grant_id})

    return Notes


def grants() -> list[Grant]:
    def grant(name: str, **fields: Any) -> Grant:
        values = {
            "grant_id": f"key_{name}",
            "credential_hash": hash_credential(KEYS[name]),
            "kind": "api_key",
            "merchant_id": "mer_1",
            "environment": "test",
            "scopes": ("orders.write", "payments.write"),
        }
        return Grant.model_validate(values | fields)

    return [
        grant("writer", allowed_origins=(SHOP,)),
        grant("reader", scopes=("orders.read",)),
        grant("revoked", status="revoked", allowed_origins=("https://gone.example",)),
        grant("over", expires_at=NOW - timedelta(seconds=1)),
        grant("platform", kind="platform", merchant_id=None, scopes=()),
    ]


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    tables = GRANTS_TABLE + SIGNING_KEYS_TABLE + ";" + IDEMPOTENCY_TABLE + OUTBOX_TABLE + ";"
    tables += "CREATE TABLE notes (text text);"
    async with schema_with(servers.database_url, tables) as pool:
        records = [GrantRecord(grant.credential_hash, grant, 0, offset) for offset, grant in enumerate(grants())]
        await save_records(pool, records, {0: len(records)})
        yield pool


@pytest.fixture
def copy(servers: Servers) -> GrantsCopy:
    kafka = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
    return GrantsCopy(kafka, "notes", lambda: NOW, topic="grants-that-nobody-made")


@pytest.fixture
async def api(copy: GrantsCopy, pool: Pool) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_api(copy, pool, Settings()) as client:
        yield client


@asynccontextmanager
async def running_api(copy: GrantsCopy, pool: Pool, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The notes on a real HTTP server, and a client without a credential."""
    app = http_app(
        service="notes",
        controllers=[routes(pool)],
        health=Health(),
        lifespan=[lambda _: copy.running(pool)],
        settings=settings,
        grants=copy,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    await serving


def bearer(name: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"} | headers


async def test_a_credential_is_its_merchant_and_actor(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/v1/notes/n1", headers=bearer("reader"))
    assert answer.status_code == 200
    assert answer.json()["data"] == {
        "note_id": "n1",
        "merchant_id": "mer_1",
        "actor": {"type": "key", "id": "key_reader"},
    }


async def test_every_refused_credential_looks_alike(api: httpx2.AsyncClient) -> None:
    refused = [
        {},
        bearer("unknown"),
        bearer("revoked"),
        bearer("over"),
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer tl_test_short"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": KEYS["reader"]},
        {"Authorization": f"Bearer\t{KEYS['reader']}"},
        {"Authorization": b"Bearer \xa0" + KEYS["reader"].encode()},
        {"Authorization": f"Bearer {KEYS['reader']}, Bearer {KEYS['reader']}"},
        {"Authorization": f"Bearer {KEYS['reader']} {'x' * 5_000}"},
        {"Authorization": "Bearer " + " " * 5_000 + KEYS["reader"]},
    ]
    answers = [await api.get("/v1/notes/n1", headers=headers | {"X-Request-Id": "the-same-id"}) for headers in refused]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "UNAUTHENTICATED"


async def test_of_two_credentials_none_counts(api: httpx2.AsyncClient) -> None:
    """A proxy may have looked at the other one."""
    for first, second in (("reader", "reader"), ("reader", "unknown"), ("unknown", "reader")):
        headers = [("Authorization", f"Bearer {KEYS[name]}") for name in (first, second)]
        answer = await api.get("/v1/notes/n1", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer   "])
async def test_the_scheme_is_written_as_one_likes(api: httpx2.AsyncClient, scheme: str) -> None:
    answer = await api.get("/v1/notes/n1", headers={"Authorization": f"{scheme} {KEYS['reader']}"})
    assert answer.status_code == 200


async def test_what_is_missing_is_named(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/notes", headers=bearer("reader"), json={"text": "a"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "INSUFFICIENT_SCOPE"
    assert answer.json()["missing_scopes"] == ["orders.write", "payments.read"]


async def test_a_platform_sees_no_merchants_objects(api: httpx2.AsyncClient) -> None:
    refused = await api.get("/v1/notes/n1", headers=bearer("platform"))
    assert (refused.status_code, refused.json()["code"]) == (403, "NOT_ALLOWED")
    assert (await api.get("/v1/notes/all-merchants", headers=bearer("platform"))).status_code == 200
    assert (await api.get("/v1/notes/of-a-merchant", headers=bearer("platform"))).status_code == 200
    assert (await api.get("/v1/notes/of-a-merchant", headers=bearer("reader"))).status_code == 200


async def test_what_was_used_is_told_once_and_after_an_outage_later(
    api: httpx2.AsyncClient, copy: GrantsCopy, pool: Pool
) -> None:
    for name in ("reader", "reader", "platform", "unknown", "revoked"):
        await api.get("/v1/notes/n1", headers=bearer(name))
    await pool.execute("ALTER TABLE outbox RENAME TO outbox_is_away")
    with pytest.raises(Transient):
        await copy.uses.report(pool)
    await pool.execute("ALTER TABLE outbox_is_away RENAME TO outbox")
    assert await copy.uses.report(pool)
    assert not await copy.uses.report(pool)
    [told] = await pool.fetch("SELECT aggregatetype, payload FROM outbox")
    assert told["aggregatetype"] == ACCESS_USED
    assert CredentialsUsed.model_validate_json(told["payload"]).uses == {"key_reader": NOW, "key_platform": NOW}
    merchant = await api.get("/v1/notes/all-merchants", headers=bearer("writer"))
    assert (merchant.status_code, merchant.json()["code"]) == (403, "NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/docs", "/openapi.json", "/problems", "/problems/not-found"])
async def test_some_paths_are_open(api: httpx2.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 200


async def test_an_origin_may_call_where_its_credential_lists_it(api: httpx2.AsyncClient) -> None:
    listed = await api.get("/v1/notes/n1", headers=bearer("writer", Origin=SHOP))
    assert listed.headers["access-control-allow-origin"] == SHOP
    for headers in (bearer("reader", Origin=SHOP), bearer("writer", Origin="https://evil.example")):
        answer = await api.get("/v1/notes/n1", headers=headers)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(SHOP, True), ("https://gone.example", False), ("https://evil.example", False), ("*", False)],
)
async def test_a_preflight_passes_where_an_active_grant_lists_the_origin(
    api: httpx2.AsyncClient, origin: str, allowed: bool
) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = await api.options("/v1/notes", headers=headers)
    assert answer.status_code == 204
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)


async def test_the_version_is_known_said_and_pinned(api: httpx2.AsyncClient, pool: Pool) -> None:
    wrong = await api.get("/v1/notes/n1", headers=bearer("reader", **{"Throughline-Version": "1999-01-01"}))
    assert (wrong.status_code, wrong.json()["param"]) == (400, "Throughline-Version")
    query = "SELECT api_version FROM grants WHERE grant_id = 'key_reader'"
    assert await pool.fetchval(query) is None
    answer = await api.get("/v1/notes/n1", headers=bearer("reader"))
    assert answer.headers["throughline-version"] == "2026-11-01"
    assert await pool.fetchval(query) == "2026-11-01"


async def test_the_same_request_again_is_replayed(api: httpx2.AsyncClient, pool: Pool) -> None:
    headers = bearer("writer", **{"Idempotency-Key": "k-1"})
    first = await api.post("/v1/notes", headers=headers, json={"text": "a"})
    again = await api.post("/v1/notes", headers=headers, json={"text": "a"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for path, body in (("/v1/notes", {"text": "b"}), ("/v1/notes?x=1", {"text": "a"})):
        other = await api.post(path, headers=headers, json=body)
        assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await pool.fetchval("SELECT count(*) FROM notes") == 1


async def test_while_the_first_runs_the_second_is_refused(api: httpx2.AsyncClient, pool: Pool) -> None:
    headers = bearer("writer", **{"Idempotency-Key": "k-2"})
    first = asyncio.create_task(api.post("/v1/notes", headers=headers, json={"text": "a", "slowly": True}))
    await asyncio.sleep(0.4)
    second = await api.post("/v1/notes", headers=headers, json={"text": "a", "slowly": True})
    assert (second.status_code, second.json()["code"]) == (409, "IDEMPOTENCY_KEY_IN_PROGRESS")
    assert not first.done()
    assert (await first).status_code == 201
    assert await pool.fetchval("SELECT count(*) FROM notes") == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\there"])
async def test_an_idempotency_key_is_visible_ascii(api: httpx2.AsyncClient, key: str) -> None:
    answer = await api.post("/v1/notes", headers=bearer("writer", **{"Idempotency-Key": key}), json={"text": "a"})
    assert (answer.status_code, answer.json()["param"]) == (400, "Idempotency-Key")


async def test_five_megabytes_are_refused_however_they_come(api: httpx2.AsyncClient, pool: Pool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    headers = bearer("writer", **{"Content-Type": "application/json"})
    for content in (b"x" * 5_000_000, chunks()):
        answer = await api.post("/v1/notes", headers=headers, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert await pool.fetchval("SELECT count(*) FROM notes") == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "MALFORMED_JSON"),
        (b'{"text": "\\ud800"}', "MALFORMED_JSON"),
        (b'{"text": "\\u0000"}', "VALIDATION_FAILED"),
        (b'{"text": 5}', "VALIDATION_FAILED"),
        (b'{"text": "a", "colour": 1}', "UNKNOWN_FIELD"),
        (b"[]", "VALIDATION_FAILED"),
    ],
)
async def test_a_bad_body_has_no_effect(api: httpx2.AsyncClient, pool: Pool, body: bytes, code: str) -> None:
    headers = bearer("writer", **{"Content-Type": "application/json", "Idempotency-Key": "k-3"})
    answer = await api.post("/v1/notes", headers=headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await pool.fetchval("SELECT count(*) FROM notes") == 0
    assert (await api.post("/v1/notes", headers=headers, json={"text": "corrected"})).status_code == 201
