"""All models on all coins, from what is stored: the same scores on the same bars, and what each model costs.

A result is a file of out-of-fold predictions in `data/models/<coin>/`, named `<type>[.<variant>][@seed<k>].parquet`, so that
variants and seeds lie side by side: `lightgbm.parquet`, `tcn.deep.parquet`, `tcn@seed3.parquet`. What else is known stands in
`<name>.bundle/manifest.json` or, without a bundle, in `<name>.json`: `seconds` of all its fits, `n_parameters`, and `latency`
by runtime, `{"native": {"p50_ms": 0.1, "p99_ms": 0.2}, "onnx": ...}`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.errors import DataContractError
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.scoring import forecast_scores, known_bars, log_losses
from crp_pipeline.storage import MANIFEST, read_manifest, read_parquet

NAME = re.compile(r"(?P<model>(?P<type>[a-z0-9_]+)(\.[a-z]+)?)(@seed(?P<seed>\d+))?")
SEEDED = ("log_loss", "accuracy", "directional_accuracy", "auc", "brier", "calibration_error")
"""Scores whose spread over seeds is told."""
COSTS = ("seconds", "n_parameters", "native_p50_ms", "native_p99_ms", "onnx_p50_ms", "onnx_p99_ms")


@dataclass(frozen=True, eq=False)
class Result:
    """The out-of-fold predictions of one model on one coin, and what is known of it."""

    coin: str
    model: str
    """Type, and variant unless it is the default one: `tcn.deep`."""
    predictions: pd.DataFrame
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_baseline(self) -> bool:
        """True for a model that the others must beat."""
        kind = MODEL_CLASSES.get(self.model.split(".")[0])
        return kind is not None and kind.is_baseline


def result_name(model_type: str, *, variant: str = "default", seed: int | None = None) -> str:
    """What a result's files are called before the ending."""
    return model_type + ("" if variant == "default" else f".{variant}") + ("" if seed is None else f"@seed{seed}")


def stored_results(data_dir: str | Path, coin: str) -> list[Result]:
    """Every result of a coin, by name; files that hold no class probabilities are none.

    Raises `DataContractError` where the coin has no result.
    """
    folder = Path(data_dir) / "models" / coin
    read = (_result(path, coin) for path in sorted(folder.glob("*.parquet")))
    results = [result for result in read if result is not None]
    if not results:
        raise DataContractError(f"{coin} has no stored predictions in {folder}")
    return results


def require_same_labels(predictions: pd.DataFrame, labels: pd.DataFrame, *, what: str) -> None:
    """Raises `DataContractError` naming `what` for stamped predictions that were made from another version of the labels."""
    learned_from, present = (table.attrs.get("lineage", {}).get("labels") for table in (predictions, labels))
    if learned_from and present and learned_from != present:
        raise DataContractError(f"{what} was made from another version of the labels than the stored one: train it anew")


def stored_labels(data_dir: str | Path, coin: str) -> pd.DataFrame:
    """The labels that a coin's results are scored against."""
    return read_parquet(Path(data_dir) / "labels" / f"{coin}.parquet")


def coins_with_results(data_dir: str | Path) -> list[str]:
    """Coins that have a folder with tables of models."""
    return sorted({path.parent.name for path in (Path(data_dir) / "models").glob("[!.]*/*.parquet")})


def stored_scoreboard(data_dir: str | Path, coins: Sequence[str] = ()) -> pd.DataFrame:
    """The scoreboard of some coins, or of every coin that has results; raises `DataContractError` where there are none."""
    named = list(coins) or coins_with_results(data_dir)
    if not named:
        raise DataContractError(f"{data_dir} has no stored predictions of any coin")
    return pd.concat([_of_coin(data_dir, coin) for coin in named], ignore_index=True)


