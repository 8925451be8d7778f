"""One platform with workers, and one browser, for all tests of the console in this process."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.processes import Platform, running_platform

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.console.browser import Person


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    """Give a running Chromium."""
    from tests.console.browser import chromium

    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give `flowc up` with one worker, which does what the parameters of its tasks say (`working.py`)."""
    folder = tmp_path_factory.mktemp("console")
    async with running_platform(folder, rate_limits="off") as running:
        running.hire("worker-1", "--capability", "python", "--call", "tests.console.working:work", slots=8)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def person(browser: "Browser", platform: Platform) -> AsyncIterator["Person"]:
    """Give a person with a new browser who looks at the console of `platform`."""
    from tests.console.browser import person

    async with person(browser, platform.url) as somebody:
        yield somebody
