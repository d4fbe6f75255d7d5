"""Chromium of this machine, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str | None:
    """Where it is: as THROUGHLINE_CHROMIUM says, or in the path; None where there is none."""
    return os.environ.get("THROUGHLINE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


NEEDS_CHROMIUM = [
    pytest.mark.servers,
    pytest.mark.skipif(
        chromium_path() is None and "CI" not in os.environ,
        reason="no Chromium here: make chromium installs it, THROUGHLINE_CHROMIUM names one",
    ),
]
"""Marks of tests in it. They are left out where there is none, but never in CI."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running one without a window."""
    async with async_playwright() as playwright:
        # The sandbox needs rights that containers do not give; only our own pages are opened.
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield browser
        await browser.close()
