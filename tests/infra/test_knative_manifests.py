"""Every manifest for Kubernetes is valid, as written and as each overlay renders it, and safe to run."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
import yaml

from functions._adapters.http.addresses import FORBIDDEN_NETWORKS
from functions._engine.settings import Settings
from functions._hosts.knative.process import read_environment
from infra.generate import knative as generate_knative
from infra.generate.alerts import rules_file
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.executor_alerts import executor_rules_file
from infra.generate.learning_alerts import learning_rules_file
from infra.generate.manifests import LEARNING
from infra.generate.slo_alerts import sla_rules_file
from tests.conftest import ROOT, require
from tests.support.kubernetes import problems
from tests.support.kustomize import Resource, apply, containers, render

FOLDER = ROOT / "infra" / "knative"
OVERLAYS = ("dev", "kafka-broker", "scale-to-zero", "learning")
RENDERED = ("base", *(f"overlays/{name}" for name in OVERLAYS), "observability")
KUSTOMIZE = (["kubectl", "kustomize"] if shutil.which("kubectl") else None) or (
    ["kustomize", "build"] if shutil.which("kustomize") else None
)
CONNECTIONS = "FLOWC_DATABASE_CONNECTIONS"
AUTOSCALING = "autoscaling.knative.dev/"


def named(resources: list[Resource], kind: str, name: str) -> Resource:
    [found] = [r for r in resources if r["kind"] == kind and r["metadata"]["name"] == name]
    return found


def functions(resources: list[Resource]) -> list[Resource]:
    return [r for r in resources if r["apiVersion"] == "serving.knative.dev/v1"]


def scales(resources: list[Resource]) -> dict[str, dict[str, str]]:
    return {
        r["metadata"]["name"]: {
            key.removeprefix(AUTOSCALING): value
            for key, value in r["spec"]["template"]["metadata"]["annotations"].items()
        }
        for r in functions(resources)
    }


@pytest.mark.parametrize("folder", RENDERED)
def test_every_resource_is_what_its_schema_asks_for(folder: str) -> None:
    resources = render(FOLDER / folder)
    assert [problem for resource in resources for problem in problems(resource)] == []
    ids = [(r["apiVersion"], r["kind"], r["metadata"].get("namespace"), r["metadata"]["name"]) for r in resources]
    assert len(set(ids)) == len(ids)
    assert {r["metadata"].get("namespace", "flow-c") for r in resources} == {"flow-c"}


MISTAKES = {
    "a field that does not exist": ("Trigger", "/spec/borker", "flow-c"),
    "a missing delivery's unit": ("Trigger", "/spec/delivery/backoffDelay", "1"),
    "a filter that is no text": ("Trigger", "/spec/filter/attributes/type", 5),
    "a number in quotes": ("Service", "/spec/template/spec/containerConcurrency", "5"),
    "a budget of a field that does not exist": ("PodDisruptionBudget", "/spec/maxUnavailabel", 1),
    "a label that is no text": ("NetworkPolicy", "/spec/podSelector", {"matchLabels": {"a": 1}}),
    "a port of the wrong kind": ("NetworkPolicy", "/spec/ingress", [{"ports": [{"prot": 1}]}]),
    "a sink that is no sink": ("PingSource", "/spec/sink", "broker"),
    "a name with an underscore": ("SinkBinding", "/metadata/name", "enforce_sla"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_manifest_is_found(mistake: str) -> None:
    kind, path, value = MISTAKES[mistake]
    resource = deepcopy(next(r for r in render(FOLDER / "base") if r["kind"] == kind))
    assert problems(resource) == []
    apply(resource, [{"op": "add", "path": path, "value": value}])
    assert problems(resource)


@pytest.mark.slow
@pytest.mark.parametrize("folder", RENDERED)
def test_kustomize_renders_the_same(folder: str) -> None:
    require(KUSTOMIZE is not None, "apt-get install kubectl (or kustomize)")
    done = subprocess.run([*(KUSTOMIZE or ()), str(FOLDER / folder)], capture_output=True, text=True, check=True)
    theirs = list(yaml.safe_load_all(done.stdout))

    def place(resource: Resource) -> tuple[str, str]:
        return resource["kind"], resource["metadata"]["name"]

    assert sorted(theirs, key=place) == sorted(render(FOLDER / folder), key=place)


def test_every_file_belongs_to_some_kustomization() -> None:
    used = {FOLDER / "func.yaml"}
    for file in FOLDER.rglob("kustomization.yaml"):
        text = yaml.safe_load(file.read_text(encoding="utf-8"))
        used |= {file, *(file.parent / name for name in text.get("resources", []))}
        used |= {file.parent / patch["path"] for patch in text.get("patches", [])}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} - used == set()


def test_what_the_code_decides_is_as_it_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    status = generate_knative.main(["--check"])
    assert capsys.readouterr().err == ""
    assert status == 0


@pytest.mark.parametrize("folder", [name for name in RENDERED if name != "observability"])
def test_every_container_is_confined(folder: str) -> None:
    found = list(containers(render(FOLDER / folder)))
    assert len(found) >= 10
    for container in found:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {"cpu", "memory"} == container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert "readinessProbe" in container


def test_every_function_is_not_root_has_probes_bounds_and_no_account() -> None:
    for service in functions(render(FOLDER / "base")):
        spec = service["spec"]["template"]["spec"]
        [container] = spec["containers"]
        assert container["securityContext"]["runAsNonRoot"] is True
        assert container["readinessProbe"]["httpGet"]["path"] == "/health/readiness"
        assert container["livenessProbe"]["httpGet"]["path"] == "/health/liveness"
        assert spec["automountServiceAccountToken"] is False
        assert 1 <= spec["containerConcurrency"] <= 1000
        assert 0 < spec["timeoutSeconds"] <= 600, "Knative's max-revision-timeout-seconds"
        scale = service["spec"]["template"]["metadata"]["annotations"]
        assert 0 <= int(scale[f"{AUTOSCALING}min-scale"]) <= int(scale[f"{AUTOSCALING}max-scale"])


def test_a_function_that_may_have_several_pods_loses_one_at_a_time() -> None:
    resources = render(FOLDER / "base")
    budgets = {r["metadata"]["name"]: r["spec"] for r in resources if r["kind"] == "PodDisruptionBudget"}
    several = {name for name, scale in scales(resources).items() if int(scale["max-scale"]) > 1}
    assert budgets.keys() == several
    for name, spec in budgets.items():
        chosen = {"matchLabels": {"serving.knative.dev/service": name}}  # a label that Knative gives to pods
        assert spec == {"maxUnavailable": 1, "selector": chosen}


def test_every_function_scales_within_bounds_and_has_requests_and_limits() -> None:
    resources = render(FOLDER / "base")
    assert {name for name, scale in scales(resources).items() if int(scale["min-scale"]) >= 1} == {"api", "enforce-sla"}
    for name, scale in scales(resources).items():
        assert 1 <= int(scale["max-scale"]) <= 10, name  # two to ten are the bounds of the original
    for container in containers(resources):
        assert container["resources"] == {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        }


def test_only_the_api_has_an_address_outside_the_cluster() -> None:
    private = {"networking.knative.dev/visibility": "cluster-local"}.items()
    services = functions(render(FOLDER / "base"))
    assert [s["metadata"]["name"] for s in services if not private <= s["metadata"]["labels"].items()] == ["api"]


def environment(container: dict[str, Any], resources: list[Resource]) -> dict[str, str]:
    """Return what Kubernetes would put into a container's environment."""
    made: dict[str, str] = {}
    for source in container["envFrom"]:
        made |= named(resources, "ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in container["env"]:
        secret = entry["valueFrom"]["secretKeyRef"]
        values = named(resources, "Secret", secret["name"])["stringData"]
        if secret["key"] in values or not secret.get("optional"):
            made[entry["name"]] = values[secret["key"]]
    return made


def test_every_function_can_start_with_the_environment_of_its_pod() -> None:
    resources = render(FOLDER / "overlays" / "dev")
    for service in functions(resources):
        [container] = service["spec"]["template"]["spec"]["containers"]
        given = {"PORT": str(container["ports"][0]["containerPort"]), "K_SINK": "http://broker.example/flow-c/flow-c"}
        settings, _ = read_environment(container["args"][0], environment(container, resources) | given)
        assert not settings.host.is_loopback
        assert settings.api_key is not None
        assert bool(settings.alert_webhook_secrets) is (service["metadata"]["name"] == "api")
        assert settings.port == container["readinessProbe"]["httpGet"]["port"]
        assert str(settings.data).startswith(container["volumeMounts"][0]["mountPath"]), "nothing else can be written"


def test_the_secret_of_an_alertmanager_need_not_be_there_and_all_others_have_to() -> None:
    found = {
        (entry["name"], service["metadata"]["name"], entry["valueFrom"]["secretKeyRef"].get("optional", False))
        for service in functions(render(FOLDER / "base"))
        for entry in service["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert {one for one in found if one[2]} == {("FLOWC_ALERT_WEBHOOK_SECRET", "api", True)}
    assert {name for name, _, optional in found if not optional} == {
        "FLOWC_DATABASE_URL",
        "FLOWC_WORKER_KEY",
        "FLOWC_API_KEY",
    }


def test_no_secret_is_in_the_base_or_in_an_overlay_for_production() -> None:
    for folder in ("base", "overlays/kafka-broker", "overlays/scale-to-zero"):
        assert [r["metadata"]["name"] for r in render(FOLDER / folder) if r["kind"] == "Secret"] == []


def blocks(policy: Resource) -> Iterator[dict[str, Any]]:
    for rule in policy["spec"].get("egress", []):
        yield from (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer)


def opens(block: dict[str, Any], network: IPv4Network | IPv6Network) -> bool:
    """Whether an address of `network` may be called by what `block` allows."""
    around = ip_network(block["cidr"])
    if not (isinstance(around, IPv4Network) and isinstance(network, IPv4Network)) and not (
        isinstance(around, IPv6Network) and isinstance(network, IPv6Network)
    ):
        return False
    closed = [ip_network(text) for text in block.get("except", [])]
    return around.overlaps(network) and not any(network.subnet_of(other) for other in closed)  # type: ignore[arg-type]


def test_no_policy_lets_a_function_reach_a_metadata_address() -> None:
    policies = [r for r in render(FOLDER / "base") if r["kind"] == "NetworkPolicy"]
    found = [block for policy in policies for block in blocks(policy)]
    assert len(found) == 4
    assert [(b, n) for b in found for n in FORBIDDEN_NETWORKS if opens(b, n)] == []
    assert opens({"cidr": "0.0.0.0/0", "except": []}, FORBIDDEN_NETWORKS[0]), "so the check can fail"


def test_nothing_may_talk_unless_a_policy_says_so_and_functions_listen_to_knative_only() -> None:
    resources = render(FOLDER / "base")
    assert named(resources, "NetworkPolicy", "nothing-by-default")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    policies = [r for r in resources if r["kind"] == "NetworkPolicy"]
    [entry] = [rule for policy in policies for rule in policy["spec"].get("ingress", [])]
    [peer] = entry["from"]
    [expression] = peer["namespaceSelector"]["matchExpressions"]
    assert set(peer) == {"namespaceSelector"}
    assert {"knative-serving", "knative-eventing"} <= set(expression["values"])
    assert all(re.match(r"(knative|kourier|istio|contour)-", name) for name in expression["values"])
    assert 8080 not in {port["port"] for port in entry["ports"]}, "the container's port passes the queue proxy by"


def test_only_what_calls_workers_or_sinks_may_call_anywhere() -> None:
    resources = render(FOLDER / "base")
    label = named(resources, "NetworkPolicy", "callers-to-anywhere")["spec"]["podSelector"]["matchLabels"]
    callers = [
        service["metadata"]["name"]
        for service in functions(resources)
        if label.items() <= service["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert sorted(callers) == [
        "api",
        "assign",
        "calculate-budgets",
        "discover",
        "enforce-freezes",
        "enforce-sla",
        "heal-incident",
        "monitor",
        "notify",
        "publish-telemetry",
        "reconcile-resources",
        "run-executor",
        "track-workers",
    ]


def test_an_sla_is_watched_at_all_times_unless_everything_scales_to_zero() -> None:
    def timer(resources: list[Resource]) -> str:
        return str(named(resources, "ConfigMap", "flow-c-settings")["data"]["FLOWC_SLA_TIMER"])

    base, to_zero = render(FOLDER / "base"), render(FOLDER / "overlays" / "scale-to-zero")
    assert (timer(base), scales(base)["enforce-sla"]["min-scale"]) == ("true", "1")
    assert timer(to_zero) == "false"
    zero = scales(to_zero)
    assert {scale["min-scale"] for scale in zero.values()} == {"0"}
    slo = {"calculate-budgets", "enforce-freezes", "reconcile-resources"}
    ticked = {"enforce-sla", "track-workers", "heal-incident", "run-executor"} | slo
    assert {name for name, scale in zero.items() if scale.get("window") == "10s"} == ticked
    assert "grain of 60 s" in (FOLDER / "overlays" / "scale-to-zero" / "kustomization.yaml").read_text(encoding="utf-8")


def test_all_pods_together_do_not_ask_postgresql_for_more_connections_than_it_gives_by_default() -> None:
    for folder in ("base", "overlays/learning"):
        resources = render(FOLDER / folder)
        each = named(resources, "ConfigMap", "flow-c-settings")["data"]["FLOWC_DATABASE_CONNECTIONS"]
        connections = 0
        for service in functions(resources):
            template = service["spec"]["template"]
            own = [one["value"] for one in template["spec"]["containers"][0]["env"] if one["name"] == CONNECTIONS]
            pods = template["metadata"]["annotations"][f"{AUTOSCALING}max-scale"]
            connections += int(pods) * int(own[0] if own else each)
        assert connections <= 100 - 3, "three are kept for superusers"


def test_what_learns_has_the_settings_an_image_of_its_own_and_calls_nobody() -> None:
    resources = render(FOLDER / "overlays" / "learning")
    data = named(resources, "ConfigMap", "flow-c-settings")["data"]
    settings = Settings.from_mapping(data, api_key="k" * 32)
    assert (settings.learning, settings.insights) == ("on", True)
    off = Settings.from_mapping(
        named(render(FOLDER / "base"), "ConfigMap", "flow-c-settings")["data"], api_key="k" * 32
    )
    assert (off.learning, off.insights) == ("off", False)
    specs = {one["metadata"]["name"]: one["spec"]["template"] for one in functions(resources)}
    images = {name: template["spec"]["containers"][0]["image"] for name, template in specs.items()}
    assert {name for name, image in images.items() if image != "flow-c"} == {"learn"}
    assert images["learn"] == "flow-c-learn"
    for name in LEARNING:
        assert "neuralhive.io/calls-out" not in specs[name]["metadata"]["labels"]
        assert scales(resources)[name]["max-scale"] == "1"


def test_a_broker_that_may_lose_events_says_so() -> None:
    for folder in ("base", "overlays/scale-to-zero", "overlays/dev"):
        annotations = named(render(FOLDER / folder), "Broker", "flow-c")["metadata"]["annotations"]
        assert annotations["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
        assert "events are lost" in annotations["neuralhive.io/warning"]
    assert "!!! WARNING: AN IN-MEMORY CHANNEL LOSES EVENTS !!!" in (FOLDER / "base" / "broker.yaml").read_text()
    assert "An in-memory channel loses events" in (ROOT / "docs" / "operate" / "knative.md").read_text(encoding="utf-8")


def test_the_kafka_overlay_keeps_events_in_kafka() -> None:
    resources = render(FOLDER / "overlays" / "kafka-broker")
    broker = named(resources, "Broker", "flow-c")
    assert broker["metadata"]["annotations"] == {"eventing.knative.dev/broker.class": "Kafka"}
    config = named(resources, "ConfigMap", broker["spec"]["config"]["name"])["data"]
    assert {"bootstrap.servers", "default.topic.partitions", "default.topic.replication.factor"} <= config.keys()


def test_every_pod_of_a_function_is_scraped_with_the_key_it_asks_for() -> None:
    [monitor] = [r for r in render(FOLDER / "observability") if r["kind"] == "PodMonitor"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", "user-port")
    key = endpoint["authorization"]["credentials"]
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    services = functions(render(FOLDER / "base"))
    assert len(services) == 16
    for service in services:
        template = service["spec"]["template"]
        assert chosen <= template["metadata"]["labels"].items()
        asked = {
            entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in template["spec"]["containers"][0]["env"]
        }
        assert asked["FLOWC_API_KEY"] == key


def test_alerts_and_dashboard_are_those_of_the_catalogue() -> None:
    resources = render(FOLDER / "observability")
    [rules] = [r for r in resources if r["kind"] == "PrometheusRule"]
    files = (rules_file(), sla_rules_file(), executor_rules_file(), learning_rules_file())
    groups = [group for file in files for group in yaml.safe_load(file)["groups"]]
    assert rules["spec"] == {"groups": groups}
    [folder] = [r for r in resources if r["kind"] == "ConfigMap"]
    shown = {name: json.loads(text) for name, text in folder["data"].items()}
    assert shown == {f"{name}.json": dashboard(name) for name in DASHBOARDS}
    [monitor] = [r for r in resources if r["kind"] == "PodMonitor"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
