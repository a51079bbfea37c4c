"""A model that is fitted in no time and has something to tune, and one that cannot be fitted at all."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crp_pipeline.models.base import Model, class_index
from crp_pipeline.models.parameters import POSITIVE, Parameters
from crp_pipeline.models.search import FloatRange, IntRange


@dataclass(frozen=True, kw_only=True)
class SlopeParams(Parameters):
    strength: float = 0.5
    wait_ms: int = 0
    n_threads: int = 1

    rules: ClassVar = {"strength": POSITIVE}


class Slope(Model):
    """Class odds that fall and rise with the first feature, by a slope that is told and not learned."""

    model_type = "slope"
    variants: ClassVar = {name: SlopeParams() for name in ("default", "lightweight", "deep")}
    search_space: ClassVar = {"strength": FloatRange(0.1, 10.0, log=True), "wait_ms": IntRange(0, 3)}
    pause_s: ClassVar = 0.0
    n_fits: ClassVar = 0

    def __init__(self, params):
        self.params = params

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        del X, weight, validation, seed
        class_index(y)
        time.sleep(self.pause_s)
        type(self).n_fits += 1
        self._learned = self.params.strength
        return self

    def predict(self, X):
        pull = self._learned * X.table()[:, 0]
        odds = np.exp(np.clip(np.column_stack([-pull, np.zeros(len(pull)), pull]), -30, 30))
        return odds / odds.sum(axis=1, keepdims=True)

    def _write(self, folder):
        (folder / "strength.txt").write_text(repr(self._learned))

    @classmethod
    def _read(cls, folder):
        model = cls(SlopeParams())
        model._learned = float((folder / "strength.txt").read_text())
        return model


class Broken(Slope):
    """A model that no parameters make work."""

    model_type = "broken"

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        del X, y, weight, validation, seed
        raise MemoryError("no room for so many trees")
