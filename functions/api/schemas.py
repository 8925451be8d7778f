"""The JSON Schemas of what people write, by which editors complete it: the same for everybody."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import Response

from functions.api.documents import problems
from functions.api.preconditions import IfNoneMatch, names
from functions.api.routes import Routes

router = Routes(prefix="/schemas", tags=["plans"])

MEDIA_TYPE = "application/schema+json"
AN_HOUR = "public, max-age=3600"
ANSWERS = {
    **problems(400, 422),
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}},
    304: {"description": "It is still the one that an ETag of If-None-Match names"},
}


@router.get("/plan.json", response_class=Response, responses=ANSWERS)
async def get_plan_schema(if_none_match: IfNoneMatch = None) -> Response:
    """Return the JSON Schema of a plan."""
    return _schema("plan", if_none_match)


@router.get("/decision.json", response_class=Response, responses=ANSWERS)
async def get_decision_schema(if_none_match: IfNoneMatch = None) -> Response:
    """Return the JSON Schema of a decision, with its plan."""
    return _schema("decision", if_none_match)


@router.get("/slo-definition.json", response_class=Response, responses=ANSWERS)
async def get_slo_definition_schema(if_none_match: IfNoneMatch = None) -> Response:
    """Return the JSON Schema of an SLO as a document."""
    return _schema("slo-definition", if_none_match)


@router.get("/sla-policy.json", response_class=Response, responses=ANSWERS)
async def get_sla_policy_schema(if_none_match: IfNoneMatch = None) -> Response:
    """Return the JSON Schema of a freeze policy as a document."""
    return _schema("sla-policy", if_none_match)


def _schema(name: str, if_none_match: str | None) -> Response:
    text = schema_text(name)
    tag = sha256(text).hexdigest()[:32]
    headers = {"etag": f'"{tag}"', "cache-control": AN_HOUR}
    if if_none_match is not None and names(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type=MEDIA_TYPE, headers=headers)


@cache
def schema_text(name: str) -> bytes:
    """Return a schema, such as that of a `plan`, as JSON; it was made with the release."""
    return Path(__file__).with_name(f"{name}.schema.json").read_bytes()
