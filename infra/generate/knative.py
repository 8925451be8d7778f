"""Writes what the code decides of `infra/knative/`; `--check` only compares.

Run as `python -m infra.generate.knative`. All other files of the folder are written by hand.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from infra.generate.contract.folder import ROOT, differences, write
from infra.generate.contract.slo_documents import custom_resources
from infra.generate.manifests import LEARNING, SCALES, hyphened, kustomization, manifest
from infra.generate.manifests_monitoring import dashboards, rules

FOLDER = ROOT / "infra" / "knative"


def files() -> Mapping[str, Mapping[str, str]]:
    """Return, for each generated folder, the text of every file in it by its name."""
    functions = {f"{hyphened(name)}.yaml": manifest(name) for name in SCALES if name not in LEARNING}
    learning = {f"{hyphened(name)}.yaml": manifest(name) for name in LEARNING}
    return {
        "base/functions": {**functions, "kustomization.yaml": kustomization(sorted(functions))},
        "learning": {**learning, "kustomization.yaml": kustomization(sorted(learning))},
        "crds": {**custom_resources(), "kustomization.yaml": kustomization(sorted(custom_resources()))},
        "observability/generated": {
            "dashboard.yaml": dashboards(),
            "rules.yaml": rules(),
            "kustomization.yaml": kustomization(["dashboard.yaml", "rules.yaml"]),
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` return 1 and name those that differ."""
    parser = argparse.ArgumentParser(prog="generate_knative", description="Write the made part of infra/knative.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file differs")
    check = parser.parse_args(arguments).check
    drift: list[str] = []
    for folder, texts in files().items():
        if check:
            found = differences(FOLDER / folder, texts)
            drift += [f"infra/knative/{folder}/{difference}; run `make knative`" for difference in found]
        else:
            removed = write(FOLDER / folder, texts)
            sys.stderr.writelines(f"{folder}/{name} belonged to nothing and was removed\n" for name in removed)
    sys.stderr.writelines(f"{line}\n" for line in drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
