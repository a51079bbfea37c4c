"""One synthetic market through every room, without Dagster and without files: from candles to a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from crp_pipeline.backtest import CostData, exit_table, run_backtest
from crp_pipeline.controls.market import COIN
from crp_pipeline.ensemble import Stack, fit_stack
from crp_pipeline.features import CATALOG, compute_features, feature_set_id, prove_causal, ready_rows, spread_cuts
from crp_pipeline.gate import Verdict, criteria, judge
from crp_pipeline.gate.challenge import Contender, challenge_evidence
from crp_pipeline.gate.comparison import daily_net_returns, plain_decisions, rules, with_exits
from crp_pipeline.gate.evidence import Candidate, measure
from crp_pipeline.gate.sentinels import Watched, keep_watch, sentinel_evidence, sentinel_table
from crp_pipeline.gate.trials import ledger_evidence, ledger_faults
from crp_pipeline.labels import make_labels
from crp_pipeline.ledger import Ledger, Trial, Trials
from crp_pipeline.metrics import sharpe_ratio
from crp_pipeline.models import MODEL_CLASSES, cross_fit, recipe_of, select_features
from crp_pipeline.provenance import stamp
from crp_pipeline.settings import (
    EnsembleConfig,
    ExecutionModel,
    ExitConfig,
    GateConfig,
    LabelConfig,
    PipelineSettings,
    PropFirmRules,
    SelectionConfig,
    SentinelConfig,
    Sizing,
    ToldSettings,
    WalkForwardConfig,
)
from crp_pipeline.splits import fold_table, folds_of

BASELINES = ("prior", "persistence", "logistic")
LEARNER = "lightgbm"
LATENCY_MS = 50.0
"""Assumed for the slowest tenth of the inferences: nothing is measured on a busy machine."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PROVED_BARS, PROOF_CUTS = 1_500, 2
"""The nightly proof is the night's own; a control proves the same features on a short stretch."""

Relabel = Callable[[pd.DataFrame, int], pd.DataFrame]


def control_settings(seed: int, *, horizon: int = 1) -> ToldSettings:
    """Settings of a control, whatever the installation's own are: the next bars, small stakes, the bounds of the house.

    The win rate is no subject here: how many trades win follows from exits and costs, and the edges are known by accuracy.
    """
    return ToldSettings(
        source="demo",
        interval="1h",
        horizon=horizon,
        seed=seed,
        threads=1,
        roster=(LEARNER,),
        labels=LabelConfig(horizon=horizon, neutral_volatility_multiple=0.0, volatility_window=50),
        walk_forward=WalkForwardConfig(train_size=3_500, test_size=900, embargo=2 * horizon),
        selection=SelectionConfig(keep=30, learn_rows=2_000, watch_rows=500, correlation_rows=1_000),
        execution=ExecutionModel(horizon=horizon),
        exits=ExitConfig(),
        sizing=Sizing(risk_per_trade=0.001),
        ensemble=EnsembleConfig(),
        gate=GateConfig(min_win_rate=0.05, n_resamples=1_000),
        sentinels=SentinelConfig(),
        prop_firm=PropFirmRules(),
    )


@dataclass(frozen=True)
class Night:
    """What one market came to before it was traded and judged."""

    candles: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    stack: Stack
    decisions: pd.DataFrame
    sentinels: Mapping[str, float]

    def verdict(self, settings: PipelineSettings) -> Verdict:
        """The decisions traded and judged under these settings."""
        exits = exit_table(self.labels["volatility"], settings.horizon, settings.exits)
        result = run_backtest(
            self.candles, with_exits(self.decisions, exits), execution=settings.execution, sizing=settings.sizing
        )
        stamp(result.trades, "backtest", behind=[self.candles, self.labels, self.decisions])
        earned = self._earned(settings, exits)
        learned_from = (self.candles, self.features, self.labels, self.roles, self.selection)
        candidate = Candidate(
            *learned_from,
            self.predictions["prior"],
            self.decisions,
            self.stack,
            result,
            earned,
            costs=CostData(),
            latency_p90_ms=LATENCY_MS,
            files={},
        )
        return judge(measure(candidate, settings, beside=self._beside(settings, earned)), criteria(settings.gate))

    def balanced_accuracy(self) -> tuple[float, float]:
        """How often the learner's more probable side came, out of fold, and the standard error that chance alone gives it.

        Up and down count alike, however many of either came: nothing but skill makes it differ from a half.
        """
        forecast, came = self.predictions[LEARNER], self.labels["signal"]
        rows = forecast["p_long"].notna() & came.abs().eq(1)
        says_up = (forecast.loc[rows, "p_long"] > forecast.loc[rows, "p_short"]).to_numpy()
        went_up = came[rows].gt(0).to_numpy()
        share, n_up, n_down = says_up.mean(), went_up.sum(), (~went_up).sum()
        accuracy = (says_up[went_up].mean() + (~says_up)[~went_up].mean()) / 2
        return float(accuracy), float(np.sqrt(share * (1 - share) * (1 / n_up + 1 / n_down)) / 2)

    def _beside(self, settings: PipelineSettings, earned: pd.DataFrame) -> dict[str, float]:
        """What others say of the candidate: the sentinels, a ledger of tonight's trials, no champion, no control before."""
        contender = Contender(recipe="control", decisions=self.decisions)
        return {
            **self.sentinels,
            **_trial_evidence(earned),
            **challenge_evidence(contender, None, pd.DataFrame(), self.candles, self.labels, settings),
            "control_failures": 0.0,
            "control_age_days": 0.0,
        }

    def _earned(self, settings: PipelineSettings, exits: pd.DataFrame) -> pd.DataFrame:
        """Daily net returns of every candidate, baselines among them."""
        plain = {name: plain_decisions(forecast) for name, forecast in self.predictions.items()}
        candidates = {**plain, **rules(self.candles, horizon=settings.horizon), "ensemble": self.decisions}
        earned = daily_net_returns(candidates, self.candles, exits, execution=settings.execution, sizing=settings.sizing)
        return stamp(earned, "comparison", behind=[self.candles, self.labels, self.decisions])


