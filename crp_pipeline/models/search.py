"""Where tuning may look: the ranges of a model's hyper-parameters, as values declared beside the model.

A search space is a mapping from a parameter's name to its range. A default may lie outside of it: the study tries the default
itself and tells the sampler the nearest point of the space.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from crp_pipeline.models.parameters import Parameter

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Bounds(Generic[Number]):
    """Numbers from `low` to `high`, both included; with `log`, each doubling is as likely as the next."""

    low: Number
    high: Number
    log: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for a range without room, or one whose logarithm does not exist."""
        if not self.low < self.high or (self.log and self.low <= 0):
            above = ", and low above 0 for a logarithm" if self.log else ""
            raise ValueError(f"a range needs low < high{above}, got {self.low} to {self.high}")

    @property
    def ends(self) -> tuple[Parameter, ...]:
        """The smallest and the largest value."""
        return self.low, self.high


@dataclass(frozen=True)
class IntRange(Bounds[int]):
    """Whole numbers."""

    def nearest(self, value: Any) -> Parameter:
        """The value of the range that is nearest to a number."""
        return min(max(int(value), self.low), self.high)

    def distribution(self) -> Any:
        """The range in Optuna's words."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class FloatRange(Bounds[float]):
    """Any numbers."""

    def nearest(self, value: Any) -> Parameter:
        """The value of the range that is nearest to a number."""
        return min(max(float(value), self.low), self.high)

    def distribution(self) -> Any:
        """The range in Optuna's words."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values, numbers in rising order or names.

    >>> Choice(32, 64, 128).nearest(50)
    64
    """

    values: tuple[Parameter, ...]

    def __init__(self, *values: Parameter) -> None:
        """Raises `ValueError` for fewer than two values."""
        if len(set(values)) < 2:
            raise ValueError(f"a choice is between two values at least, got {values}")
        object.__setattr__(self, "values", values)

    @property
    def ends(self) -> tuple[Parameter, ...]:
        """The first and the last value."""
        return self.values[0], self.values[-1]

    def nearest(self, value: Any) -> Parameter:
        """The value itself where it is among them, else the nearest number, else the first name."""
        if value in self.values or not all(isinstance(it, int | float) for it in self.values):
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda it: abs(float(it) - float(value)))

    def distribution(self) -> Any:
        """The choice in Optuna's words."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Range = IntRange | FloatRange | Choice
SearchSpace = Mapping[str, Range]


def facts_of(space: SearchSpace) -> dict[str, Any]:
    """The space as JSON values."""
    return {name: {"kind": type(found).__name__, **asdict(found)} for name, found in space.items()}
