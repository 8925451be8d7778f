"""What the cluster is asked to allow where freezes annotate it, and the custom resources that it may have."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from functions._engine.settings import Settings
from tests.conftest import ROOT, require
from tests.support.cluster_api import RIGHTS
from tests.support.kubernetes import problems
from tests.support.kustomize import Resource, render

FOLDER = ROOT / "infra" / "knative"
OVERLAY, CRDS = FOLDER / "overlays" / "cluster-freezes", FOLDER / "crds"
RESOURCES = FOLDER / "overlays" / "custom-resources"


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [one for one in resources if one["kind"] == kind]


@pytest.mark.parametrize("folder", [OVERLAY, CRDS, RESOURCES])
def test_every_resource_is_what_kubernetes_takes(folder: Path) -> None:
    resources = render(folder)
    assert [problem for resource in resources for problem in problems(resource)] == []


def test_one_function_alone_may_change_what_freezes_are_about_and_nothing_else() -> None:
    resources = render(OVERLAY)
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in of_kind(resources, "Service")
        if one["apiVersion"] == "serving.knative.dev/v1"
    }
    having = {name for name, pod in pods.items() if pod["automountServiceAccountToken"]}
    assert having == {name for name, pod in pods.items() if "serviceAccountName" in pod} == {"enforce-freezes"}
    (account,), (role,), (binding,) = (
        of_kind(resources, kind) for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    )
    assert account["metadata"]["name"] == pods["enforce-freezes"]["serviceAccountName"]
    assert account["automountServiceAccountToken"] is False
    subject = {"kind": "ServiceAccount", "name": "enforce-freezes", "namespace": "flow-c"}
    assert (binding["subjects"], binding["roleRef"]["name"]) == ([subject], role["metadata"]["name"])
    # The server of the adapter's tests allows just this.
    allowed = {(verb, name) for rule in role["rules"] for verb in rule["verbs"] for name in rule["resources"]}
    assert allowed == RIGHTS
    base = render(FOLDER / "base")
    assert of_kind(base, "ClusterRole") == of_kind(base, "ServiceAccount") == []


def test_the_settings_name_the_cluster_that_the_function_is_in() -> None:
    (config,) = [one for one in of_kind(render(OVERLAY), "ConfigMap") if one["metadata"]["name"] == "flow-c-settings"]
    settings = Settings.from_mapping(config["data"], api_key="k" * 32)
    assert str(settings.freeze_cluster_url) == "https://kubernetes.default.svc/"
    assert settings.freeze_service_label == Settings.model_fields["freeze_service_label"].default
    assert settings.freeze_namespaces == Settings.model_fields["freeze_namespaces"].default
    assert str(settings.freeze_token_file).startswith("/var/run/secrets/kubernetes.io/serviceaccount/")


def test_custom_resources_of_chosen_namespaces_are_watched_and_told_to_the_front_door() -> None:
    resources = render(RESOURCES)
    (source,) = of_kind(resources, "ApiServerSource")
    watched = {(one["apiVersion"], one["kind"]) for one in source["spec"]["resources"]}
    crds = {one["spec"]["names"]["kind"]: one["spec"] for one in of_kind(resources, "CustomResourceDefinition")}
    assert watched == {(f"{one['group']}/{one['versions'][0]['name']}", kind) for kind, one in crds.items()}
    assert source["spec"]["mode"] == "Resource"
    assert source["spec"]["namespaceSelector"]["matchLabels"], "without labels these would be all namespaces"
    (account,), (role,), (binding,) = (
        of_kind(resources, kind) for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    )
    (rule,) = role["rules"]
    assert (rule["apiGroups"], set(rule["verbs"])) == (["neural-hive.io"], {"get", "list", "watch"})
    assert set(rule["resources"]) == {one["names"]["plural"] for one in crds.values()}
    assert source["spec"]["serviceAccountName"] == account["metadata"]["name"] == binding["subjects"][0]["name"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert source["spec"]["sink"]["ref"]["name"] == "api"
    (config,) = [one for one in of_kind(resources, "ConfigMap") if one["metadata"]["name"] == "flow-c-settings"]
    settings = Settings.from_mapping(config["data"], api_key="k" * 32)
    assert settings.oidc_audience == source["spec"]["sink"]["audience"]
    # One account has a role, and it is the least that may apply documents.
    assert [pair.rpartition("=")[2] for pair in settings.oidc_roles.split()] == ["operator"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [OVERLAY, CRDS, RESOURCES])
def test_kustomize_renders_the_same(folder: Path) -> None:
    require(shutil.which("kubectl") is not None, "apt-get install kubectl")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    theirs = list(yaml.safe_load_all(done.stdout))

    def place(resource: Resource) -> tuple[str, str]:
        return resource["kind"], resource["metadata"]["name"]

    assert sorted(theirs, key=place) == sorted(render(folder), key=place)
