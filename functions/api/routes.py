"""The routes of a subject, complete when they are declared."""

from collections.abc import Iterable, Mapping, Sequence

from fastapi import APIRouter, Depends
from starlette.routing import BaseRoute, Route

from functions.api.documents import problems
from functions.api.questions import known_parameters
from functions.api.roles import allowed


class Routes(APIRouter):
    """Routes that ask for a role, know their parameters and answer with problems; any app takes them as they are.

    `include_router` would read each route a second time, for every app, which takes as long as to import them.
    """

    def __init__(self, prefix: str = "", tags: Sequence[str] = ()) -> None:
        super().__init__(
            prefix=prefix,
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
