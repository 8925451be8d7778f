"""The alert rules and the dashboards as resources of Kubernetes, for the operators of Prometheus and for Grafana."""

from textwrap import indent

from infra.generate.alerts import rules_file
from infra.generate.contract.folder import pretty
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.executor_alerts import executor_rules_file
from infra.generate.learning_alerts import learning_rules_file
from infra.generate.manifests import NAMESPACE
from infra.generate.slo_alerts import sla_rules_file

MADE = "# Made by `make knative` from the catalogue of metrics; do not edit."


def rules() -> str:
    """Return the alert rules for the Prometheus operator."""
    files = (rules_file(), sla_rules_file(), executor_rules_file(), learning_rules_file())
    groups = "".join(file.partition("groups:\n")[2] for file in files)
    return f"""\
{MADE}
# The Prometheus operator takes rules by label: set the one that yours looks for (`ruleSelector`).
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flow-c
  namespace: {NAMESPACE}
  labels:
    release: prometheus
spec:
  groups:
{indent(groups, "  ")}"""


def dashboards() -> str:
    """Return the dashboards for Grafana's sidecar, which takes ConfigMaps by label."""
    texts = "".join(f"  {name}.json: |\n{indent(pretty(dashboard(name)), '    ')}\n" for name in DASHBOARDS)
    return f"""\
{MADE}
apiVersion: v1
kind: ConfigMap
metadata:
  name: flow-c-dashboard
  namespace: {NAMESPACE}
  labels:
    grafana_dashboard: "1"
data:
{texts}"""