def walk(candles: pd.DataFrame, settings: PipelineSettings, *, relabel: Relabel | None = None) -> Night:
    """Learn from a market as a night does; `relabel` may put other labels in place of the true ones."""
    features = _features(candles, settings.seed)
    labels = stamp(make_labels(candles, settings.labels), "labels", behind=[candles])
    learned = labels if relabel is None else stamp(relabel(labels, settings.seed), "labels", behind=[candles])
    ready = ready_rows(candles) & ~candles["is_repaired"].to_numpy()
    roles = stamp(fold_table(learned, ready, settings.walk_forward), "splits", behind=[candles, learned])
    selection = select_features(features, learned, roles, config=settings.selection, seed=settings.seed)
    stamp(selection, "models/selection", behind=[features, learned, roles])
    predictions = _predictions(features, learned, roles, selection, settings)
    roster = {name: predictions[name] for name in settings.roster}
    stack = fit_stack(roster, learned, folds_of(roles), seed=settings.seed, config=settings.ensemble)
    decisions = stamp(stack.decide(roster), "ensemble", behind=[learned, roles, *roster.values()])
    watched = Watched(candles, features, learned, roles, selection, decisions, costs=CostData())
    sentinels = sentinel_evidence(sentinel_table(keep_watch(watched, settings), settings.sentinels))
    return Night(candles, features, learned, roles, selection, predictions, stack, decisions, sentinels)


def shuffled_labels(labels: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same labels dealt to other bars; when they end and what they weigh stays."""
    known = np.flatnonzero(labels["signal"].notna())
    told = ["signal", "forward_return", "trend_strength"]
    order = np.random.default_rng(seed).permutation(known)
    dealt = {name: labels[name].to_numpy().copy() for name in told}
    for name, values in dealt.items():
        values[known] = labels[name].to_numpy()[order]
    return labels.assign(**dealt)


def sharpe_tests(returns: pd.DataFrame) -> tuple[float, float]:
    """Of the best column by Sharpe ratio: its probabilistic Sharpe ratio, and the one deflated by the number of columns."""
    sharpes = pd.Series({name: sharpe_ratio(column, periods_per_year=1) for name, column in returns.items()})
    trials = Trials(
        n_trials=len(sharpes),
        sharpes=np.asarray(sharpes, dtype=np.float64),
        returns=np.empty((0, 0)),
        days=pd.DatetimeIndex([]),
        names=(),
        is_baseline=np.empty(0, dtype=bool),
    )
    told = ledger_evidence(trials, returns[sharpes.idxmax()])
    return told["probabilistic_sharpe_ratio"], told["deflated_sharpe_ratio"]


def _trial_evidence(earned: pd.DataFrame) -> dict[str, float]:
    """What a ledger that holds these trials and no others says of the ensemble."""
    contenders = {LEARNER, "ensemble"}
    trials = [Trial(str(name), {"candidate": str(name)}, is_baseline=name not in contenders) for name in earned]
    with TemporaryDirectory() as folder:
        ledger = Ledger(folder)
        ledger.append(COIN, "control", trials, earned, now=LONG_AGO)
        faults, _ = ledger_faults(ledger, COIN)
        return {"ledger_faults": float(faults), **ledger_evidence(ledger.trials(COIN), earned["ensemble"])}


def _features(candles: pd.DataFrame, seed: int) -> pd.DataFrame:
    stretch = candles.iloc[:PROVED_BARS]
    leaks = prove_causal(CATALOG, stretch, cuts=spread_cuts(PROVED_BARS, PROOF_CUTS, seed=seed), seed=seed)
    leaking = len({leak.feature for leak in leaks})
    made, set_id = compute_features(candles, CATALOG), feature_set_id(CATALOG)
    return stamp(made, "features", behind=[candles], feature_set_id=set_id, leaking_features=leaking)


def _predictions(
    features: pd.DataFrame, labels: pd.DataFrame, roles: pd.DataFrame, selection: pd.DataFrame, settings: PipelineSettings
) -> dict[str, pd.DataFrame]:
    predictions = {}
    for name in (*BASELINES, *settings.roster):
        spec = recipe_of(name, "default", asked={}, params={}, n_threads=1, device="auto")
        chosen = None if MODEL_CLASSES[name].reads_every_feature else selection
        forecast = cross_fit(spec, features, labels, folds_of(roles), seed=settings.seed, selection=chosen)
        predictions[name] = stamp(forecast, f"models/{name}", behind=[features, labels, roles, selection])
    return predictions
