"""Where the two sides are read, page by page."""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx2
from pydantic import SecretStr

from deploy.local.problem import RuntimeProblem

Json = dict[str, Any]
Pages = Iterator[tuple[int, list[Json]]]
"""Each page with how much was read by then."""

_TIMEOUT_S = 30.0
_PAGE = 100


class Sides:
    """One merchant's orders by its API key, and its account with the sandbox; a context, since it is connected."""

    def __init__(self, base_url: str, api_key: str, sandbox_url: str, secret: SecretStr) -> None:
        self._api = _client(base_url, api_key)
        self._sandbox = _client(sandbox_url, secret.get_secret_value())

    def __enter__(self) -> Self:
        whose = _answered(_asked(self._api, "/v1/auth-context"))["data"]
        if whose.get("environment") != "test":
            raise RuntimeProblem("The sandbox moves no live money: give the API key of a test environment.")
        self.merchant_id, self.environment = str(whose["merchant_id"]), "test"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.close()
        self._sandbox.close()

    def movements(self, made_from: datetime | None = None) -> Pages:
        """The ledger, oldest first."""
        since = {} if made_from is None else {"made_from": made_from.isoformat()}
        account = {"merchant_id": self.merchant_id, "environment": self.environment}
        return _pages(self._sandbox, "/sandbox/v1/movements", account | since)

    def orders(self) -> Pages:
        """All orders, newest first."""
        return _pages(self._api, "/v1/orders", {})

    def order(self, order_id: str) -> Json | None:
        """One of them, as it is now."""
        answer = _asked(self._api, f"/v1/orders/{order_id}")
        if answer.status_code == 404:
            return None
        order: Json = _answered(answer)["data"]
        return order


def _client(base_url: str, bearer: str) -> httpx2.Client:
    return httpx2.Client(base_url=base_url, headers={"Authorization": f"Bearer {bearer}"}, timeout=_TIMEOUT_S)


def _pages(client: httpx2.Client, path: str, query: dict[str, str]) -> Pages:
    number, params = 0, query | {"page_size": str(_PAGE)}
    while True:
        page = _answered(_asked(client, path, params))
        number += len(page["data"])
        yield number, page["data"]
        token = page.get("next_page_token")
        if token is None:
            return
        params["page_token"] = token


def _asked(client: httpx2.Client, path: str, query: dict[str, str] | None = None) -> httpx2.Response:
    try:
        return client.get(path, params=query)
    except httpx2.HTTPError as error:
        raise RuntimeProblem(f"GET {path} of {client.base_url} was not answered: {error!r}. Try again.") from error


def _answered(answer: httpx2.Response) -> Json:
    told = f"{answer.request.method} {answer.url.path} answered {answer.status_code}"
    if not answer.is_success:
        raise RuntimeProblem(f"{told}: {answer.text}")
    try:
        content: Json = answer.json()
    except ValueError as error:
        raise RuntimeProblem(f"{told}, and not with JSON: {answer.text[:200]}") from error
    return content
