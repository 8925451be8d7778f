"""The weights of tenants, as the setting names them; see `turns`."""

import re
from collections.abc import Mapping

WEIGHTS = re.compile(r"\s*([^\s=,]+)=(\d+)\s*")
"""A tenant and its weight."""

HEAVIEST = 1_000
"""The largest weight."""


def read_weights(text: str) -> Mapping[str, int]:
    """Return the weights in `tenant=weight,tenant=weight`; raise `ValueError` for anything else."""
    found: dict[str, int] = {}
    for part in text.split(",") if text.strip() else ():
        match = WEIGHTS.fullmatch(part)
        if match is None or not 1 <= int(match[2]) <= HEAVIEST or match[1] in found:
            raise ValueError(
                f"must be tenant=weight with commas between, weights from 1 to {HEAVIEST}, no tenant twice"
            )
        found[match[1]] = int(match[2])
    return found


def weight_of(tenant: str | None, weights: Mapping[str, int]) -> int:
    """Return the weight of a tenant: 1 for one that is not named."""
    return weights.get(tenant or "", 1)
