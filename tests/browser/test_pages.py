"""What people see when they sign in and install an app, and that everybody can use it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from services.apps.core.authorization import challenge_of
from tests.browser.chromium import NEEDS_CHROMIUM, chromium
from tests.browser.looking import looked_at
from tests.people import PASSWORD, READ, REDIRECT, REFUND, Json, Person, Town, belongs_to_many, query_of
from tests.stack import Stack

pytestmark = NEEDS_CHROMIUM

LONG = "An app with a rather long name that goes on until a phone has to break it somewhere"
CHARGE = {
    "permission_id": "charge",
    "title": "Charge what is missing",
    "description": "Where a buyer adds something at the counter.",
    "required_scopes": ["payments.write", "orders.write"],
}
BUDGET = {"effect": "refund", "limit_money": {"amount": 50000, "currency": "EUR"}, "period": "day"}


@dataclass
class Scene:
    """An app that asks for much, and somebody of two merchants who may install it."""

    town: Town
    browser: Browser
    person: Person
    app: Json
    shots: Path

    def url(self, app: Json | None = None, redirect_uri: str = REDIRECT, **changes: str) -> str:
        given = {
            "client_id": (app or self.app)["partner_app_id"],
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "state": "state-1",
            "permission_ids": "refund",
            "code_challenge": challenge_of("v" * 64),
            "code_challenge_method": "S256",
        }
        return f"{self.town.stack.base_url}/v1/oauth/authorize?{urlencode(given | changes)}"

    async def sign_in(self, page: Page) -> None:
        await page.get_by_label("E-mail address").fill(self.person.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
async def scene(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as exits:
        town = Town(stack, exits)
        first, second = await town.merchant("Rain & Shine"), await town.merchant("Anoraks of the North")
        person = await town.person_of(first)
        body = {"email": person.email, "name": "Ada", "role": "manager", "merchant_id": second}
        url = (await stack.platform.post("/v1/staff-users", json=body)).json()["data"]["invitation_url"]
        await person.send(await person.http.get(url), "/join", password=PASSWORD)
        developer = await town.key(await town.merchant("Toolmaker"), "live")
        app = await town.app_of(developer, name=LONG, manifest=[READ, CHARGE, REFUND], money_budgets=[BUDGET])
        browser = await exits.enter_async_context(chromium())
        yield Scene(town, browser, person, app, tmp_path_factory.mktemp("pages"))


async def test_every_page_can_be_used_by_everybody(scene: Scene) -> None:
    context = await scene.browser.new_context()
    page = await context.new_page()
    await page.goto(scene.url())
    await looked_at(page, "sign-in", scene.shots)
    await page.get_by_label("E-mail address").fill(scene.person.email)
    await page.get_by_label("Password").fill("not this one")
    await page.get_by_role("button", name="Sign in").click()
    assert await page.get_by_role("alert").count() == 1
    await looked_at(page, "sign-in-again", scene.shots)
    await scene.sign_in(page)
    assert (await page.get_by_role("heading", level=1).text_content() or "").startswith("Install An app")
    await looked_at(page, "consent", scene.shots)
    await page.goto(scene.url(redirect_uri="https://evil.example"))
    await looked_at(page, "wrong-link", scene.shots)
    calm = await scene.town.app_of(await scene.town.key(await scene.town.merchant("Small")))
    await page.goto(scene.url(calm, permission_ids=""))
    await looked_at(page, "consent-without-money", scene.shots)
    await page.goto(f"{scene.town.stack.base_url}/account")
    await looked_at(page, "account", scene.shots)
    await page.get_by_role("link", name="Change your password").click()
    await looked_at(page, "password", scene.shots)
    await page.get_by_role("link", name="Back to your merchants").click()
    await context.close()


async def test_the_other_pages_too(scene: Scene) -> None:
    merchant_id = await scene.town.merchant("Rain & Shine")
    clerk = await scene.town.person_of(merchant_id, "clerk")
    body = {"email": "new@shop.example", "name": "New", "role": "clerk", "merchant_id": merchant_id}
    invited = (await scene.town.stack.platform.post("/v1/staff-users", json=body)).json()["data"]
    context = await scene.browser.new_context()
    page = await context.new_page()
    await page.goto(invited["invitation_url"])
    await looked_at(page, "join", scene.shots)
    for cookie in clerk.http.cookies.jar:
        await context.add_cookies(
            [{"name": cookie.name, "value": cookie.value or "", "url": scene.town.stack.base_url}]
        )
    await page.goto(scene.url())
    await looked_at(page, "not-yours", scene.shots)
    await context.close()


@pytest.mark.parametrize("javascript", [False, True])
async def test_one_of_many_merchants_is_found(scene: Scene, javascript: bool) -> None:
    """Nothing needs JavaScript; the look is judged with it."""

    async def judged(name: str) -> None:
        if javascript:
            await looked_at(page, name, scene.shots)

    person = await scene.town.person_of(await scene.town.merchant("Rain & Shine"))
    await belongs_to_many(scene.town.stack, person, 60)
    context = await scene.browser.new_context(java_script_enabled=javascript)
    for cookie in person.http.cookies.jar:
        await context.add_cookies(
            [{"name": cookie.name, "value": cookie.value or "", "url": scene.town.stack.base_url}]
        )
    page = await context.new_page()
    await page.goto(scene.url())
    await judged("consent-of-many")
    await page.get_by_label("Refund").check()
    await page.get_by_label("Find a merchant").fill("shop 42")
    await page.get_by_label("Find a merchant").press("Enter")
    await page.get_by_text("Shop 42").wait_for()
    assert await page.get_by_label("Refund").is_checked()
    await judged("consent-found")
    await page.goto(f"{scene.town.stack.base_url}/account")
    await judged("account-of-many")
    await page.get_by_role("link", name="More of your merchants").click()
    assert await page.get_by_role("heading", name="Shop 20").count() == 1
    await page.get_by_label("Find a merchant").fill("Shop 07")
    await page.get_by_role("button", name="Find").click()
    assert await page.get_by_role("heading", level=2).all_text_contents() == ["Shop 07"]
    await page.get_by_label("Find a merchant").fill("nobody's")
    await page.get_by_role("button", name="Find").click()
    await judged("account-none")
    await context.close()


class AppServer:
    """The app's own web server, to which the browser comes back."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.redirect_uri = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode().split(" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nInstalled")
        await writer.drain()
        writer.close()


