"""Alert rules of the SLOs, as a file for Prometheus; `flowc slo rules` fetches it."""

import asyncio

from fastapi import Response

from functions._core.slo import stored
from functions._core.slo.rule_files import rules_of
from functions.api.documents import problems
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import Service

router = Routes(prefix="/api/v1/slos", tags=["slos"])

YAML = "application/yaml"


@router.get(
    "/rules",
    response_class=Response,
    responses={**problems(422), 200: {"content": {YAML: {"schema": {"type": "string"}}}}},
)
async def slo_rules(services: Services, service_name: Service = None) -> Response:
    """Return alert rules of Prometheus for the SLOs whose indicator is a query: multi-window, multi-burn-rate.

    Each alert carries the label `slo`, by which an Alertmanager sends it to `POST /webhooks/alertmanager`. Prometheus
    refuses a file with a query that it cannot read; `POST /api/v1/slos/{slo_id}/test` finds that one.
    """
    slos = [one for one in await stored.slos(services.ports.key_values) if service_name in {None, one.service_name}]
    text = await asyncio.to_thread(rules_of, slos)  # two thousand SLOs make 20,000 rules
    return Response(text, media_type=YAML)
