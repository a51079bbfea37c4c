"""The class frequencies after a fall, after a rise and in between: whether moves go on or turn back, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from crp_pipeline.contracts import CLASSES, Floats, Ints, Samples
from crp_pipeline.errors import DataContractError
from crp_pipeline.models.base import Floats32, Model, Validation, class_index, table_of
from crp_pipeline.models.onnx_graph import DOUBLE, FEATURES, INT64, OUTPUTS, node, table_model
from crp_pipeline.models.parameters import ParameterRule, Parameters
from crp_pipeline.storage import write_json

LAST_MOVES = ("log_return_24", "log_return_12", "log_return_8", "log_return_4", "log_return_1")
"""Trailing returns that tell the last move, the first that there is; labels look a day ahead by default."""
MOVES = ("below", "within", "above", "missing")
"""Order of the rows of the table: the last move against the terciles of the training rows."""


@dataclass(frozen=True, kw_only=True)
class PersistenceParams(Parameters):
    """Which feature is the last move."""

    rules: ClassVar = {"column": ParameterRule("the name of a feature, or empty", str, lambda _: True)}

    column: str = ""
    """Name of a trailing return; empty: the first of `LAST_MOVES` that there is."""


class Persistence(Model):
    """Class frequencies given the tercile that the last move lies in, Laplace-smoothed; the prior where it is missing."""

    model_type = "persistence"
    is_baseline = True
    reads_every_feature = True
    variants = dict.fromkeys(("default", "lightweight", "deep"), PersistenceParams())
    file_name = "persistence.json"

    def __init__(self, params: PersistenceParams) -> None:
        self.params = params

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Count the classes after each kind of move, weighted; validation rows count too, since nothing is tuned on them.

        The terciles are those of the training rows. Raises `DataContractError` naming what was looked for when the samples name
        their columns and none of them is a last move.
        """
        position = self._position(X.columns)
        last = table_of(X)[:, position]
        weight = np.ones(len(y)) if weight is None else weight
        class_index(y)
        edges = _terciles(last)
        if validation is not None:
            last = np.append(last, table_of(validation.samples)[:, position])
            watched = np.ones(len(validation.y)) if validation.weight is None else validation.weight
            y, weight = np.append(y, validation.y), np.append(weight, watched)
        self._learned = _Persistence(position, edges, _shares(_moves(last, edges), class_index(y), weight))
        return self

    @property
    def n_parameters(self) -> int:
        """Two terciles and the table of shares."""
        return 0 if self._learned is None else self._learned.edges.size + self._learned.shares.size

    def predict(self, X: Samples) -> Floats:
        """The shares that came after such a move, for every sample: (n, 3)."""
        self._require_fitted()
        position, edges, shares = self._learned
        return np.asarray(shares[_moves(table_of(X)[:, position], edges)])

    def _position(self, columns: Sequence[str]) -> int:
        wanted = (self.params.column,) if self.params.column else LAST_MOVES
        found = [list(columns).index(name) for name in wanted if name in columns]
        if columns and not found:
            raise DataContractError(
                f"persistence looks for a trailing return in {', '.join(wanted)} and none of the {len(columns)} features is one"
            )
        return found[0] if found else 0

    def _write(self, folder: Path) -> None:
        position, edges, shares = self._learned
        table = dict(zip(MOVES, shares.tolist(), strict=True))
        facts = {"column": self.params.column, "position": position, "edges": edges.tolist(), "shares": table}
        write_json(folder / self.file_name, facts)

    @classmethod
    def _read(cls, folder: Path) -> Self:
        stored = json.loads((folder / cls.file_name).read_text(encoding="utf-8"))
        model = cls(PersistenceParams(column=stored["column"]))
        shares = np.array([stored["shares"][move] for move in MOVES], dtype=np.float64)
        model._learned = _Persistence(int(stored["position"]), np.array(stored["edges"], dtype=np.float64), shares)
        return model

    def _to_onnx(self) -> Any:
        position, (low, high), shares = self._learned
        nodes = [
            node("Gather", [FEATURES, "position"], "last32", axis=1),
            node("Cast", ["last32"], "last", to=DOUBLE),
            node("GreaterOrEqual", ["last", "low"], "not_below"),
            node("Greater", ["last", "high"], "is_above"),
            node("Cast", ["not_below"], "first", to=INT64),
            node("Cast", ["is_above"], "second", to=INT64),
            node("Add", ["first", "second"], "tercile"),
            node("IsNaN", ["last"], "is_missing"),
            node("Where", ["is_missing", "missing", "tercile"], "move"),
            node("Gather", ["shares", "move"], OUTPUTS, axis=0),
        ]
        constants = {
            "position": np.array(position),
            "low": np.array(low),
            "high": np.array(high),
            "missing": np.array(MOVES.index("missing")),
            "shares": shares.astype(np.float32),
        }
        return table_model(nodes, constants, n_features=self.n_features, n_outputs=len(CLASSES))


class _Persistence(NamedTuple):
    position: int
    """Of the last move among the features."""
    edges: Floats
    """(2,) the terciles."""
    shares: Floats
    """(4, 3) share of each class after each of `MOVES`."""


def _terciles(last: Floats32) -> Floats:
    known = last[~np.isnan(last)].astype(np.float64)
    return np.quantile(known, [1 / 3, 2 / 3]) if len(known) else np.zeros(2)


def _moves(last: Floats32, edges: Floats) -> Ints:
    """Position in `MOVES` of each last move: (n,)."""
    tercile = (last >= edges[0]).astype(np.int64) + (last > edges[1])
    return np.where(np.isnan(last), MOVES.index("missing"), tercile)


def _shares(moves: Ints, classes: Ints, weight: Floats) -> Floats:
    counts = np.zeros((len(MOVES), len(CLASSES)))
    np.add.at(counts, (moves, classes), weight)
    counts[MOVES.index("missing")] = counts.sum(axis=0)
    return np.asarray((counts + 1) / (counts + 1).sum(axis=1, keepdims=True))
