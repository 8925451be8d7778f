"""Routes are read by the framework when they are needed, one by one, and are the same routes then."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from functions.api.routes import LateRoute, Routes


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> Routes:
    """Return two routes that ask for no role."""
    made = Routes(prefix="/api/v1/things", tags=["things"])
    monkeypatch.setattr(made, "dependencies", [])

    @made.get("/{name}")
    async def get_thing(name: str, size: int = 1) -> dict[str, Any]:
        return {"name": name, "size": size}

    @made.post("", status_code=201)
    async def make_thing() -> dict[str, str]:
        return {"made": "yes"}

    return made


def read(routes: Routes) -> list[str]:
    return [route.name for route in routes.routes if isinstance(route, LateRoute) and route._read]  # noqa: SLF001


def client_of(routes: Routes) -> httpx.AsyncClient:
    app = FastAPI()
    app.router.routes += routes.routes
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://platform")


async def test_a_request_reads_its_own_route_alone(routes: Routes) -> None:
    assert read(routes) == []
    async with client_of(routes) as client:
        answers = await asyncio.gather(*[client.get(f"/api/v1/things/t{n}?size={n}") for n in range(5)])
        assert [one.json() for one in answers] == [{"name": f"t{n}", "size": n} for n in range(5)]
        assert read(routes) == ["get_thing"]
        assert (await client.get("/api/v1/things/t?size=many")).status_code == 422
        assert (await client.delete("/api/v1/things/t")).status_code == 405
        assert read(routes) == ["get_thing"]
        assert (await client.post("/api/v1/things")).status_code == 201
    assert read(routes) == ["get_thing", "make_thing"]


def test_the_document_has_all_of_them(routes: Routes) -> None:
    app = FastAPI()
    app.router.routes += routes.routes
    assert {*app.openapi()["paths"]} == {"/api/v1/things/{name}", "/api/v1/things"}


def test_what_no_route_has_is_missed_as_usual(routes: Routes) -> None:
    [route, _] = routes.routes
    assert route.unique_id == "get_thing"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = route.no_such_thing  # type: ignore[attr-defined]
