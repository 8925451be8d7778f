"""What AWS asks for, from a dated file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PRICES = Path(__file__).parent / "prices.json"


class PricesUnusable(Exception):
    """A file of prices is none, or lacks something."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for one of each, and what is assumed where nothing can be counted."""

    date: str
    region: str
    source: str
    assumptions: str
    dollars: Mapping[str, float]
    assumed: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of prices; raise `PricesUnusable`."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            own = json.loads(PRICES.read_text(encoding="utf-8"))
            parts: dict[str, Any] = {name: found[name] for name in own}
            for name in ("dollars", "assumed"):
                parts[name] = {key: float(found[name][key]) for key in own[name]}
            return cls(**parts)
        except KeyError as missing:
            raise PricesUnusable(f"{path} does not say {missing}") from missing
        except (OSError, ValueError, TypeError) as wrong:
            raise PricesUnusable(f"{path}: {wrong}") from wrong

    def compute(self, invocations: float, requests: float = 0) -> float:
        """Return the dollars of so many invocations, of which some are requests, beside what is paid for each."""
        seconds = (invocations - requests) * self._seconds("a function") + requests * self._seconds("the api")
        return seconds * self.dollars["GB-seconds"]

    def _seconds(self, of: str) -> float:
        return self.assumed[f"MB of {of}"] / 1024 * self.assumed[f"milliseconds of {of}"] / 1000
