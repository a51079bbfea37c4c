"""Rules that hyper-parameters keep: each parameter class names its fields' rules, and a value out of its range is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from numbers import Integral, Real
from typing import Any, ClassVar, Self

Parameter = int | float | str | bool


@dataclass(frozen=True)
class ParameterRule:
    """What a parameter may be."""

    sentence: str
    kind: type
    holds: Callable[[Any], bool]


COUNT = ParameterRule("a whole number from 1 on", Integral, lambda value: value >= 1)
FROM_TWO = ParameterRule("a whole number from 2 on", Integral, lambda value: value >= 2)
SHARE = ParameterRule("a number above 0, at most 1", Real, lambda value: 0 < value <= 1)
SHARE_OR_NONE = ParameterRule("a number from 0 to 1", Real, lambda value: 0 <= value <= 1)
DROPPED = ParameterRule("a number from 0 on, below 1", Real, lambda value: 0 <= value < 1)
POSITIVE = ParameterRule("a positive number", Real, lambda value: 0 < value < inf)
NOT_NEGATIVE = ParameterRule("a number from 0 on", Real, lambda value: 0 <= value < inf)


def one_of(*names: str) -> ParameterRule:
    """One of these names."""
    return ParameterRule(f"one of {', '.join(names)}", str, lambda value: value in names)


SWITCH = ParameterRule("True or False", bool, lambda value: value in {True, False})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Hyper-parameters of a model; raises `ValueError` for a value that breaks its rule."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {}

    def __post_init__(self) -> None:
        for name, rule in self.rules.items():
            value = getattr(self, name)
            is_mistaken_switch = isinstance(value, bool) and rule.kind is not bool
            if is_mistaken_switch or not isinstance(value, rule.kind) or not rule.holds(value):
                raise ValueError(f"{name} = {value!r} is not allowed: it must be {rule.sentence}")

    def but(self, changes: Mapping[str, Parameter]) -> Self:
        """These parameters with some replaced; raises `ValueError` naming what exists for an unknown one."""
        known = [parameter.name for parameter in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ValueError(f"parameter {unknown[0]!r} does not exist; there are {', '.join(known)}")
        return replace(self, **changes)
