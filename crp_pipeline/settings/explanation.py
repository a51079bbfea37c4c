"""Which forecasts are explained each night, and for how long: the rule stands in every picture of an explanation."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class ExplanationConfig:
    """How many out-of-sample rows of each model are explained, spread evenly over time, and in which time."""

    tree_rows: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    """Rows at most that are explained of a booster, over all folds."""
    network_rows: Annotated[int, Field(ge=10, le=1_000_000)] = 60
    """Rows at most that are explained of a network, over all folds."""
    starts: Annotated[int, Field(ge=1, le=100)] = 2
    """Rows of the same fold that each row of a network is held against."""
    steps: Annotated[int, Field(ge=2, le=500)] = 6
    """Gradients that are taken on the way from each of these."""
    max_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Seconds per model after which no further fold is begun, the newest fold being first."""
    top: Annotated[int, Field(ge=2, le=100)] = 10
    """Features whose agreement between folds, and between nights, is counted."""
