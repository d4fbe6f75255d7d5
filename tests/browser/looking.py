"""What must hold of every page that people see."""

from pathlib import Path

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

SIZES = {"phone": (390, 844), "small-phone": (320, 568), "desktop": (1280, 900)}


async def looked_at(page: Page, name: str, shots: Path) -> None:
    """Nothing that axe finds, nothing that sticks out; a picture stays in the run's temporary directory."""
    for size, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        await page.screenshot(path=shots / f"{name}-{size}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} sticks out on a {size}"
        found = await Axe().run(page)
        assert found.violations_count == 0, f"{name} on a {size}: {found.generate_report()}"
