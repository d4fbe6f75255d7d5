"""The reference for HTTP: Litestar, uvicorn and asyncpg with one INSERT or SELECT for each request and no rules.

    python -m bench.bare_http --port 9000

What is written and answered has the size that an order has. The table is in the schema `bench`.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from bench.bare_pipe import STATE
from shared.ids import new_id
from shared.settings import Settings

TABLE = "CREATE TABLE IF NOT EXISTS bench.bare (order_id text PRIMARY KEY, state jsonb NOT NULL)"


@asynccontextmanager
async def _pool(app: Litestar) -> AsyncIterator[None]:
    settings = Settings()
    url = settings.database_url.get_secret_value()
    size = settings.database_pool_size
    async with asyncpg.create_pool(url, min_size=2, max_size=size, reset=_nothing) as pool:
        app.state.pool = pool
        yield


async def _nothing(_: object) -> None:
    """No round trip when a connection goes back to the pool, as in the services."""


@post("/v1/orders")
async def create(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """Read the body, keep an order, answer with it."""
    orjson.loads(await request.body())
    order_id = new_id("ord")
    await state.pool.execute("INSERT INTO bench.bare VALUES ($1, $2)", order_id, STATE)
    return _answer(order_id, STATE, 201)


@get("/v1/orders/{order_id:str}")
async def read(state: State, order_id: FromPath[str]) -> Response[bytes]:
    """The order as it was kept."""
    kept = await state.pool.fetchval("SELECT state::text FROM bench.bare WHERE order_id = $1", order_id)
    if kept is None:
        raise NotFoundException
    return _answer(order_id, kept, 200)


@get("/readyz")
async def ready() -> None:
    """It answers, so it is ready."""


def _answer(order_id: str, kept: str, status: int) -> Response[bytes]:
    body = b'{"data":{"order_id":"%b","state":%b}}' % (order_id.encode(), kept.encode())
    return Response(body, media_type=MediaType.JSON, status_code=status)


def main() -> None:
    """Serve until asked to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = Litestar([create, read, ready], lifespan=[_pool], openapi_config=None)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
