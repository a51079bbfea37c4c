"""A transformer that several coins share, each on its own scale."""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from crp_pipeline.contracts import Floats, Ints, Samples
from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.models.base import Validation
from crp_pipeline.models.networks import Transformer
from crp_pipeline.models.scaling import Scale, fit_scale
from crp_pipeline.models.search import SearchSpace


class PooledTransformer(Transformer):
    """The transformer of a pool; fitted on one coin's samples it is a pool of one."""

    model_type = "pooled_transformer"
    search_space: ClassVar[SearchSpace] = {}
    """All coins share it, so that no coin's own history could choose its parameters."""

    def fit_pool(self, learn: Mapping[str, Validation], watch: Mapping[str, Validation], *, seed: int) -> dict[str, Self]:
        """Train on the rows of all coins and return one model per coin: the same weights behind the coin's own scale.

        `learn` and `watch` hold samples, labels and weights by coin; without `watch` all epochs are run. A coin without rows to
        learn from gets the scale of the rows of all others.
        """
        scales = {coin: fit_scale(part.samples.table()) for coin, part in learn.items() if len(part.samples)}
        if not scales:
            raise InsufficientHistoryError(f"no coin of {', '.join(learn)} has a row to learn from")
        typical = Scale(*(np.median([getattr(s, name) for s in scales.values()], axis=0) for name in ("center", "spread")))
        scales = {coin: scales.get(coin, typical) for coin in learn}
        joined = _joined(learn, scales)
        watched = _joined(watch, scales) if any(len(part.samples) for part in watch.values()) else None
        n_features = joined.samples.history.shape[1]
        same = Scale(np.zeros(n_features), np.ones(n_features))
        self._fit_scaled(same, joined.samples, joined.y, joined.weight, watched, seed)
        self.columns, self.n_features = tuple(joined.samples.columns), n_features
        return {coin: self.behind(scale) for coin, scale in scales.items()}


def _joined(parts: Mapping[str, Validation], scales: Mapping[str, Scale]) -> Validation:
    """All coins' scaled histories one behind the other, with a hole between any two."""
    histories: list[Floats] = []
    rows: list[Ints] = []
    starts: list[Ints] = []
    before = 0
    for coin, part in parts.items():
        X, scale = part.samples, scales[coin]
        histories.append((X.history - scale.center) / scale.spread)
        rows.append(X.rows + before)
        starts.append((np.zeros(len(X.history), dtype=np.int64) if X.segment_start is None else X.segment_start) + before)
        before += len(X.history)
    columns = next(iter(parts.values())).samples.columns
    samples = Samples(np.concatenate(histories), np.concatenate(rows), np.concatenate(starts), columns)
    weight = np.concatenate([np.ones(len(part.y)) if part.weight is None else part.weight for part in parts.values()])
    return Validation(samples, np.concatenate([part.y for part in parts.values()]), weight)
