"""Functions that a test has called in a process of their own."""

from typing import Any


async def double(given: dict[str, Any]) -> dict[str, Any]:
    """Return twice the number."""
    print("a print is no value")  # noqa: T201 - so that it is seen that it is none
    return {"n": given["n"] * 2}
