"""A scene for tests of sign-in at a provider: an apps service that has one, beside the one of the whole test run."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import SecretStr

from deploy.local.ports import HOST, Ports
from deploy.services import create_service
from shared.ids import new_id
from shared.settings import OidcSettings
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, providing
from tests.people import Person, Town, browser
from tests.stack import Stack, serving

BEGIN, CALLBACK, CONNECT = "/sign-in/oidc", "/sign-in/oidc/callback", "/sign-in/oidc/connect"


@dataclass
class Scene:
    """An apps service whose staff can sign in at a provider, beside the one of the whole test run."""

    town: Town
    exits: AsyncExitStack
    provider: Provider
    base_url: str

    async def visitor(self) -> Person:
        """Somebody at a browser, not signed in."""
        return Person(await self.exits.enter_async_context(browser(self.base_url)))

    async def invited(self, email: str, merchant_id: str, role: str = "manager") -> str:
        """The path of an invitation."""
        body = {"email": email, "name": "Ada", "role": role, "merchant_id": merchant_id}
        made = await self.town.stack.platform.post("/v1/staff-users", json=body)
        assert made.status_code == 201, made.text
        url = urlsplit(made.json()["data"]["invitation_url"])
        return f"{url.path}?{url.query}"

    def vouches_for(self, email: str, **claims: Any) -> None:
        """Whoever comes to the provider now is this person."""
        known = {"sub": f"at-the-provider-{email}", "email": email, "email_verified": True, "name": "Ada L."}
        self.provider.person = known | claims

    async def to_provider(self, person: Person, next_path: str = "/account") -> str:
        """Where the provider sends the browser back to."""
        begun = await person.http.get(f"{BEGIN}?next={quote(next_path, safe='')}")
        assert begun.status_code == 303, begun.text
        async with httpx2.AsyncClient(timeout=20) as anywhere:
            back = await anywhere.get(begun.headers["location"])
        assert back.status_code == 303, back.text
        return back.headers["location"]

    async def sign_in(self, person: Person, next_path: str = "/account") -> httpx2.Response:
        return await person.http.get(await self.to_provider(person, next_path))

    async def newcomer(self, merchant_id: str) -> tuple[Person, str]:
        """Somebody who was invited and has never been here, for whom the provider vouches."""
        email = f"{new_id('p').lower()}@shop.example"
        path = await self.invited(email, merchant_id)
        self.vouches_for(email)
        person = await self.visitor()
        person.email = email
        return person, path


def settings_of(provider: Provider, **more: Any) -> OidcSettings:
    given: dict[str, Any] = {
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": SecretStr(CLIENT_SECRET),
        "name": "Rain & Shine <SSO>",
    }
    return OidcSettings(**(given | more))


@asynccontextmanager
async def staged(stack: Stack, *, local: bool = True, **oidc: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as exits:
        provider = await exits.enter_async_context(providing())
        port = Ports.free().postgres
        changes = {
            "oidc": settings_of(provider, **oidc),
            "public_base_url": f"http://{HOST}:{port}",
            "outbound_local": local,
        }
        app = create_service("apps", stack.settings.model_copy(update=changes), "api")
        base_url = await exits.enter_async_context(serving(app, port))
        yield Scene(Town(stack, exits), exits, provider, base_url)


def is_signed_in(answer: httpx2.Response) -> bool:
    return answer.status_code == 303 and "tl_session" in answer.cookies


def refused(answer: httpx2.Response, words: str, status: int = 403) -> bool:
    assert answer.status_code == status, answer.text
    assert "tl_session" not in answer.cookies
    return words in answer.text and 'role="alert"' in answer.text