@pytest.fixture
async def app_server() -> AsyncIterator[AppServer]:
    made = AppServer()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/installed"
    yield made
    server.close()


async def test_an_app_is_installed_and_taken_out_without_javascript(scene: Scene, app_server: AppServer) -> None:
    developer = await scene.town.key(await scene.town.merchant("Local developer"))
    app = await scene.town.app_of(developer, name="Local app", redirect_uris=[app_server.redirect_uri])
    context: BrowserContext = await scene.browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(scene.url(app, app_server.redirect_uri))
    await scene.sign_in(page)
    await page.get_by_label("Merchant").select_option(label="Anoraks of the North")
    await page.get_by_label("Refund").check()
    await page.get_by_role("button", name="Install").click()
    await page.wait_for_url(f"{app_server.redirect_uri}?*")
    [came_back] = [path for path in app_server.asked if path.startswith("/installed")]
    told = query_of(came_back)
    assert (told["state"], told["iss"]) == ("state-1", scene.town.stack.base_url)
    client = await scene.town.client()
    fields = {"grant_type": "authorization_code", "code": told["code"], "code_verifier": "v" * 64}
    token = await client.post("/v1/oauth/token", data=fields, auth=(app["partner_app_id"], app["client_secret"]))
    assert token.json()["scope"] == "orders.read refunds.write"
    await page.goto(f"{scene.town.stack.base_url}/account")
    await page.get_by_role("button", name="Remove Local app (test)").click()
    assert await page.get_by_text("Local app").count() == 0
    await page.get_by_role("button", name="Sign out").click()
    await page.goto(f"{scene.town.stack.base_url}/account")
    assert await page.get_by_role("heading", name="Sign in").count() == 1
    await context.close()


async def test_a_page_of_another_site_can_neither_frame_nor_send_our_form(scene: Scene) -> None:
    context = await scene.browser.new_context()
    page = await context.new_page()
    await page.goto(f"{scene.town.stack.base_url}/sign-in?next=/account")
    await scene.sign_in(page)
    evil = await context.new_page()
    await evil.route("https://evil.example/*", lambda route: route.fulfill(body=_EVIL, content_type="text/html"))
    await evil.goto("https://evil.example/")
    await evil.evaluate(_FRAME, scene.url())
    await evil.wait_for_timeout(1_500)
    [_, frame] = evil.frames
    assert frame.url.startswith("chrome-error://"), frame.url
    approve = {"decision": "approve", "mode": "test"}
    async with evil.expect_response(lambda answer: answer.request.method == "POST") as sent:
        await evil.evaluate(_SEND, [scene.url(), approve])
    answer = await sent.value
    assert "location" not in answer.headers or "/sign-in" in answer.headers["location"], "nobody was signed in there"
    await context.close()


_FRAME = "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame) }"
_EVIL = "<!doctype html><title>Evil</title><body></body>"
_SEND = """([url, fields]) => {
  const form = document.createElement('form'); form.method = 'post'; form.action = url;
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement('input'); input.name = name; input.value = value; form.append(input);
  }
  document.body.append(form); form.submit();
}"""
