"""What `kustomize build` makes of the kustomizations in this project, for machines that do not have it.

Whole resources, JSON6902 patches and new image names; anything else is refused, so nothing is left out silently. A
test compares it with the real one where that is there.
"""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]


def render(folder: Path) -> list[Resource]:
    """Return the resources that the kustomization in `folder` stands for."""
    text = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := text.keys() - {"apiVersion", "kind", "resources", "patches", "images"}:
        raise ValueError(f"{folder}: this does not know {sorted(unknown)}")
    resources = [resource for name in text["resources"] for resource in _load(folder / name)]
    for patch in text.get("patches", []):
        targets = [resource for resource in resources if _is_target(resource, patch["target"])]
        if not targets:
            raise LookupError(f"{folder}: a patch finds no {patch['target']}")
        for target in targets:
            apply(target, yaml.safe_load((folder / patch["path"]).read_text(encoding="utf-8")))
    for image in text.get("images", []):
        for container in containers(resources):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
    return resources


def apply(resource: Resource, operations: list[dict[str, Any]]) -> None:
    """Change `resource` by JSON patch operations (RFC 6902) on members of objects."""
    for operation in operations:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = resource
        for part in path:
            place = place[part]
        if not isinstance(place, dict):
            raise TypeError(f"{operation['path']}: this knows members of objects only")
        if operation["op"] != "add" and last not in place:
            raise LookupError(f"{operation['path']}: nothing to {operation['op']}")
        if operation["op"] == "remove":
            del place[last]
        elif operation["op"] in {"add", "replace"}:
            place[last] = deepcopy(operation["value"])
        else:
            raise ValueError(f"this does not know the operation {operation['op']}")


def containers(resources: list[Resource]) -> Iterator[dict[str, Any]]:
    """Yield the containers of every pod template."""
    for resource in resources:
        template = resource.get("spec", {}).get("template", {})
        yield from template.get("spec", {}).get("containers", [])


def _load(path: Path) -> list[Resource]:
    if path.is_dir():
        return render(path)
    return [resource for resource in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if resource]


def _is_target(resource: Resource, target: dict[str, str]) -> bool:
    group, _, version = resource["apiVersion"].rpartition("/")
    found = {"group": group, "version": version, "kind": resource["kind"], "name": resource["metadata"]["name"]}
    return all(found[key] == value for key, value in target.items())
