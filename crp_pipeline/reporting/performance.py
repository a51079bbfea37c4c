"""For notebooks: how the models of a coin did, from what its latest night stored; nothing is trained or fetched.

>>> from crp_pipeline.notebook import ModelPerformanceReporter    # doctest: +SKIP
>>> reporter = ModelPerformanceReporter("BTC-USDT")               # doctest: +SKIP
>>> reporter.comparison_table()                                   # doctest: +SKIP
>>> reporter.compare_models("accuracy")                           # doctest: +SKIP
>>> reporter.classification_report("lightgbm")                    # doctest: +SKIP
>>> reporter.plot_confusion("lightgbm").savefig("confusion.png")  # doctest: +SKIP

`ensemble` is the decision of all models together. Figures are matplotlib's, returned and never shown: a notebook displays the
one that a cell ends with.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.contracts import CLASSES, FeatureStatus
from crp_pipeline.errors import CrpError, DataContractError
from crp_pipeline.gate.comparison import plain_decisions
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.scoring import known_bars, scores_side_by_side
from crp_pipeline.places import Places
from crp_pipeline.reporting.curves import accuracy_scores, class_scores, confusion_table, regression_scores, roc_table
from crp_pipeline.reporting.document import write_page
from crp_pipeline.reporting.figures import calibration_figure
from crp_pipeline.reporting.model_figures import accuracy_phrase, confusion_figure, forest_figure, importance_figure, roc_figure
from crp_pipeline.reporting.report import coin_page
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import shown
from crp_pipeline.reporting.verdicts import win_rate_phrase
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet

ENSEMBLE = "ensemble"
PRIOR = "prior"
MEASURES = {
    "accuracy": "accuracy, % (95 % interval over independent labels)",
    "directional_accuracy": "direction right where the label took a side, % (95 % interval over independent labels)",
    "log_loss_gain": "log-loss saved against the class prior, nats per bar (95 % interval, blocks of two horizons)",
    "win_rate": "win rate of trades after costs, % (95 % interval over independent trades)",
}
"""What `compare_models` can compare; a number without an interval is none of it."""


class ModelPerformanceReporter:
    """Tables and figures of one coin's models, baselines on top, every rate with its interval and n.

    `data_dir` is that of the settings unless given. Raises `DataContractError` in one sentence for a coin that was never run,
    and, when asked for it, for a model that has no stored forecasts.
    """

    def __init__(self, coin: str, *, data_dir: str | PathLike[str] | None = None) -> None:
        root = load_settings().data_dir if data_dir is None else Path(data_dir)
        self.coin = coin
        self.results = CoinResults.load(Places(root), coin)

    @property
    def models(self) -> list[str]:
        """What can be reported on: stored models, baselines first, and the ensemble."""
        return [*self.results.predictions, ENSEMBLE]

    def classification_report(self, model: str = ENSEMBLE) -> pd.DataFrame:
        """What the model's calls were worth, on the bars that it and the class prior forecast.

        Rows: always the commonest class, the class prior, the model, and the model's calls class by class. `accuracy`,
        `precision` and `recall` have ends `_low` and `_high`: intervals at 95 % over `effective_n` independent labels.
        """
        with self._naming(model):
            forecasts, labels = self._beside_prior(model)
            overall = pd.DataFrame({name: accuracy_scores(frame, labels) for name, frame in forecasts.items()}).T
            classes = class_scores(forecasts[model], labels).rename(index=lambda name: f"{model}: {name}")
        table = pd.concat([overall, classes.rename(columns={"support": "n"})])
        return table[[*overall.columns, *(name for name in classes.columns if name != "support")]].astype({"n": "int64"})

    def regression_report(self, model: str = ENSEMBLE) -> pd.DataFrame:
        """What the returns that a model foretold were worth, beside a forecast of 0 and always saying the commoner sign.

        Columns as `curves.regression_scores` has them. Raises `DataContractError` for a model that foretells classes alone.
        """
        with self._naming(model):
            told = regression_scores(self._forecast(model), self.results.labels)
        counted = {name: told[name] for name in ("n", "effective_n")}
        of_zero = {**counted, "mae": told["mae_of_zero"], "rmse": told["rmse_of_zero"], "r2_against_zero": 0.0}
        commoner = {**counted, "direction_hit_rate": told["commoner_direction"]}
        columns = [name for name in told if not name.endswith("_of_zero") and name != "commoner_direction"]
        return pd.DataFrame({"always 0": of_zero, "commoner sign": commoner, model: told}).T[columns].astype({"n": "int64"})

    def comparison_table(self) -> pd.DataFrame:
        """Every candidate of the night, baselines on top, in words; `results.comparison` has the numbers."""
        return pd.DataFrame([_in_words(row) for row in self.results.comparison.to_dict("records")]).set_index("candidate")

    def compare_models(self, metric: str = "accuracy") -> Figure:
        """All candidates as points with intervals, baselines on top; `metric` is one of `MEASURES`."""
        if metric not in MEASURES:
            raise DataContractError(f"{metric} is not compared: ask for {', '.join(MEASURES)}")
        in_percent = metric != "log_loss_gain"
        table, no_skill = self._won() if metric == "win_rate" else self._forecast_scores(metric)
        title = f"{self.coin}: {_highest(table, in_percent=in_percent)}"
        return forest_figure(table, title=title, measure=MEASURES[metric], no_skill=no_skill, in_percent=in_percent)

    def plot_confusion(self, model: str = ENSEMBLE) -> Figure:
        """What was called where each class came."""
        with self._naming(model):
            forecast = self._forecast(model)
            confusion = confusion_table(forecast, self.results.labels)
            right = accuracy_scores(forecast, self.results.labels)
        return confusion_figure(confusion, title=f"{self.coin} {model}: {accuracy_phrase(confusion, right)}")

    def plot_roc(self, model: str = ENSEMBLE) -> Figure:
        """How well the probability of each class tells it from the others, whatever threshold is chosen."""
        with self._naming(model):
            curves = roc_table(self._forecast(model), self.results.labels)
        best = curves.sort_values("auc", kind="stable", na_position="first").iloc[-1]
        told = f"{best['class']} is told apart best, AUC {best['auc']:.3f}"
        return roc_figure(curves, title=f"{self.coin} {model}: {told}, {best['n']:,} bars")

    def plot_calibration(self, model: str = ENSEMBLE) -> Figure:
        """Whether calls that took a side came true as often as their confidence said."""
        with self._naming(model):
            decisions = self.results.decisions if model == ENSEMBLE else plain_decisions(self._forecast(model))
            curve, error = calibration_of(scored(decisions, self.results.labels))
            if curve.empty:
                raise DataContractError("no call takes a side on a bar with a label, so there is no confidence to check")
        figure = calibration_figure(curve, error=error)
        figure.axes[0].set_title(f"{self.coin} {model}: {figure.axes[0].get_title()}", fontsize=9)
        return figure

    def plot_feature_importance(self, model: str = ENSEMBLE, top: int = 20) -> Figure:
        """The features that mattered most, with the range over folds.

        By the explanation of the model where one is stored; otherwise by the selection of features, which all models of a fold
        share. The title says which.
        """
        if top < 1:
            raise DataContractError(f"top = {top} is not allowed: show at least 1 feature")
        explained = self._explained(model)
        per_fold, measure, whose = self._selected() if explained is None else explained
        if per_fold["importance"].notna().sum() == 0:
            raise DataContractError(f"{self.coin}, {model}: no feature has an importance that could be shown")
        of_folds = per_fold.groupby("feature")["importance"]
        ranked = pd.DataFrame({"importance": of_folds.mean(), "low": of_folds.min(), "high": of_folds.max()}).dropna()
        ranked = ranked.sort_values("importance", ascending=False, kind="stable")
        most, n_folds = ranked.head(top), per_fold["fold"].nunique()
        first = most.iloc[0]
        found = f"{first['importance']:.3g} ({first['low']:.3g} to {first['high']:.3g} in {n_folds} folds)"
        title = f"{self.coin}, {whose}:\n{most.index[0]} matters most of {len(ranked)} features, {found}"
        measure = f"{measure}; line: lowest to highest fold"
        return importance_figure(most, title=title, measure=measure, footnote=self._without_values())

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write the coin's self-contained report page, and its tables in the folder of that name; returns the page's path."""
        page = Path(path)
        return write_page(coin_page(self.results), page, page.with_suffix(""))

    def _forecast(self, model: str) -> pd.DataFrame:
        if model == ENSEMBLE:
            return self.results.decisions
        if model not in self.results.predictions:
            raise DataContractError(f"there are no stored forecasts of it; there are {', '.join(self.models)}")
        return self.results.predictions[model]

    def _beside_prior(self, model: str) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """Calls of the commonest class, the prior and the model on the bars that the last two forecast, and their labels."""
        forecast, prior = self._forecast(model), self._forecast(PRIOR)
        labels = self.results.labels.loc[known_bars([forecast, prior], self.results.labels)]
        own, naive = forecast.loc[labels.index], prior.loc[labels.index]
        if labels.empty:
            raise DataContractError("no bar has both a forecast and a label, so there is nothing to score")
        signal = int(labels["signal"].mode().iloc[0])
        return {f"always {CLASSES[signal + 1]}": naive.assign(signal=signal), PRIOR: naive, model: own}, labels

    def _forecast_scores(self, metric: str) -> tuple[pd.DataFrame, float]:
        """One row per model on the bars that all of them forecast, and what no skill comes to."""
        forecasts = {**self.results.predictions, ENSEMBLE: self.results.decisions}
        common = self.results.labels.loc[known_bars(forecasts.values(), self.results.labels)]
        if common.empty:
            raise DataContractError(f"{self.coin}: the models have no bar in common that has a label")
        scores = pd.DataFrame(scores_side_by_side(forecasts, self.results.labels, prior=PRIOR, block=_block(common))).T
        ends = scores[[metric, f"{metric}_low", f"{metric}_high"]].set_axis(["value", "low", "high"], axis=1)
        sides = common["signal"][common["signal"] != 0]
        n, independent = len(common), "effective_n"
        if metric == "directional_accuracy":
            n, independent = len(sides), "directional_effective_n"
        counted = scores[independent].map(f"n {n:,}, independent {{:,.0f}}".format)
        no_skill = {
            "accuracy": float(common["signal"].value_counts(normalize=True).max()),
            "directional_accuracy": float(sides.value_counts(normalize=True).max()) if len(sides) else math.nan,
            "log_loss_gain": 0.0,
        }[metric]
        return ends.assign(counted=counted, is_baseline=[_is_baseline(str(name)) for name in ends.index]), no_skill

    def _won(self) -> tuple[pd.DataFrame, None]:
        """Win rates of the comparison; each has a zero-skill rate of its own, that of the same trades with random sides."""
        table = self.results.comparison.set_index("candidate")
        if not (table["trades"] > 0).any():
            raise DataContractError(f"{self.coin}: no candidate made a trade, so there is no win rate to compare")
        traded = table[table["trades"] > 0]
        columns = {"win_rate": "value", "win_rate_low": "low", "win_rate_high": "high", "zero_skill_win_rate": "no_skill"}
        counted = traded["trades"].map("n {:,.0f}".format) + traded["effective_trades"].map(", independent {:,.0f}".format)
        frame = traded[list(columns)].rename(columns=columns)
        return frame.assign(counted=counted, is_baseline=[_is_baseline(str(name)) for name in frame.index]), None

    def _explained(self, model: str) -> tuple[pd.DataFrame, str, str] | None:
        """Importance of features per fold from the stored explanation, what it measures, and whose; None without one."""
        path = self.results.places.frame("explanation", coin=self.coin)
        if not path.exists():
            return None
        stored = read_parquet(path)
        own = stored[stored["model"] == model]
        if own.empty:
            return None
        methods = ", ".join(sorted(own["method"].unique()))
        told = own.set_index(["fold", "feature"])["importance"]
        every = pd.MultiIndex.from_product([own["fold"].unique(), own["feature"].unique()], names=told.index.names)
        # a fold whose selection left a feature out made nothing of it
        per_fold = told.reindex(every, fill_value=0.0).reset_index()
        return per_fold, f"mean importance over folds ({methods})", f"{model}, explained"

    def _selected(self) -> tuple[pd.DataFrame, str, str]:
        """Importance that the selection of each fold found for the features it ranked."""
        selection = self.results.selection
        ranked = selection[(selection["fold"] >= 0) & selection["status"].isin([FeatureStatus.KEPT, FeatureStatus.OUTRANKED])]
        measure = "mean importance in the selection of features, nats that permuting it costs"
        return ranked[["fold", "feature", "importance"]], measure, "selection of features (no explanation stored)"

    def _without_values(self) -> str:
        """A sentence on the features that have no value at all; empty where every feature has some."""
        empty = self.results.features.isna().all()
        names = list(empty.index[empty])
        if not names:
            return ""
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{len(names)} without any value, which no model could use: {', '.join(names[:3])}{more}"

    @contextmanager
    def _naming(self, model: str) -> Iterator[None]:
        """Errors about the forecasts of a model name coin and model."""
        try:
            yield
        except CrpError as error:
            raise DataContractError(f"{self.coin}, {model}: {error}") from error


