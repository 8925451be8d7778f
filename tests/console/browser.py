"""A browser as a person uses it, and everything that must never happen in it."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
    async_playwright,
    expect,
)

from tests.conftest import ROOT, require

CHROMIUM = ROOT / ".venv" / "browser" / "chromium"
HOW = "make browser"
PATIENCE_MS = 60_000
"""How long something may take to appear: the machine has other work, too."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation',
    ({ violatedDirective, blockedURI }) => violations.push(`${violatedDirective} ${blockedURI}`));
"""
"""Runs before every page. A script of an attack sets `window.attacked`."""

expect.set_options(timeout=PATIENCE_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser, if there is one."""
    require(CHROMIUM.exists(), HOW)
    quiet = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": "/dev/null"}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=dict(quiet))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Person:
    """Somebody with a browser of their own, who looks at the console at `url`.

    `trouble` is what no page may lead to: errors on the browser's console, exceptions, dialogs, requests elsewhere.
    """

    url: str
    context: BrowserContext
    trouble: list[str] = field(default_factory=list)
    refusals: bool = False

    async def tab(self, path: str = "/") -> Page:
        """Open a tab at `path`."""
        page = await self.context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.trouble.append(f"exception: {error.stack or error.message}"))
        page.on("dialog", self._asked)
        await page.goto(f"{self.url}{path}")
        return page

    def expect_refusals(self) -> None:
        """Let answers of the platform with an error status be no trouble; the browser reports them on its console."""
        self.refusals = True

    async def check(self) -> None:
        """Fail for all that has happened and must not."""
        for page in self.context.pages:
            if page.url.startswith(self.url):
                self.trouble += [f"policy: {one}" for one in await page.evaluate("window.violations ?? []")]
                if await page.evaluate("window.attacked !== undefined"):
                    self.trouble.append("the script of an attack has run")
        assert not self.trouble, "\n".join(self.trouble)

    def _said(self, message: ConsoleMessage) -> None:
        text = message.text
        of_status = text.startswith("Failed to load resource: the server responded")
        if message.type in {"error", "warning"} and not (of_status and self.refusals):
            self.trouble.append(f"{message.type}: {text} ({message.location.get('url')})")

    async def _asked(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def requested(self, request: Request) -> None:
        """Take notice of a request."""
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"} and f"{address.scheme}://{address.netloc}" != self.url:
            self.trouble.append(f"request to {request.url[:200]}")


@asynccontextmanager
async def person(browser: Browser, url: str, **options: Any) -> AsyncIterator[Person]:
    """Give somebody who looks at the console at `url`; in the end, nothing bad must have happened."""
    given = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "timezone_id": "UTC", **options}
    context = await browser.new_context(reduced_motion="reduce", **given)
    try:
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(WATCH)
        somebody = Person(url, context)
        context.on("request", somebody.requested)
        yield somebody
        await somebody.check()
    finally:
        await context.close()


def title(page: Page, name: str | re.Pattern[str]) -> Locator:
    """Return the heading of the page itself."""
    return page.get_by_role("heading", name=name, level=1)


async def sign_in(page: Page, key: str) -> None:
    """Give a key where it is asked for."""
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in", exact=True).click()


def dialog(page: Page) -> Locator:
    """Return the dialog that is open."""
    return page.get_by_role("dialog")


async def agree(page: Page, name: str) -> None:
    """Press the button `name` of the dialog that is open, and wait until it is done."""
    await dialog(page).get_by_role("button", name=name, exact=True).click()
    await expect(dialog(page)).to_have_count(0)
