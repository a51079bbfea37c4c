"""What a candidate must show, in order: integrity, evidence, skill, economics, calibration, the user's own thresholds."""

from crp_pipeline.gate.verdict import Criterion, Stage
from crp_pipeline.settings import GateConfig


def criteria(config: GateConfig) -> tuple[Criterion, ...]:
    """The criteria in force, in the order in which they are judged."""
    return (
        *_integrity(),
        Criterion("trades", Stage.EVIDENCE, ">=", config.min_trades, "out-of-sample trades"),
        Criterion("effective_n", Stage.EVIDENCE, ">=", config.min_effective_n, "independent labels among the decisions"),
        Criterion("test_days", Stage.EVIDENCE, ">=", config.min_test_days, "days out of sample"),
        Criterion("high_tier_trades", Stage.EVIDENCE, ">=", config.min_high_tier_trades, "trades on the high tier"),
        *_skill(config),
        *_economics(config),
        Criterion(
            "tier_calibration_error",
            Stage.CALIBRATION,
            "<=",
            config.max_tier_calibration_error,
            "confidence against hit rate per tier, weighted by n",
        ),
        Criterion(
            "high_tier_win_rate",
            Stage.THRESHOLDS,
            ">=",
            config.min_high_tier_win_rate,
            "net winners among high-tier trades",
        ),
        Criterion(
            "calibration_error",
            Stage.THRESHOLDS,
            "<=",
            config.max_calibration_error,
            "confidence against hit rate, ten bins",
        ),
    )


def _integrity() -> tuple[Criterion, ...]:
    nothing = "must be nought"
    return (
        Criterion(
            "overlapping_training_labels",
            Stage.INTEGRITY,
            "<=",
            0,
            f"training labels that meet a test block; {nothing}",
        ),
        Criterion("leaking_features", Stage.INTEGRITY, "<=", 0, f"features whose past changed with the future; {nothing}"),
        Criterion("late_stack_members", Stage.INTEGRITY, "<=", 0, f"meta-models that saw an unfinished label; {nothing}"),
        Criterion("mismatched_ingredients", Stage.INTEGRITY, "<=", 0, f"tables made from other candles; {nothing}"),
    )


def _skill(config: GateConfig) -> tuple[Criterion, ...]:
    return (
        Criterion(
            "accuracy_over_majority",
            Stage.SKILL,
            ">",
            0,
            "lower bound of accuracy minus the share of the commonest class",
        ),
        Criterion("log_loss_gain", Stage.SKILL, ">", 0, "lower bound of log-loss saved against the class prior, in nats"),
        Criterion(
            "permutation_p",
            Stage.SKILL,
            "<=",
            config.max_permutation_p,
            "chance of this result with the sides dealt at random",
        ),
    )


def _economics(config: GateConfig) -> tuple[Criterion, ...]:
    return (
        Criterion("net_expectancy_lower_bps", Stage.ECONOMICS, ">", 0, "lower bound of the mean net return per trade, in bps"),
        Criterion(
            "probabilistic_sharpe_ratio",
            Stage.ECONOMICS,
            ">=",
            config.min_probabilistic_sharpe,
            "chance that Sharpe exceeds 0",
        ),
        Criterion(
            "deflated_sharpe_ratio",
            Stage.ECONOMICS,
            ">=",
            config.min_deflated_sharpe,
            "chance that Sharpe exceeds the best of as many trials without skill",
        ),
    )
