"""Writes `infra/observability/` from the metric catalogue; `--check` only compares.

Run as `python -m infra.generate.observability`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from infra.generate.alerts import rules_file
from infra.generate.contract.folder import ROOT, differences, pretty, write
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.executor_alerts import executor_rules_file
from infra.generate.learning_alerts import learning_rules_file
from infra.generate.slo_alerts import alertmanager_file, sla_rules_file

FOLDER = ROOT / "infra" / "observability"

SCRAPE = """\
# An example: `prometheus --config.file=infra/observability/prometheus.yaml` beside `flowc up`.
# Grafana imports grafana-*.json. Made by `make observability`; do not edit.
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files:
  - alerts.yaml
  - alerts-sla.yaml
  - alerts-executors.yaml
  - alerts-learning.yaml
  # Alert rules of your SLOs: flowc slo rules --output slos.yaml
  # - slos.yaml
scrape_configs:
  - job_name: flowc
    static_configs:
      # Workers with executors beside it, such as `flowc worker --executor command --port 8081`:
      # - targets: ["127.0.0.1:8081"]
      - targets: ["127.0.0.1:8080"]
    # Where the platform asks for a key (FLOWC_API_KEY):
    # authorization: {type: Bearer, credentials_file: /run/secrets/flowc-api-key}
"""


def files() -> Mapping[str, str]:
    """Return the text of every file in the folder by its name."""
    return {
        "alertmanager.yaml": alertmanager_file(),
        "alerts-executors.yaml": executor_rules_file(),
        "alerts-learning.yaml": learning_rules_file(),
        "alerts-sla.yaml": sla_rules_file(),
        "alerts.yaml": rules_file(),
        **{f"grafana-{name}.json": pretty(dashboard(name)) + "\n" for name in DASHBOARDS},
        "prometheus.yaml": SCRAPE,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` return 1 and name those that differ."""
    parser = argparse.ArgumentParser(prog="generate_observability", description="Write infra/observability.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file differs")
    if not parser.parse_args(arguments).check:
        sys.stderr.writelines(
            f"{FOLDER.name}/{name} belonged to nothing and was removed\n" for name in write(FOLDER, files())
        )
        return 0
    drift = [f"infra/observability/{difference}" for difference in differences(FOLDER, files())]
    sys.stderr.writelines(f"{line}; run `make observability`\n" for line in drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
