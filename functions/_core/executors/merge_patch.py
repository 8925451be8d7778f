"""Merge patches of JSON (RFC 7396), in which null removes a member: what one makes of a value, and the one between two.

Argo CD and the API of Kubernetes take them. Where null is a value like any other, as in values of Helm, an object is
laid over another one instead.
"""

from collections.abc import Mapping
from typing import Any


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 any JSON
    """Return what a merge patch makes of a value."""
    if not isinstance(patch, Mapping):
        return patch
    kept = dict(target) if isinstance(target, Mapping) else {}
    changed = {name: merged(kept.get(name), value) for name, value in patch.items()}
    return {name: value for name, value in {**kept, **changed}.items() if patch.get(name, value) is not None}


def difference(present: Any, wanted: Any) -> Any:  # noqa: ANN401 any JSON
    """Return the merge patch that makes one value of another one."""
    if not isinstance(present, Mapping) or not isinstance(wanted, Mapping):
        return wanted
    gone = dict.fromkeys(present.keys() - wanted.keys())
    changed = {name: value for name, value in wanted.items() if name not in present or present[name] != value}
    return {**gone, **{name: difference(present.get(name), value) for name, value in changed.items()}}


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with what another one has over it, at any depth."""
    whole = dict(below)
    for name, value in above.items():
        old = whole.get(name)
        whole[name] = laid_over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return whole
