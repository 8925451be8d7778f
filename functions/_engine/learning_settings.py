"""Settings of what is learnt from flows: predictions, and insights."""

from typing import Literal

from pydantic import BaseModel, Field


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
