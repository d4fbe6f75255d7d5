"""Sign-in at a provider in a real browser, and every page on which something is not as people hoped."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from services.apps.core.staff import ACCOUNT
from shared.ids import new_id
from tests.apps import run
from tests.browser.chromium import NEEDS_CHROMIUM, chromium
from tests.browser.looking import looked_at
from tests.oidc_scene import Scene, staged
from tests.people import PASSWORD, Person
from tests.stack import Stack

pytestmark = NEEDS_CHROMIUM

BUTTON = "Sign in with Rain & Shine <SSO>"


@dataclass
class View:
    """A browser before a service that has a provider."""

    oidc: Scene
    browser: Browser
    shots: Path

    @asynccontextmanager
    async def page(self, *, javascript: bool = True, person: Person | None = None) -> AsyncIterator[Page]:
        """A page of somebody's own browser; of the person's, if one is given who is signed in."""
        context = await self.browser.new_context(base_url=self.oidc.base_url, java_script_enabled=javascript)
        for cookie in [] if person is None else person.http.cookies.jar:
            await context.add_cookies([{"name": cookie.name, "value": cookie.value or "", "url": self.oidc.base_url}])
        yield await context.new_page()
        await context.close()

    async def looks_right(self, page: Page, name: str) -> None:
        await looked_at(page, name, self.shots)


@pytest.fixture(scope="module")
async def view(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[View]:
    async with AsyncExitStack() as exits:
        oidc = await exits.enter_async_context(staged(stack))
        browser = await exits.enter_async_context(chromium())
        yield View(oidc, browser, tmp_path_factory.mktemp("more-pages"))


async def test_somebody_comes_in_by_the_provider_without_javascript(view: View) -> None:
    oidc = view.oidc
    person, invitation = await oidc.newcomer(await oidc.town.merchant("Rain & Shine"))
    async with view.page(javascript=False) as page:
        await page.goto("/sign-in?next=/account")
        await page.get_by_role("link", name=BUTTON).click()
        await page.wait_for_url("**/account")
        assert person.email in (await page.content())
        await page.goto(invitation)
        await page.get_by_role("button", name="Join").click()
        await page.wait_for_url("**/account")
        assert await page.get_by_text("Your role: manager").count() == 1
        await page.get_by_role("button", name="Sign out").click()
        assert await page.get_by_role("heading", name="Sign in").count() == 1


async def test_an_account_with_a_password_is_connected_without_javascript(view: View) -> None:
    oidc = view.oidc
    known = await oidc.town.person_of(await oidc.town.merchant(), signed_in=False)
    oidc.vouches_for(known.email)
    async with view.page(javascript=False) as page:
        await page.goto("/sign-in")
        await page.get_by_role("link", name=BUTTON).click()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Connect and sign in").click()
        await page.wait_for_url("**/account")


async def test_the_pages_of_sign_in_at_a_provider(view: View) -> None:
    oidc = view.oidc
    known = await oidc.town.person_of(await oidc.town.merchant(), signed_in=False)
    async with view.page() as page:
        await page.goto("/sign-in")
        await view.looks_right(page, "provider-button")
        oidc.vouches_for("stranger@shop.example")
        await page.get_by_role("link", name=BUTTON).click()
        assert await page.get_by_role("alert").count() == 1
        await view.looks_right(page, "provider-stranger")
        oidc.vouches_for(known.email)
        await page.get_by_role("link", name=BUTTON).click()
        await view.looks_right(page, "provider-connect")
        await page.get_by_label("Password").fill("not this one")
        await page.get_by_role("button", name="Connect and sign in").click()
        assert await page.get_by_role("alert").count() == 1
        await view.looks_right(page, "provider-connect-again")
        await page.get_by_role("link", name="Back to signing in").click()
        oidc.provider.down = {"/jwks"}
        await page.get_by_role("link", name=BUTTON).click()
        assert "does not work right now" in await page.content()
        await view.looks_right(page, "provider-away")
        oidc.provider.down = set()


async def test_the_pages_of_invitations(view: View) -> None:
    oidc = view.oidc
    merchant_id = await oidc.town.merchant("A merchant with a rather long name that goes on until a phone breaks it")
    person, invitation = await oidc.newcomer(merchant_id)
    known = await oidc.town.person_of(await oidc.town.merchant())
    async with view.page() as page:
        await page.goto(invitation)
        await page.get_by_label("Choose a password").fill("short")
        await page.get_by_role("button", name="Join").click()
        await view.looks_right(page, "join-short-password")
        await page.goto(await oidc.invited(known.email, merchant_id))
        await page.get_by_label("Your password").fill("not this one")
        await page.get_by_role("button", name="Join").click()
        await view.looks_right(page, "join-wrong-password")
        await page.goto("/join?invitation=gone")
        await view.looks_right(page, "join-no-longer-valid")
    await oidc.sign_in(person)
    async with view.page(person=person) as page:
        await page.goto("/account")
        await view.looks_right(page, "account-without-merchants")
        await page.goto(invitation)
        await view.looks_right(page, "join-signed-in")
    async with view.page() as page:
        await page.goto(invitation)
        await view.looks_right(page, "join-sign-in-first")


async def test_the_pages_that_refuse(view: View) -> None:
    oidc = view.oidc
    known = await oidc.town.person_of(await oidc.town.merchant())
    email = f"{new_id('p').lower()}@shop.example"
    async with view.page() as page:
        await page.goto("/sign-in")
        for _ in range(ACCOUNT.free + 2):
            await page.get_by_label("E-mail address").fill(email)
            await page.get_by_label("Password").fill("a guess at it")
            await page.get_by_role("button", name="Sign in").click()
        assert "Too many attempts" in (await page.get_by_role("alert").text_content() or "")
        await view.looks_right(page, "too-many-attempts")
        await run(oidc.town.stack, "DELETE FROM sign_in_failures")
        await page.context.clear_cookies()
        await page.get_by_label("Password").fill("whatever it is")
        await page.get_by_role("button", name="Sign in").click()
        assert "open for too long" in (await page.get_by_role("alert").text_content() or "")
        await view.looks_right(page, "stale-form")
    async with view.page(person=known) as page:
        await page.goto("/account")
        await view.looks_right(page, "account-without-apps")
        await page.evaluate(_POST, ["/account/grants/grt_none/revoke", "csrf"])
        await page.wait_for_url("**/revoke")
        await view.looks_right(page, "not-found")
        await page.evaluate(_POST, ["/sign-out", "nothing"])
        await page.wait_for_url("**/sign-out")
        await view.looks_right(page, "not-done")


async def test_a_provider_that_is_not_there(view: View) -> None:
    async with view.page() as page:
        await page.goto(f"{view.oidc.town.stack.base_url}/sign-in/oidc")
        await view.looks_right(page, "no-provider")


async def test_the_reference_and_the_pages_of_problems(view: View) -> None:
    async with view.page() as page:
        for path, name in (("/problems", "problems"), ("/problems/order-balance-leased", "problem")):
            answer = await page.goto(f"{view.oidc.town.stack.base_url}{path}")
            assert answer is not None
            assert answer.ok
            await view.looks_right(page, name)
    async with view.page(javascript=False) as page:
        await page.goto(f"{view.oidc.town.stack.base_url}/docs")
        assert "needs JavaScript" in await page.content()


_POST = """([url, kept]) => {
  const form = document.createElement('form'); form.method = 'post'; form.action = url;
  const csrf = document.querySelector('input[name=csrf]').cloneNode(); csrf.name = kept;
  form.append(csrf); document.body.append(form); form.submit();
}"""
