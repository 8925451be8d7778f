"""What is asked of texts, and what is answered. `space` names the vectors that were compared: see `Embeddings`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from functions._core.insights.semantics import MAX_TEXT
from functions._core.records.values import Model, a_number

MAX_TEXTS = 1000

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
SomeTexts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_TEXTS)]
Figure = BeforeValidator(a_number)


class TextsForm(Model):
    """What all of them share: a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SimilarityForm(TextsForm):
    """Two texts."""

    text1: Text
    """One of them."""
    text2: Text
    """The other one."""


class TextSearchForm(TextsForm):
    """A text, and those among which others like it are looked for."""

    query: Text
    """The text."""
    texts: SomeTexts
    """Those that are looked through."""
    top_k: Annotated[int, Field(ge=1, le=100), Figure] = 5
    """How many to return at most."""
    threshold: Annotated[float, Field(ge=-1, le=1), Figure] = 0.7
    """How alike they have to be, 1 for the same."""


class ClusterForm(TextsForm):
    """Texts that are put together."""

    texts: SomeTexts
    """The texts."""
    eps: Annotated[float, Field(gt=0, le=2), Figure] = 0.5
    """How far from each other neighbours are at most: 1 less their similarity."""
    min_samples: Annotated[int, Field(ge=1, le=MAX_TEXTS), Figure] = 2
    """How many neighbours, the text itself among them, make a cluster."""


class DriftForm(TextsForm):
    """Texts of before, and of now."""

    baseline_texts: SomeTexts
    """Those of before."""
    current_texts: SomeTexts
    """Those of now."""
    threshold: Annotated[float, Field(ge=0, le=2), Figure] = 0.3
    """From which distance of their middles on they have drifted."""


class OutlierForm(TextsForm):
    """Texts of which some may be strange."""

    texts: SomeTexts
    """The texts."""
    threshold_percentile: Annotated[float, Field(ge=50, le=99.9), Figure] = 95.0
    """The percentile of all distances from the middle beyond which a text is strange."""


class SimilarityAnswer(Model):
    """How alike two texts are."""

    similarity: float
    """1 for the same, 0 for nothing in common."""
    space: str
    """What was compared."""


class FoundText(Model):
    """A text that was found."""

    index: int
    """Its place among those that were sent."""
    text: str
    """The text."""
    similarity: float
    """How alike it is."""


class TextSearchAnswer(Model):
    """The texts that are alike, the best first."""

    items: tuple[FoundText, ...]
    """The texts."""
    space: str
    """What was compared."""


class TextCluster(Model):
    """Texts that belong together."""

    cluster: int
    """The number of the cluster, from 0."""
    indices: tuple[int, ...]
    """The places of its texts."""


class ClusterAnswer(Model):
    """Texts by cluster."""

    labels: tuple[int, ...]
    """The cluster of each text, -1 for none."""
    clusters: tuple[TextCluster, ...]
    """The clusters, by number."""
    noise: tuple[int, ...]
    """The places of those that are in none."""
    space: str
    """What was compared."""


class DriftAnswer(Model):
    """How far texts have moved."""

    distance: float
    """The distance of both middles, 0 to 2."""
    threshold: float
    """From which distance on they have drifted."""
    drifted: bool
    """Whether they have."""
    space: str
    """What was compared."""


class StrangeText(Model):
    """A text that is far from all others."""

    index: int
    """Its place among those that were sent."""
    text: str
    """The text."""
    distance: float
    """Its distance from the middle of all."""


class OutlierAnswer(Model):
    """The strange ones among some texts, the strangest first."""

    items: tuple[StrangeText, ...]
    """The texts."""
    limit: float
    """The distance beyond which a text is strange."""
    space: str
    """What was compared."""


class FoundError(Model):
    """An error of flows, or an insight, that is like what was looked for."""

    kind: Literal["error", "insight"]
    """Which of them it is."""
    text: str
    """The sentence of the error, or the title of the insight."""
    code: str | None = None
    """The code of the error."""
    similarity: float
    """How alike it is."""
    count: int
    """How many tickets ended by it; 1 for an insight."""
    flows: tuple[str, ...] = ()
    """Ids of flows that had it, the newest first, 20 at most."""
    insight_id: str | None = None
    """Id of the insight."""


class ErrorSearchAnswer(Model):
    """Errors and insights that are like what was looked for, the best first."""

    items: tuple[FoundError, ...]
    """The errors and insights."""
    flows: int
    """How many ended flows were looked at, the newest."""
    complete: bool
    """Whether these are all that ended within the window."""
    space: str
    """What was compared."""