def scoreboard(results: Iterable[Result], labels: pd.DataFrame) -> pd.DataFrame:
    """One row per model of one coin: baselines first, then the lowest log-loss; all on the bars that every result forecast.

    `log_loss_fold_sd` is the standard deviation of the folds' means. Of a model that was run with several `seeds` every score
    is the mean over them, and `<score>_seed_sd` its standard deviation. What nobody recorded is NaN.
    """
    found = list(results)
    common = labels.loc[known_bars([result.predictions for result in found], labels)]
    if common.empty:
        _refuse_strangers(found, labels)
    by_model: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for result in found:
        by_model.setdefault((not result.is_baseline, result.model), []).append(_scores(result, common))
    rows = [
        {"coin": found[0].coin, "model": model, "is_baseline": not is_learned, **_over_seeds(pd.DataFrame(runs))}
        for (is_learned, model), runs in by_model.items()
    ]
    table = pd.DataFrame(rows)
    return table.sort_values(["is_baseline", "log_loss"], ascending=[False, True], kind="stable", ignore_index=True)


def _refuse_strangers(results: Sequence[Result], labels: pd.DataFrame) -> None:
    """Raises `DataContractError` where each result has bars of its own to be scored on, and all together have none."""
    own = {result.model: known_bars([result.predictions], labels) for result in results}
    if all(len(bars) for bars in own.values()):
        told = ", ".join(f"{model} from {bars[0]} to {bars[-1]}" for model, bars in own.items())
        raise DataContractError(f"{results[0].coin}: the results have no bar in common: {told}")


def _of_coin(data_dir: str | Path, coin: str) -> pd.DataFrame:
    results, labels = stored_results(data_dir, coin), stored_labels(data_dir, coin)
    for result in results:
        require_same_labels(result.predictions, labels, what=f"{coin}: {result.model}")
    return scoreboard(results, labels)


def _scores(result: Result, labels: pd.DataFrame) -> dict[str, float]:
    predictions = result.predictions.loc[labels.index]
    losses = log_losses(predictions, labels).groupby(predictions["fold"]).mean()
    return {
        **forecast_scores(predictions, labels),
        "folds": float(len(losses)),
        "log_loss_fold_sd": float(losses.std(ddof=1)),
        **_costs(result.card),
    }


def _costs(card: Mapping[str, Any]) -> dict[str, float]:
    told = {**card, **_latencies(card.get("latency") or {})}
    return {name: math.nan if told.get(name) is None else float(told[name]) for name in COSTS}


def _latencies(stored: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Milliseconds by runtime and percentile, of `{"native": {"p50_ms": ...}}` or of rows that name their `runtime`."""
    by_runtime = stored if isinstance(stored, Mapping) else {row["runtime"]: row for row in stored}
    return {f"{runtime}_{name}": value for runtime, row in by_runtime.items() for name, value in row.items()}


def _over_seeds(runs: pd.DataFrame) -> dict[str, float]:
    """Means over the runs of one model, and the spread of its scores."""
    spread = {f"{name}_seed_sd": float(runs[name].std(ddof=1)) for name in SEEDED}
    return {**{str(name): float(mean) for name, mean in runs.mean().items()}, "seeds": float(len(runs)), **spread}


def _result(path: Path, coin: str) -> Result | None:
    """The result in a file; None for another kind of file."""
    named, predictions = NAME.fullmatch(path.stem), read_parquet(path)
    if named is None or not set(PROBABILITIES) <= set(predictions.columns):
        return None
    card = _card(path)
    variant = card.get("variant", "default") if named["model"] == named["type"] else "default"
    return Result(coin, result_name(named["model"], variant=variant), predictions, card)


def _card(path: Path) -> dict[str, Any]:
    """The manifest of the bundle beside a result, else the JSON file beside it, else nothing."""
    bundle, told = path.with_name(f"{path.stem}.bundle"), path.with_name(f"{path.stem}.json")
    if (bundle / MANIFEST).exists():
        return read_manifest(bundle)
    if not told.exists():
        return {}
    try:
        card: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataContractError(f"{told} cannot be read: {error}") from error
    return card
