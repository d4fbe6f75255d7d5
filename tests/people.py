"""People at browsers, without a browser: forms are found on the pages and sent as they are."""

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from shared.ids import new_id
from tests.apps import run
from tests.stack import Stack, eventually

Json = dict[str, Any]
PASSWORD = "quiet rivers carry boats"


class _Forms(HTMLParser):
    """The forms of a page with their fields and buttons."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found["action"], {}))
        elif tag == "input" and self.forms and found.get("type") not in ("checkbox", "radio") and "name" in found:
            self.forms[-1][1][found["name"]] = found.get("value", "")


@dataclass
class Person:
    """Somebody with a browser of their own."""

    http: httpx2.AsyncClient
    email: str = ""

    async def send(self, page: httpx2.Response, action: str, **fields: str) -> httpx2.Response:
        """Fill in the page's form that goes there, and send it."""
        for where, known in _Forms(page.text).forms:
            if where.partition("?")[0] == action:
                return await self.http.post(where, data=known | fields)
        raise AssertionError(f"no form for {action} on this page: {page.text}")

    async def sign_in(self, next_path: str = "/account", password: str = PASSWORD) -> httpx2.Response:
        page = await self.http.get("/sign-in", params={"next": next_path})
        return await self.send(page, "/sign-in", email=self.email, password=password)


def browser(base_url: str) -> httpx2.AsyncClient:
    """Keeps cookies, follows no redirects."""
    return httpx2.AsyncClient(base_url=base_url, timeout=20)


def query_of(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


class Town:
    """A platform with merchants, their people, and developers of apps."""

    def __init__(self, stack: Stack, exits: AsyncExitStack) -> None:
        self.stack, self._exits = stack, exits

    async def client(self, secret: str | None = None) -> httpx2.AsyncClient:
        """Somebody with a credential, or with none."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        client = httpx2.AsyncClient(base_url=self.stack.base_url, headers=headers, timeout=20)
        return await self._exits.enter_async_context(client)

    async def merchant(self, name: str = "Rain & Shine") -> str:
        made = await self.stack.platform.post("/v1/merchants", json={"name": name})
        assert made.status_code == 201, made.text
        return str(made.json()["data"]["merchant_id"])

    async def key(self, merchant_id: str, environment: str = "test", *scopes: str, **more: Any) -> httpx2.AsyncClient:
        """A key of the merchant that the services know."""
        body = {
            "name": "Key",
            "scopes": scopes or ["apps.write", "orders.write", "keys.write"],
            "merchant_id": merchant_id,
            "environment": environment,
        }
        made = await self.stack.platform.post("/v1/api-keys", json=body | more)
        assert made.status_code == 201, made.text
        client = await self.client(made.json()["data"]["secret"])

        async def known() -> bool:
            answers = [await client.get(path) for path in ("/v1/auth-context", "/v1/orders/ord_none")]
            return all(answer.status_code != 401 for answer in answers)

        await eventually(known)
        return client

    async def person_of(self, merchant_id: str, role: str = "owner", *, signed_in: bool = True) -> Person:
        """Somebody of the merchant's, who has chosen a password."""
        email = f"{new_id('p').lower()}@shop.example"
        body = {"email": email, "name": "Ada", "role": role, "merchant_id": merchant_id}
        invited = await self.stack.platform.post("/v1/staff-users", json=body)
        assert invited.status_code == 201, invited.text
        person = Person(await self._exits.enter_async_context(browser(self.stack.base_url)), email)
        url = invited.json()["data"]["invitation_url"]
        joined = await person.send(await person.http.get(url), "/join", password=PASSWORD)
        assert joined.status_code == 303, joined.text
        if signed_in:
            assert (await person.sign_in()).status_code == 303
        return person

    async def app_of(self, developer: httpx2.AsyncClient, **fields: Any) -> Json:
        made = await developer.post("/v1/developer/partner/apps", json=APP | fields)
        assert made.status_code == 201, made.text
        found: Json = made.json()["data"]
        return found


async def belongs_to_many(stack: Stack, person: Person, count: int, role: str = "manager") -> None:
    """The person is something at further merchants, called "Shop 01" and so on."""
    await run(
        stack,
        """
        WITH person AS (SELECT user_id FROM staff_users WHERE email = $1), made AS (
            INSERT INTO merchants (merchant_id, version, name, status, metadata, created_at, updated_at)
            SELECT $2 || n, 1, 'Shop ' || lpad(n::text, 2, '0'), 'active', '{}', now(), now()
            FROM generate_series(1, $3::integer) AS n RETURNING merchant_id
        ), theirs AS (
            INSERT INTO environments (environment_id, merchant_id, environment)
            SELECT 'env_' || environment || merchant_id, merchant_id, environment
            FROM made, unnest(ARRAY['test', 'live']) AS environment
        )
        INSERT INTO staff_memberships (user_id, merchant_id, role, created_at)
        SELECT user_id, merchant_id, $4, now() FROM person, made
        """,
        person.email,
        new_id("mer"),
        count,
        role,
    )


REDIRECT = "https://packing.example/installed?from=us"
READ = {
    "permission_id": "read_orders",
    "title": "Read your orders",
    "description": "To print packing lists.",
    "required_scopes": ["orders.read"],
}
REFUND = {
    "permission_id": "refund",
    "title": "Refund",
    "description": "For what is out of stock.",
    "required_scopes": ["refunds.write"],
    "optional": True,
}
APP: Json = {"name": "Packing lists", "type": "server", "redirect_uris": [REDIRECT], "manifest": [READ, REFUND]}

SECRET = re.compile(r"tl_(?:client|code|refresh|session|invitation|form|oidc)_[A-Za-z0-9_-]{43}")
