"""The Knative resources wire exactly the routes that the code declares, and nothing is lost silently."""

from typing import Any

import pytest
import yaml

from functions._core.events.catalogue import BY_TYPE
from functions._core.events.routes import HANDLERS
from infra.generate.contract.folder import ROOT
from infra.generate.manifests import LEARNING
from tests.support.kubernetes import func_problems
from tests.support.kustomize import Resource, render

FOLDER = ROOT / "infra" / "knative"
BROKER = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "flow-c"}}
DEAD_LETTERS = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "dead-letter"}}
PING = "dev.knative.sources.ping"
DEPLOYABLE = {path.parent.name for path in (ROOT / "functions").glob("[a-z]*/__init__.py")}
LEARNS = "overlays/learning"
OVERLAYS = ("base", "overlays/dev", "overlays/kafka-broker", "overlays/scale-to-zero", LEARNS)

pytestmark = pytest.mark.parametrize("folder", OVERLAYS)


@pytest.fixture
def resources(folder: str) -> list[Resource]:
    return render(FOLDER / folder)


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [r for r in resources if r["kind"] == kind and ("knative.dev" in r["apiVersion"])]


def test_the_triggers_are_the_routes(folder: str, resources: list[Resource]) -> None:
    routes = {
        (f"io.neuralhive.{event_type}.v1", function.replace("_", "-")) for event_type, function in HANDLERS.items()
    }
    ticked = {name.replace("_", "-") for name in BY_TYPE["clock.ticked"].handled_by.split(", ")}
    slo = {"calculate-budgets", "enforce-freezes", "reconcile-resources"}
    assert ticked == {"enforce-sla", "track-workers", "heal-incident", "run-executor", *LEARNING} | slo
    ticked -= set() if folder == LEARNS else {*LEARNING}
    triggers = [
        (*t["spec"]["filter"]["attributes"].values(), t["spec"]["subscriber"]["ref"]["name"])
        for t in of_kind(resources, "Trigger")
    ]
    transitions = {("/flowc", "notify")}
    assert sorted(triggers) == sorted(routes | {(PING, name) for name in ticked} | transitions)


def test_every_trigger_filters_by_one_exact_type_or_source_of_the_one_broker(resources: list[Resource]) -> None:
    [broker] = of_kind(resources, "Broker")
    for trigger in of_kind(resources, "Trigger"):
        assert trigger["spec"]["broker"] == broker["metadata"]["name"]
        assert trigger["spec"]["filter"].keys() == {"attributes"}
        subscriber = trigger["spec"]["subscriber"]["ref"]
        by = "source" if subscriber["name"] == "notify" else "type"
        assert trigger["spec"]["filter"]["attributes"].keys() == {by}
        assert (subscriber["apiVersion"], subscriber["kind"]) == ("serving.knative.dev/v1", "Service")


def check_delivery(delivery: dict[str, Any], least: int) -> None:
    assert delivery["retry"] >= least
    assert delivery["backoffPolicy"] == "exponential"
    assert delivery["backoffDelay"] == "PT1S"
    assert delivery["timeout"] == "PT60S"
    assert delivery["deadLetterSink"] == DEAD_LETTERS


def test_every_consumer_has_retries_and_a_dead_letter_sink(resources: list[Resource]) -> None:
    for trigger in of_kind(resources, "Trigger"):
        is_tick = trigger["spec"]["filter"]["attributes"].get("type") == PING
        check_delivery(trigger["spec"]["delivery"], 3 if is_tick else 10)
    [broker] = of_kind(resources, "Broker")
    check_delivery(broker["spec"]["delivery"], 10)


def test_a_consumer_is_not_given_up_before_a_request_to_it_may_end(resources: list[Resource]) -> None:
    consumers = {t["spec"]["subscriber"]["ref"]["name"] for t in of_kind(resources, "Trigger")} | {"dead-letter"}
    services = {s["metadata"]["name"]: s["spec"]["template"]["spec"] for s in of_kind(resources, "Service")}
    assert {services[name]["timeoutSeconds"] for name in consumers} == {60}


def test_every_deployable_function_is_one_service_with_its_argument_and_a_binding(
    folder: str, resources: list[Resource]
) -> None:
    deployed = DEPLOYABLE if folder == LEARNS else DEPLOYABLE - {*LEARNING}
    services = {
        s["metadata"]["name"]: s["spec"]["template"]["spec"]["containers"] for s in of_kind(resources, "Service")
    }
    assert {name: [c["args"] for c in found] for name, found in services.items()} == {
        name.replace("_", "-"): [[name]] for name in deployed
    }
    bindings = {b["spec"]["subject"]["name"]: b["spec"] for b in of_kind(resources, "SinkBinding")}
    assert bindings.keys() == services.keys()
    for name, binding in bindings.items():
        assert binding["subject"] == {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}
        assert binding["sink"] == BROKER


def test_the_clock_ticks_each_minute_into_the_broker(resources: list[Resource]) -> None:
    [clock] = of_kind(resources, "PingSource")
    assert clock["spec"]["schedule"] == "* * * * *"
    assert clock["spec"]["sink"] == BROKER


def test_the_file_for_func_deploys_the_same(resources: list[Resource]) -> None:
    document = yaml.load((FOLDER / "func.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 all texts
    typed = yaml.safe_load((FOLDER / "func.yaml").read_text(encoding="utf-8"))
    assert func_problems({**typed, "created": document["created"]}) == []
    assert func_problems({**typed, "created": document["created"], "nmae": "validate"})
    name = document["name"]
    [service] = [s for s in of_kind(resources, "Service") if s["metadata"]["name"] == name]
    [container] = service["spec"]["template"]["spec"]["containers"]
    envs = {entry.get("name"): entry["value"] for entry in document["run"]["envs"]}
    [settings] = container["envFrom"]
    assert envs == {
        "FUNCTION": container["args"][0],
        None: f"{{{{ configMap:{settings['configMapRef']['name']} }}}}",
        **{
            entry["name"]: "{{{{ secret:{name}:{key} }}}}".format(**entry["valueFrom"]["secretKeyRef"])
            for entry in container["env"]
        },
    }
    deploy = typed["deploy"]
    assert deploy["healthEndpoints"] == {
        which: container[f"{which}Probe"]["httpGet"]["path"] for which in ("liveness", "readiness")
    }
    concurrency = service["spec"]["template"]["spec"]["containerConcurrency"]
    assert deploy["options"]["resources"] == {
        "requests": container["resources"]["requests"],
        "limits": {**container["resources"]["limits"], "concurrency": concurrency},
    }
    scale = service["spec"]["template"]["metadata"]["annotations"]
    assert {
        f"autoscaling.knative.dev/{key}-scale": str(pods) for key, pods in deploy["options"]["scale"].items()
    } == scale
    triggers = [t["spec"] for t in of_kind(resources, "Trigger") if t["spec"]["subscriber"]["ref"]["name"] == name]
    assert deploy["subscriptions"] == [{"source": t["broker"], "filters": t["filter"]["attributes"]} for t in triggers]