def _block(labels: pd.DataFrame) -> int:
    """Bars of two horizons: as many as two labels live."""
    index = pd.DatetimeIndex(labels.index)
    step = index.to_series().diff().median()
    lives = (labels["label_end"] - index).median()
    return max(2 * math.ceil(lives / step), 2)


def _highest(table: pd.DataFrame, *, in_percent: bool) -> str:
    """The highest model and the highest baseline with their numbers, and n."""
    tops = [group.sort_values("value", kind="stable").iloc[-1] for _, group in table.groupby("is_baseline")]
    numbers = [f"{row['value']:.1%}" if in_percent else f"{row['value']:+.4f} nats" for row in tops]
    kinds = ["the highest baseline" if row["is_baseline"] else "the highest model" for row in tops]
    told = " and ".join(f"{row.name}, {kind}, {number}" for row, kind, number in zip(tops, kinds, numbers, strict=True))
    return f"{told}\n{tops[0]['counted']}"


def _is_baseline(name: str) -> bool:
    return name != ENSEMBLE and (name not in MODEL_CLASSES or MODEL_CLASSES[name].is_baseline)


def _in_words(row: Mapping[Any, Any]) -> dict[str, str]:
    ends = f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}, {row['effective_n']:,.0f} independent"
    return {
        "candidate": row["candidate"],
        "log-loss": shown(row["log_loss"]),
        "accuracy": f"{row['accuracy']:.1%} ({ends})",
        "win rate": win_rate_phrase(row),
        "net bps per trade": f"{row['expectancy_bps']:+.1f}",
        "p of random sides": shown(row["permutation_p"]),
        "Sharpe": f"{row['sharpe']:.2f}",
        "largest drawdown": f"{row['max_drawdown']:.1%}",
    }
