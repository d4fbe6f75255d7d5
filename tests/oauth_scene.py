"""A scene for tests of OAuth: an app, a merchant, and the merchant's owner at a browser, signed in."""

from urllib.parse import urlencode

import httpx2

from services.apps.core.authorization import challenge_of
from tests.people import REDIRECT, Json, Person, Town, query_of

VERIFIER = "v" * 64
AUTHORIZE = "/v1/oauth/authorize"


class Scene(Town):
    """An app, a merchant, and the merchant's owner at a browser, signed in."""

    app: Json
    person: Person
    merchant_id: str

    def request(self, **changes: str | None) -> str:
        given: dict[str, str | None] = {
            "client_id": self.app["partner_app_id"],
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "state": "state-1",
            "mode": "test",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        return f"{AUTHORIZE}?{urlencode({name: text for name, text in (given | changes).items() if text is not None})}"

    async def code(self, **changes: str | None) -> str:
        page = await self.person.http.get(self.request(**changes))
        answer = await self.person.send(page, AUTHORIZE, decision="approve")
        return query_of(answer.headers["location"])["code"]

    async def token(self, app: Json | None = None, key: str | None = None, **fields: str | None) -> httpx2.Response:
        app = app or self.app
        given = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        body = {name: text for name, text in (given | fields).items() if text is not None}
        client = await self.client()
        headers = {} if key is None else {"Idempotency-Key": key}
        auth = (app["partner_app_id"], app["client_secret"])
        return await client.post("/v1/oauth/token", data=body, auth=auth, headers=headers)

    async def works(self, token: Json) -> bool:
        client = await self.client(token["access_token"])
        return (await client.get("/v1/orders")).status_code == 200

    async def with_people(self) -> None:
        """A merchant of this test's own, and its owner."""
        self.merchant_id = await self.merchant()
        self.person = await self.person_of(self.merchant_id)


def refused(answer: httpx2.Response, error: str, status: int = 400) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"error", "error_description"}
    return bool(answer.json()["error"] == error)
