"""What a candidate must show, in order: integrity, evidence, skill, economics, calibration, the user's own thresholds."""

from crp_pipeline.gate.verdict import Criterion, Stage, Verdict, judge
from crp_pipeline.settings import GateConfig


def criteria(config: GateConfig) -> tuple[Criterion, ...]:
    """The criteria in force, in the order in which they are judged."""
    return (
        *_integrity(),
        *_evidence(config),
        *_skill(config),
        *_economics(config),
        *_calibration(config),
        *_thresholds(config),
    )


def is_in_force(verdict: Verdict, config: GateConfig) -> bool:
    """True when the criteria in force come to the same verdict on the same evidence."""
    return judge(verdict.evidence, criteria(config), subject=verdict.subject).to_dict() == verdict.to_dict()


def _integrity() -> tuple[Criterion, ...]:
    faults = {
        "overlapping_training_labels": "training labels that meet a test block",
        "leaking_features": "features whose past changed with the future",
        "late_stack_members": "meta-models that saw an unfinished label",
        "mismatched_ingredients": "tables and models that were made from another version of one another",
    }
    return tuple(Criterion(name, "<=", 0, Stage.INTEGRITY, f"{meaning}; must be nought") for name, meaning in faults.items())


def _evidence(config: GateConfig) -> tuple[Criterion, ...]:
    needed = Stage.EVIDENCE
    return (
        Criterion("trades", ">=", config.min_trades, needed, "out-of-sample trades"),
        Criterion("effective_n", ">=", config.min_effective_n, needed, "independent labels among the decisions"),
        Criterion("test_days", ">=", config.min_test_days, needed, "days out of sample with a decision"),
        Criterion("high_tier_trades", ">=", config.min_high_tier_trades, needed, "trades on the high tier"),
    )


def _skill(config: GateConfig) -> tuple[Criterion, ...]:
    skill = Stage.SKILL
    return (
        Criterion("accuracy_over_majority", ">", 0, skill, "lower bound of accuracy minus the share of the commonest class"),
        Criterion("log_loss_gain", ">", 0, skill, "lower bound of log-loss saved against the class prior, in nats"),
        Criterion("permutation_p", "<=", config.max_permutation_p, skill, "chance of this result with sides dealt at random"),
    )


def _economics(config: GateConfig) -> tuple[Criterion, ...]:
    profit, psr, dsr = Stage.ECONOMICS, config.min_probabilistic_sharpe, config.min_deflated_sharpe
    return (
        Criterion("net_expectancy_lower_bps", ">", 0, profit, "lower bound of the mean net return per trade, in bps"),
        Criterion("probabilistic_sharpe_ratio", ">=", psr, profit, "chance that Sharpe exceeds 0"),
        Criterion(
            "deflated_sharpe_ratio", ">=", dsr, profit, "chance that Sharpe exceeds the best of as many trials of no skill"
        ),
    )


def _calibration(config: GateConfig) -> tuple[Criterion, ...]:
    meaning = "confidence against hit rate per tier, weighted by n"
    return (Criterion("tier_calibration_error", "<=", config.max_tier_calibration_error, Stage.CALIBRATION, meaning),)


def _thresholds(config: GateConfig) -> tuple[Criterion, ...]:
    own = Stage.THRESHOLDS
    return (
        Criterion("high_tier_win_rate", ">=", config.min_high_tier_win_rate, own, "net winners among high-tier trades"),
        Criterion("calibration_error", "<=", config.max_calibration_error, own, "confidence against hit rate, ten bins"),
    )
