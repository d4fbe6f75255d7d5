"""As much of the Kubernetes API as custom resources need, over plain HTTP from inside of the cluster.

Four requests against three kinds of resources: the kept client (kubernetes_asyncio) is the same HTTP library below a
thousand generated modules.
"""

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from shared.faults import Transient

Json = Mapping[str, Any]

_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
_PAGE = "500"


class Kubernetes:
    """Acts as the pod's own service account. Raises `Transient` where the API does not answer, or refuses."""

    def __init__(self, url: str, service_account: Path) -> None:
        self._url, self._account = url, service_account

    @property
    def own_namespace(self) -> str:
        """Where this pod runs."""
        return self._file("namespace")

    async def apply(self, path: str, body: Json, manager: str) -> None:
        """The resource exists and has these fields; those that the manager applied before and are not here are gone.

        This is server-side apply: fields of other managers stay. Unknown fields are refused.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        await self._ask("PATCH", path, query, headers, orjson.dumps(body))

    async def get(self, path: str) -> Json | None:
        """The resource; `None` when there is none."""
        return await self._ask("GET", path, missing=True)

    async def delete(self, path: str) -> None:
        """The resource is gone, or goes once its finalizers are done."""
        await self._ask("DELETE", path, missing=True)

    async def names(self, path: str, labels: str) -> set[str]:
        """The names of all resources with these labels."""
        found: set[str] = set()
        query = {"labelSelector": labels, "limit": _PAGE}
        while True:
            page = await self._ask("GET", path, query) or {}
            found |= {str(item["metadata"]["name"]) for item in page["items"]}
            proceed = page["metadata"].get("continue")
            if not proceed:
                return found
            query["continue"] = proceed

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        missing: bool = False,
    ) -> Json | None:
        # Token and certificate are replaced while the pod runs, so they are read anew.
        try:
            trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
            authorized = {"Authorization": f"Bearer {self._file('token')}", **(headers or {})}
            connector = aiohttp.TCPConnector(ssl=trust)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, headers=authorized) as session,
                session.request(method, self._url + path, params=query, data=body, allow_redirects=False) as response,
            ):
                said = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"kubernetes: {method} {path}: {type(error).__name__}") from error
        if missing and response.status == HTTPStatus.NOT_FOUND:
            return None
        if not response.ok:
            raise Transient(f"kubernetes: {method} {path}: {response.status}")
        found: Json = orjson.loads(said)
        return found

    def _file(self, name: str) -> str:
        return (self._account / name).read_text().strip()
