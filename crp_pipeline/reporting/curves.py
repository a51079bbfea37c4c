"""What stored forecasts did, as tables: confusion, ROC, precision and recall, calibration per class, and returns foretold.

`predictions` are out-of-fold forecasts (`contracts.PredictionSchema` or `DecisionSchema`), `labels` the coin's labels; bars
without a forecast or a label are left out. What a frame calls at a bar is its `signal` where it has one, else its most probable
class. Curves are one-vs-rest and count bars alike; intervals count independent labels, the sum of average uniqueness.

A class that never came has no curve: one row of NaN whose `note` says so in a sentence. Where only one class came, or no bar
has both a forecast and a label, a `DataContractError` says so.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, FORECAST, Bools, Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.metrics import calibration_curve, directional_accuracy
from crp_pipeline.models.scoring import known_bars, rows_of, share_interval

MOST_POINTS = 200
"""Points of one curve that a picture can show."""
LEVEL = 0.95
RETURN = f"{FORECAST}forward_return"
EXPECTED = "expected_return"
"""What an ensemble's decision calls the return that it foretells."""


def confusion_table(predictions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """One row per class that came, index `came`: bars that were called each class, their number `n`, and shares of the row.

    Columns are the classes in the order of `contracts.CLASSES`, `n`, then `share_<class>`; shares are NaN where nothing came.
    """
    known = _known(predictions, labels)
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(counts, (known.came, known.called), 1)
    n = counts.sum(axis=1)
    shares = np.divide(counts, n[:, None], out=np.full(counts.shape, np.nan), where=n[:, None] > 0)
    table = pd.DataFrame(counts, index=pd.Index(CLASSES, name="came"), columns=list(CLASSES)).assign(n=n)
    return table.join(pd.DataFrame(shares, index=table.index, columns=[f"share_{name}" for name in CLASSES]))


def class_scores(predictions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """One row per class, index `class`: precision and recall with intervals, F1, how often it was called and came (`support`).

    NaN where a class was never called (precision) or never came (recall).
    """
    known = _known(predictions, labels)
    rows = [_class_row(known.called == place, known.came == place, known.weight) for place in range(len(CLASSES))]
    return pd.DataFrame(rows, index=pd.Index(CLASSES, name="class")).astype({"called": "int64", "support": "int64"})


def accuracy_scores(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    """Share of bars whose called class came, `accuracy` with `_low` and `_high`, over `n` bars and `effective_n` labels."""
    known = _known(predictions, labels)
    right, low, high = _share(known.called == known.came, np.ones(len(known.came), dtype=bool), known.weight)
    counted = {"n": float(len(known.came)), "effective_n": float(known.weight.sum())}
    return {**counted, "accuracy": right, "accuracy_low": low, "accuracy_high": high}


def roc_table(predictions: pd.DataFrame, labels: pd.DataFrame, *, max_points: int = MOST_POINTS) -> pd.DataFrame:
    """One-vs-rest ROC curve of each class, no more than `max_points` rows each.

    Columns `class`, `threshold` (called from this probability on; infinite for the first), `false_positive_rate`,
    `true_positive_rate`, and alike on all rows of a class `auc` with `auc_low` and `auc_high` (Hanley and McNeil 1982), `n`,
    `n_positive`, `note`. The diagonal, AUC 0.5, is no skill.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    def curve(score: Floats, is_class: Bools, weight: Floats) -> pd.DataFrame:
        false_positive, true_positive, threshold = roc_curve(is_class, score)
        area = float(roc_auc_score(is_class, score))
        low, high = auc_interval(area, float(weight[is_class].sum()), float(weight[~is_class].sum()))
        points = {"threshold": threshold, "false_positive_rate": false_positive, "true_positive_rate": true_positive}
        return pd.DataFrame(points).assign(auc=area, auc_low=low, auc_high=high)

    return _curves(predictions, labels, curve, max_points, what="a ROC curve")


def precision_recall_table(predictions: pd.DataFrame, labels: pd.DataFrame, *, max_points: int = MOST_POINTS) -> pd.DataFrame:
    """One-vs-rest precision and recall of each class, no more than `max_points` rows each, recall falling.

    Columns `class`, `threshold` (called from this probability on; NaN for the last point, where nothing is called), `recall`,
    `precision`, and alike on all rows of a class `average_precision`, `class_share`, `n`, `n_positive`, `note`. No skill is the
    level line at `class_share`.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(score: Floats, is_class: Bools, _: Floats) -> pd.DataFrame:
        precision, recall, threshold = precision_recall_curve(is_class, score)
        points = {"threshold": np.append(threshold, np.nan), "recall": recall, "precision": precision}
        area = float(average_precision_score(is_class, score))
        return pd.DataFrame(points).assign(average_precision=area, class_share=float(is_class.mean()))

    return _curves(predictions, labels, curve, max_points, what="a curve of precision and recall")


def class_calibration_table(predictions: pd.DataFrame, labels: pd.DataFrame, *, n_bins: int = 10) -> pd.DataFrame:
    """How often each class came where it was given so much probability: `class` before the columns of `calibration_curve`."""
    known = _known(predictions, labels)
    bins = [
        calibration_curve(known.probability[:, place], known.came == place, n_bins=n_bins).assign(**{"class": name})
        for place, name in enumerate(CLASSES)
    ]
    table = pd.concat(bins, ignore_index=True)
    return table[["class", *table.columns.drop("class")]]


def residuals_table(predictions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Returns foretold and come, bar by bar: `forecast`, `realised`, `residual` (come less foretold) and `weight` of the label.

    The forecast is a regressor's `forecast_forward_return` or an ensemble's `expected_return`; raises `DataContractError` for
    predictions that foretell classes alone.
    """
    column = next((name for name in (RETURN, EXPECTED) if name in predictions), None)
    if column is None:
        raise DataContractError(f"these predictions foretell classes and no return: they have neither {RETURN} nor {EXPECTED}")
    table = pd.DataFrame(
        {"forecast": predictions[column], "realised": labels["forward_return"], "weight": labels["weight"]}
    ).dropna()
    if table.empty:
        raise DataContractError("no bar has both a forecast of the return and a label, so there is nothing to compare")
    table["residual"] = table["realised"] - table["forecast"]
    return table[["forecast", "realised", "residual", "weight"]].rename_axis("open_time")


def regression_scores(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    """What the foretold returns were worth, beside those of a forecast that is always 0.

    `n`, `effective_n`; `mae` and `rmse` with `mae_of_zero` and `rmse_of_zero`; `r2_against_zero`, 1 less the squared error in
    squared errors of 0 (negative is worse than foretelling nothing); Spearman's `rank_correlation`; `direction_hit_rate` over
    the bars that `moved`, beside `commoner_direction`, what always saying the commoner sign hits. Ends `_low` and `_high` are
    intervals at 95 %; NaN where a forecast never varies or nothing moves.
    """
    table = residuals_table(predictions, labels)
    realised, residual = table["realised"].to_numpy(), table["residual"].to_numpy()
    effective_n, of_zero = float(table["weight"].sum()), float((realised**2).sum())
    return {
        "n": float(len(table)),
        "effective_n": effective_n,
        "mae": float(np.abs(residual).mean()),
        "mae_of_zero": float(np.abs(realised).mean()),
        "rmse": math.sqrt((residual**2).mean()),
        "rmse_of_zero": math.sqrt(of_zero / len(table)),
        "r2_against_zero": 1 - float((residual**2).sum()) / of_zero if of_zero > 0 else math.nan,
        **_rank_correlation(table["forecast"].to_numpy(), realised, effective_n),
        **_direction(table[realised != 0]),
    }


def auc_interval(auc: float, n_positive: float, n_negative: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of an area under a ROC curve over so many, possibly fractional, rows of each kind (Hanley and McNeil 1982)."""
    from scipy.stats import norm

    if not (n_positive > 0 and n_negative > 0):
        return math.nan, math.nan
    above, below = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = max(n_positive - 1, 0) * (above - auc**2) + max(n_negative - 1, 0) * (below - auc**2)
    reach = float(norm.ppf((1 + level) / 2)) * math.sqrt(max(auc * (1 - auc) + spread, 0) / (n_positive * n_negative))
    return max(0.0, auc - reach), min(1.0, auc + reach)


@dataclass(frozen=True)
class _Known:
    """The bars with a forecast and a label: probabilities (n, 3), places of the class called and come (n,), weights (n,)."""

    probability: Floats
    called: Ints
    came: Ints
    weight: Floats

    def classes(self) -> Iterator[tuple[str, Floats, Bools]]:
        """Each class with its probability, (n,), and whether it came, (n,)."""
        for place, name in enumerate(CLASSES):
            yield name, self.probability[:, place], self.came == place


def _known(predictions: pd.DataFrame, labels: pd.DataFrame) -> _Known:
    times = known_bars([predictions], labels)
    if times.empty:
        raise DataContractError("no bar has both a forecast and a label, so there is nothing to score")
    probability, signal, weight = rows_of(predictions, labels, times)
    told = predictions.loc[times, "signal"].to_numpy() + 1 if "signal" in predictions else probability.argmax(axis=1)
    return _Known(probability, told.astype(np.int64), signal.astype(np.int64) + 1, weight)


Curve = Callable[[Floats, Bools, Floats], pd.DataFrame]


def _curves(predictions: pd.DataFrame, labels: pd.DataFrame, curve: Curve, max_points: int, *, what: str) -> pd.DataFrame:
    known = _known(predictions, labels)
    if len(only := np.unique(known.came)) < 2:
        raise DataContractError(f"all {len(known.came):,} labels are {CLASSES[only[0]]}: {what} needs a second class")
    parts = []
    for name, score, is_class in known.classes():
        points = _thinned(curve(score, is_class, known.weight), max_points) if is_class.any() else pd.DataFrame(index=[0])
        note = "" if is_class.any() else f"no label is {name}, so it has no curve"
        points = points.assign(n=len(is_class), n_positive=int(is_class.sum()), note=note)
        points.insert(0, "class", name)
        parts.append(points)
    return pd.concat(parts, ignore_index=True)


def _thinned(points: pd.DataFrame, max_points: int) -> pd.DataFrame:
    """Evenly many of the points, the first and the last among them."""
    if max_points < 2:
        raise ValueError(f"max_points must be at least 2, got {max_points}")
    places = np.unique(np.linspace(0, len(points) - 1, min(max_points, len(points))).round().astype(int))
    return points.iloc[places]


def _class_row(called: Bools, came: Bools, weight: Floats) -> dict[str, float]:
    precision, recall = _share(came, called, weight), _share(called, came, weight)
    both = int((called & came).sum())
    n = int(called.sum() + came.sum())
    return {
        **dict(zip(("precision", "precision_low", "precision_high"), precision, strict=True)),
        **dict(zip(("recall", "recall_low", "recall_high"), recall, strict=True)),
        "f1": 2 * both / n if n else math.nan,
        "called": int(called.sum()),
        "support": int(came.sum()),
    }


def _share(happened: Bools, among: Bools, weight: Floats) -> tuple[float, float, float]:
    share = float(happened[among].mean()) if among.any() else math.nan
    return (share, *share_interval(share, float(weight[among].sum()), level=LEVEL))


def _rank_correlation(forecast: Floats, realised: Floats, effective_n: float) -> dict[str, float]:
    """Spearman's correlation and its interval, by Fisher's transformation with the variance of Bonett and Wright 2000."""
    from scipy.stats import norm, spearmanr

    names = ("rank_correlation", "rank_correlation_low", "rank_correlation_high")
    varies = len(forecast) > 1 and np.ptp(forecast) > 0 and np.ptp(realised) > 0
    if not varies:
        return dict.fromkeys(names, math.nan)
    rho = float(spearmanr(forecast, realised).statistic)
    if effective_n <= 3:
        return dict(zip(names, (rho, math.nan, math.nan), strict=True))
    reach = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + rho**2 / 2) / (effective_n - 3))
    with np.errstate(divide="ignore"):
        middle = np.arctanh(rho)
    return dict(zip(names, (rho, float(np.tanh(middle - reach)), float(np.tanh(middle + reach))), strict=True))


def _direction(moved: pd.DataFrame) -> dict[str, float]:
    """Hit rate of the sign over bars that moved; a forecast of 0 hits half."""
    sign, effective_n = np.sign(moved["realised"].to_numpy()), float(moved["weight"].sum())
    hit_rate = directional_accuracy(moved["forecast"].to_numpy(), sign)
    low, high = share_interval(hit_rate, effective_n, level=LEVEL)
    commoner = max((sign > 0).mean(), (sign < 0).mean()) if len(sign) else math.nan
    ends = {"direction_hit_rate_low": low, "direction_hit_rate_high": high}
    return {"direction_hit_rate": hit_rate, **ends, "commoner_direction": float(commoner), "moved": float(len(moved))}
