"""Settings of what is learnt from flows: predictions, and insights."""

from typing import Literal

from pydantic import AnyHttpUrl, BaseModel, Field, SecretStr


class LearningSettings(BaseModel):
    """Part of `Settings`, which has the rules of names and values."""

    learning: Literal["off", "advise", "on"] = Field(
        "off",
        description="Whether models learn from ended flows how long work takes: advise: predictions are shown beside "
        "what happens; on: the deadline budget, the order of work and workers follow them, too",
    )
    insights: bool = Field(
        False, description="Whether the history of flows is looked through every five minutes for problems to explain"
    )
    embeddings_url: AnyHttpUrl | None = Field(
        None,
        description="Server that makes vectors of texts, base URL of an API like that of OpenAI, such as "
        "http://127.0.0.1:11434/v1; without it vectors are made of words and groups of characters",
    )
    embeddings_model: str = Field(
        "all-minilm", min_length=1, max_length=200, description="Name of the model that it is asked for"
    )
    embeddings_key: SecretStr | None = Field(None, min_length=1, description="Bearer key for it, if it asks for one")
    embeddings_timeout_seconds: float = Field(
        10, gt=0, le=60, description="How long it may take for the texts of one request"
    )
