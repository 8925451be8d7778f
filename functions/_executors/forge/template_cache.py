"""Templates of repositories that were fetched within the last hour, in the folder of the worker.

Each is a .tar.gz and what is known of it, in one file that is written beside its place and moved there: workers that
share a folder see a whole one or none. What cannot be read counts as not there.
"""

import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from functions._core.forge.stages import TemplateSource
from functions._executors.forge.templates_at import MOST_BYTES

CACHE = "forge-templates"
"""The folder, beside those of jobs: none of them is called so, as each ends with the number of its attempt."""

CACHED_SECONDS = 3_600.0
"""How long a template is not looked up again."""

MOST_CACHED = 200
"""Templates that are kept; of more the oldest go."""

FORMAT = 1
"""The number of what is kept; files of another one are not found."""

LONGEST_FILE = 2 * MOST_BYTES


@dataclass(frozen=True, slots=True)
class CachedTemplate:
    """A template with its content."""

    content: bytes
    """The template as a .tar.gz."""
    about: Mapping[str, Any]
    """What is known of it."""


class TemplateCache:
    """Keeps templates below one folder. Methods block, and never raise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CACHE

    def get(self, source: TemplateSource) -> CachedTemplate | None:
        """Return what was kept for a source within the last hour."""
        try:
            with self._place(source).open("rb") as file:
                data = file.read(LONGEST_FILE + 1)
            head, _, content = data.partition(b"\n")
            said = json.loads(head)
            age = time.time() - float(said["at"])
            if not 0 <= age < CACHED_SECONDS or sha256(content).hexdigest() != said["sha256"]:
                return None
            return CachedTemplate(content, dict(said["about"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, source: TemplateSource, template: CachedTemplate) -> None:
        """Keep a template; where that is not possible the next one is fetched again."""
        head = {"at": time.time(), "sha256": sha256(template.content).hexdigest(), "about": dict(template.about)}
        place = self._place(source)
        beside = place.with_name(f"{place.name}.{secrets.token_hex(8)}.new")
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._tidy()
            try:
                with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(json.dumps(head).encode() + b"\n" + template.content)
                beside.replace(place)
            finally:
                beside.unlink(missing_ok=True)

    def _place(self, source: TemplateSource) -> Path:
        return (
            self._folder / sha256(json.dumps([FORMAT, source.git, source.ref, source.subfolder]).encode()).hexdigest()
        )

    def _tidy(self) -> None:
        """Remove what nobody takes any more."""
        now = time.time()
        files = sorted(((path.stat().st_mtime, path) for path in self._folder.iterdir()), reverse=True)
        for number, (changed, path) in enumerate(files):
            if number >= MOST_CACHED or now - changed > CACHED_SECONDS:
                path.unlink(missing_ok=True)
