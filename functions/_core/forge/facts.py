"""The facts about a build that its attestations state, and what was made by it, by hash."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from functions._core.forge.stages import ComposedCode, SelectedTemplate, TestedCode, ValidatedCode

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
"""The time of what has none: that of files in archives whose bytes depend on nothing but their content."""


class BaseImage(NamedTuple):
    """An image that an image was made from."""

    name: str
    """Its repository, such as `docker.io/library/python`."""
    digest: str
    """`sha256:` and the hash of its manifest."""
    tag: str = ""
    """The tag by which it was asked for."""

    @property
    def purl(self) -> str:
        """Its package URL."""
        tag = f"&tag={quote(self.tag, safe='')}" if self.tag else ""
        where = f"{quote(self.digest, safe='')}?repository_url={quote(self.name, safe='/')}{tag}"
        return f"pkg:oci/{self.name.rpartition('/')[2]}@{where}"


class BuildFacts(NamedTuple):
    """Who built what of what, and what was found before."""

    artifact_id: str
    """What is made, such as `acme/shop`."""
    version: str
    """Its version."""
    code: ComposedCode
    """The project, as compose_code has made it."""
    flow_id: str
    """The pipeline."""
    ticket_id: str
    """The ticket of the stage package."""
    attempt: int
    """Its attempt."""
    began_at: datetime
    """When the build began, UTC."""
    ended_at: datetime
    """When it ended, UTC."""
    worker_id: str = ""
    """The worker, where it is known."""
    template: SelectedTemplate | None = None
    """The template of the project."""
    validation: ValidatedCode | None = None
    """What the validators found."""
    tests: TestedCode | None = None
    """What the tests said."""
    bases: tuple[BaseImage, ...] = ()
    """The images that images were made from."""
    source_at: datetime = EARLIEST
    """When the source was written, UTC: the time of the lists of components, which are the same for the same source."""


Hashes = Mapping[str, str]
"""SHA-256 in hexadecimal digits by the paths of files."""
