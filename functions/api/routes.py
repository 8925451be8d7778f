"""The routes of a subject, complete when they are declared; what the framework reads out of one is read when needed."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import Receive, Scope, Send

from functions.api.documents import problems
from functions.api.questions import known_parameters
from functions.api.roles import allowed


class LateRoute(APIRoute):
    """A route that knows its path, and is read by the framework with its first request, or for the document.

    To read all of them takes half a second, which every start of a process would wait for: a cold start, a command.
    """

    _read = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:  # noqa: ANN401 the framework's
        self._declared = path, endpoint, more
        self.path, self.endpoint = path, endpoint
        self.name = more.get("name") or endpoint.__name__
        self.methods = {method.upper() for method in more.get("methods") or ("GET",)}
        self.include_in_schema = more.get("include_in_schema", True)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the framework keeps
        """Read the route for something that only the framework knows of it."""
        if self._read or name == "_declared":
            raise AttributeError(name)
        self.read()
        return getattr(self, name)

    def read(self) -> None:
        """Let the framework read the route; to do it twice changes nothing."""
        path, endpoint, more = self._declared
        super().__init__(path, endpoint, **more)
        self._read = True

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the first one does not hold up the others while the route is read."""
        if not self._read:
            await asyncio.to_thread(self.read)
        await super().handle(scope, receive, send)


class Routes(APIRouter):
    """Routes that ask for a role, know their parameters and answer with problems; any app takes them as they are.

    `include_router` would read each route a second time, for every app, which takes as long as to import them.
    """

    def __init__(self, prefix: str = "", tags: Sequence[str] = ()) -> None:
        super().__init__(
            prefix=prefix,
            route_class=LateRoute,
            tags=[*tags],
            responses=problems(),
            dependencies=[Depends(allowed), Depends(known_parameters)],
            generate_unique_id_function=lambda route: route.name,
        )


def routes_of(routes: object) -> Sequence[BaseRoute]:
    """Return the routes of a router; a foreign one would ask nobody for a role."""
    if not isinstance(routes, Routes):
        raise TypeError(f"{routes!r} is no functions.api.routes.Routes")
    return routes.routes


def methods_of(routes: Iterable[BaseRoute]) -> Mapping[str, frozenset[str]]:
    """Return the methods of each path; the document would say the same, but takes long to make."""
    methods: dict[str, frozenset[str]] = {}
    for route in routes:
        if isinstance(route, Route):
            methods[route.path_format] = methods.get(route.path_format, frozenset()) | frozenset(route.methods or ())
    return methods
