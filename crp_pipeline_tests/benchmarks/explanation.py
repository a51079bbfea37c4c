"""Seconds of explaining 5,000 rows by three boosters on one thread: `python -m crp_pipeline_tests.benchmarks.explanation`.

The libraries' own contributions beside shap. Left to itself `shap.TreeExplainer` asks the libraries, too, so that its own walk of
the trees is timed as well, on fewer rows and scaled up, where it can read the trees. For one core, start it with
`OMP_NUM_THREADS=1 taskset -c 0`.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import shap
import typer

from crp_pipeline.contracts import Samples
from crp_pipeline.models import create_model, explain
from crp_pipeline.models.gbdt.contributions import contributions
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.timing import once

MODELS = ("xgboost", "lightgbm", "catboost")
N_LEARNED, N_ROWS, N_FEATURES, N_ROUNDS = 10_000, 5_000, 160, 300
WALKED_ROWS = 100


def main(rounds: Annotated[int, typer.Option("--rounds", help="Boosting rounds.")] = N_ROUNDS) -> None:
    """Print seconds of each, their sum, and how far the libraries' numbers are from shap's."""
    values, signal = _market()
    learned, fresh = Samples(values, np.arange(N_LEARNED)), Samples(values, np.arange(N_LEARNED, N_LEARNED + N_ROWS))
    rows = []
    for name in MODELS:
        model = create_model(name, n_rounds=rounds, n_threads=1).fit(learned, signal[:N_LEARNED], seed=0)
        explain(model, fresh.take(fresh.rows[:10]))
        rows.append({"model": name, **_timed(model, fresh)})
    table = pd.DataFrame(rows)
    table.loc[len(table)] = {"model": "all three", "explain, s": table["explain, s"].sum(), "shap, s": table["shap, s"].sum()}
    print(f"{N_ROWS:,} rows x {N_FEATURES} features, {rounds} rounds, three classes, one thread\n")
    print(to_text(table))


def _timed(model: Any, fresh: Samples) -> dict[str, float]:
    table = fresh.table().astype(np.float32)
    _, explained_s = once(lambda: explain(model, fresh))
    found: list[np.ndarray] = []
    _, shap_s = once(lambda: found.append(np.asarray(shap.TreeExplainer(model._learned).shap_values(table))))
    values, _ = contributions(model, fresh)
    distance = float(np.abs(found[0] - values).max() / np.abs(values).max())
    walked_s, walked_distance = _walked(model, table[:WALKED_ROWS], values[:WALKED_ROWS])
    return {
        "explain, s": round(explained_s, 2),
        "shap, s": round(shap_s, 2),
        "distance from shap": distance,
        "shap's own walk, s": round(walked_s * len(table) / WALKED_ROWS, 1),
        "distance from its walk": walked_distance,
    }


def _walked(model: Any, table: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Processor seconds of shap's own walk of each class's trees, and the largest distance over the largest contribution."""
    if model.model_type == "catboost":  # shap reads CatBoost's trees of one output only
        return float("nan"), float("nan")
    parts = ("children_left", "children_right", "children_default", "features", "thresholds", "values", "node_sample_weight")
    trees = [{part: getattr(tree, part) for part in parts} for tree in shap.TreeExplainer(model._learned).model.trees]
    described = {"internal_dtype": np.float64, "input_dtype": np.float64, "objective": "squared_error"}
    seconds, farthest = 0.0, 0.0
    for output in range(3):
        bare = {**described, "tree_output": "raw_value", "base_offset": 0.0, "trees": trees[output::3]}
        explainer, found = shap.TreeExplainer(bare), []
        work: Callable[[], object] = lambda e=explainer, f=found: f.append(e.shap_values(table, check_additivity=False))  # noqa: E731
        seconds += once(work)[1]
        farthest = max(farthest, float(np.abs(found[0] - values[:, :, output]).max()))
    return seconds, farthest / float(np.abs(values).max())


def _market() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_LEARNED + N_ROWS, N_FEATURES)).astype(np.float32).astype(np.float64)
    told = values[:, :20] @ rng.normal(size=20) / 4 + rng.normal(size=len(values))
    return values, np.where(np.abs(told) < 0.4, 0.0, np.sign(told))


if __name__ == "__main__":
    typer.run(main)
