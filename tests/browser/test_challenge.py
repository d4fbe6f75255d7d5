"""What a buyer sees whose bank asks: everybody can use it, also without JavaScript."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from services.payments.connectors.sandbox import SandboxConnector
from services.payments.connectors.sandbox_http import HttpAcquirer
from services.payments.core.asking import ActionRequired, Approved, Asked, Declined, Means
from shared.ids import new_id
from tests.browser.chromium import NEEDS_CHROMIUM, chromium
from tests.browser.looking import looked_at
from tests.stack import Stack

pytestmark = NEEDS_CHROMIUM


@dataclass
class Buying:
    """A connector, and the browser of somebody who pays with it."""

    connector: SandboxConnector
    browser: Browser
    base_url: str

    async def challenged(self, **more: Any) -> tuple[Asked, ActionRequired]:
        given: dict[str, Any] = {
            "attempt_id": new_id("att"),
            "operation": "authorize",
            "amount_minor": 123_456,
            "currency": "EUR",
            "means": Means("card", token="sandbox_challenge"),
            "merchant_id": "mer_browser",
            "environment": "test",
            "order_id": new_id("ord"),
            "payment_intent_id": "pi_1",
        }
        asked = Asked(**(given | more))
        answer = await self.connector.authorize(asked)
        assert isinstance(answer, ActionRequired)
        return asked, answer


@pytest.fixture(scope="module")
async def buying(stack: Stack) -> AsyncIterator[Buying]:
    async with AsyncExitStack() as exits:
        acquirer = HttpAcquirer(stack.base_url, stack.settings.sandbox.secret)
        exits.push_async_callback(acquirer.close)
        browser = await exits.enter_async_context(chromium())
        yield Buying(SandboxConnector(acquirer), browser, stack.base_url)


async def test_the_pages_can_be_used_by_everybody(buying: Buying, tmp_path: Path) -> None:
    _, challenge = await buying.challenged()
    page = await buying.browser.new_page()
    await page.goto(challenge.url)
    assert await page.get_by_role("heading", name="1234.56 EUR").count() == 1
    await looked_at(page, "challenge", tmp_path)
    await page.get_by_role("button", name="Decline").click()
    assert await page.get_by_role("heading", name="Done").count() == 1
    await looked_at(page, "challenge-done", tmp_path)
    await page.goto(f"{buying.base_url}/sandbox/challenge/nothing")
    await looked_at(page, "challenge-gone", tmp_path)
    await page.close()


@pytest.mark.parametrize(("button", "outcome"), [("Approve", Approved), ("Decline", Declined)])
async def test_a_buyer_answers_without_javascript_and_goes_back_to_the_shop(
    buying: Buying, button: str, outcome: type
) -> None:
    shop = "https://shop.example/back?order=7"
    asked, challenge = await buying.challenged(return_url=shop)
    context = await buying.browser.new_context(java_script_enabled=False)
    await context.route("https://shop.example/*", lambda route: route.fulfill(body="Welcome back"))
    page = await context.new_page()
    await page.goto(challenge.url)
    await page.get_by_role("button", name=button).click()
    await page.wait_for_url(shop)
    assert isinstance(await buying.connector.look_up(asked), outcome)
    await page.goto(challenge.url)
    assert await page.get_by_role("link", name="Go back to the shop").get_attribute("href") == shop
    assert await page.get_by_role("button").count() == 0
    await context.close()


async def test_the_keyboard_is_enough(buying: Buying) -> None:
    asked, challenge = await buying.challenged()
    page = await buying.browser.new_page()
    await page.goto(challenge.url)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Done").wait_for()
    assert isinstance(await buying.connector.look_up(asked), Approved)
    await page.close()
