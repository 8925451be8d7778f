"""What every test may use: the rule for missing services, and the folders of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def require(condition: bool, command: str) -> None:
    """Go on only if a service is there; `command` is the line that brings it.

    On a laptop the test is skipped. Where CI is set it fails, because there a skipped test would go unseen.
    """
    if condition:
        return
    message = f"a service is missing; bring it with: {command}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def shared_folder() -> Callable[[str], Path]:
    """Give `shared_folder(name)`: the path of ../shared/<name>, or a skip that names what is absent."""

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / name
        if not folder.is_dir():
            pytest.skip(f"../shared/{name} is not there")
        return folder

    return find
