"""What a candidate must show, in order: integrity first, the champion last."""

from dataclasses import replace

from crp_pipeline.gate.verdict import Criterion, Stage, Verdict, judge
from crp_pipeline.settings import GateConfig

FAULTS = {
    "overlapping_training_labels": "training labels that meet a test block",
    "leaking_features": "features whose past changed with the future",
    "late_stack_members": "meta-models that saw an unfinished label",
    "mismatched_ingredients": "tables and models that were made from another version of one another",
    "ledger_faults": "ways in which the trial ledger is missing, shortened or altered",
    "canaries_missed": "planted leaks that were not caught tonight",
    "control_failures": "controls that did not come out as they must, of the last control run of this code",
}
"""Each makes every other number worthless."""
USERS_OWN = (Stage.FEASIBILITY, Stage.THRESHOLDS)
"""What is asked for here is nobody else's affair."""


def criteria(config: GateConfig) -> tuple[Criterion, ...]:
    """The criteria in force, in the order in which they are judged; each knows the bound of the house."""
    return tuple(
        criterion
        if criterion.stage in USERS_OWN or criterion.standard is not None
        else replace(criterion, standard=house.threshold)
        for criterion, house in zip(_criteria(config), _criteria(GateConfig()), strict=True)
    )


def is_in_force(verdict: Verdict, config: GateConfig) -> bool:
    """True when the criteria in force come to the same verdict on the same evidence."""
    return judge(verdict.evidence, criteria(config), subject=verdict.subject).to_dict() == verdict.to_dict()


def _criteria(config: GateConfig) -> tuple[Criterion, ...]:
    return (
        *_integrity(config),
        *_feasibility(config),
        *_evidence(config),
        *_skill(config),
        *_economics(config),
        *_calibration(config),
        *_thresholds(config),
        *_risk(config),
        *_plausibility(),
        *_champion(config),
    )


def _integrity(config: GateConfig) -> tuple[Criterion, ...]:
    faults = (Criterion(name, "<=", 0, Stage.INTEGRITY, f"{meaning}; must be nought") for name, meaning in FAULTS.items())
    limits = {
        "control_age_days": (config.max_control_age_days, "days since the control suite last ran on this code"),
        "repaired_share": (config.max_repaired_share, "share of the bars that were filled in"),
    }
    return (
        *faults,
        *(Criterion(name, "<=", limit, Stage.INTEGRITY, meaning) for name, (limit, meaning) in limits.items()),
    )


def _feasibility(config: GateConfig) -> tuple[Criterion, ...]:
    meaning = "what a perfect oracle wins on as many bars, or of its trades there: no higher win rate may be asked for"
    return (Criterion("oracle_ceiling", ">=", config.min_win_rate, Stage.FEASIBILITY, meaning),)


def _evidence(config: GateConfig) -> tuple[Criterion, ...]:
    needed = Stage.EVIDENCE
    return (
        Criterion("trades", ">=", config.min_trades, needed, "out-of-sample trades"),
        Criterion("effective_n", ">=", config.min_effective_n, needed, "independent labels among the decisions"),
        Criterion("test_days", ">=", config.min_test_days, needed, "days out of sample with a decision"),
        Criterion("confidence_level", ">=", config.level, needed, "level of every interval"),
        Criterion("resamples", ">=", config.n_resamples, needed, "bootstrap resamples and permutations behind every bound"),
        Criterion("gated_trades", ">=", config.min_tier_trades, needed, "trades whose win rate is asked for"),
    )


def _skill(config: GateConfig) -> tuple[Criterion, ...]:
    skill = Stage.SKILL
    return (
        Criterion("accuracy_over_majority", ">", 0, skill, "lower bound of accuracy minus the share of the commonest class"),
        Criterion("log_loss_gain", ">", 0, skill, "lower bound of log-loss saved against the class prior, in nats"),
        Criterion(
            "permutation_p",
            "<=",
            config.max_permutation_p,
            skill,
            "chance of this result with sides dealt at random (1 for one side only)",
        ),
    )


def _economics(config: GateConfig) -> tuple[Criterion, ...]:
    profit, psr, dsr = Stage.ECONOMICS, config.min_probabilistic_sharpe, config.min_deflated_sharpe
    overfitting = Criterion(
        "probability_of_backtest_overfitting",
        "<=",
        config.max_overfitting_probability,
        profit,
        "chance that the best choice of one half of the days loses in the other",
        ideal=config.ideal_overfitting_probability,
    )
    return (
        Criterion("net_expectancy_lower_bps", ">", 0, profit, "lower bound of the mean net return per trade, in bps"),
        Criterion("probabilistic_sharpe_ratio", ">=", psr, profit, "chance that Sharpe exceeds 0"),
        Criterion(
            "deflated_sharpe_ratio", ">=", dsr, profit, "chance that Sharpe exceeds the best of all trials, had they no skill"
        ),
        overfitting,
        Criterion(
            "stressed_expectancy_bps",
            ">",
            0,
            profit,
            f"mean net return per trade at {config.stress_cost_factor:g} times the costs",
        ),
        Criterion(
            "late_expectancy_bps", ">", 0, profit, "mean net return per trade when each order is as late as the slowest tenth"
        ),
        Criterion("sharpe", ">", 0, profit, "annualised Sharpe ratio of daily net returns", ideal=config.ideal_sharpe),
    )


def _calibration(config: GateConfig) -> tuple[Criterion, ...]:
    limit, honest = config.max_tier_calibration_error, Stage.CALIBRATION
    return (
        Criterion("tier_calibration_error", "<=", limit, honest, "confidence against hit rate per tier, weighted by n"),
        Criterion("tier_calibration_excess", "<=", 0, honest, "the part of it that chance does not explain"),
    )


def _thresholds(config: GateConfig) -> tuple[Criterion, ...]:
    whose = "all trades" if config.win_rate_of == "all" else "high-tier trades"
    what = f"net winners among {whose}" + (", lower bound" if config.win_rate_bound == "lower" else "")
    own, limit = Stage.THRESHOLDS, config.max_calibration_error
    return (
        Criterion("gated_win_rate", ">=", config.min_win_rate, own, what, ideal=config.ideal_win_rate),
        Criterion(
            "calibration_error", "<=", limit, own, "confidence against hit rate, ten bins", ideal=config.ideal_calibration_error
        ),
    )


def _risk(config: GateConfig) -> tuple[Criterion, ...]:
    risk, chance, usual = Stage.RISK, config.min_challenge_pass_probability, GateConfig().min_challenge_pass_probability
    return (
        Criterion(
            "challenge_breaches", "<=", 0, risk, "limits of the prop firm that the path as it was breaks before it passes"
        ),
        Criterion("challenge_pass_probability", ">=", chance, risk, "chance of passing its challenge, over resampled paths"),
        _told("house_challenge_breaches", 1, risk, "the same by the rules that the house starts from", standard=0),
        Criterion("house_challenge_pass_probability", ">=", 0, risk, "the same by these rules", standard=usual),
    )


def _plausibility() -> tuple[Criterion, ...]:
    doubt = Stage.PLAUSIBILITY
    return (
        Criterion("implausible", "<=", 0, doubt, "too accurate for its horizon: a person must look first"),
        _told("house_implausible", 1, doubt, "the same by the caps that the house starts from", standard=0),
        _told("alarmed_share_shown", 1, doubt, "share of the features that predict too well which models saw", standard=0),
    )


def _told(name: str, most: float, stage: Stage, meaning: str, *, standard: float) -> Criterion:
    """A criterion that no measured number fails: a promotion against the bound of the house carries its stamp."""
    return Criterion(name, "<=", most, stage, meaning, standard=standard)


def _champion(config: GateConfig) -> tuple[Criterion, ...]:
    champion, house = Stage.CHAMPION, GateConfig().min_e_value
    return (
        Criterion(
            "refresh_margin",
            ">=",
            1 - config.refresh_margins,
            champion,
            "how far a model of the champion's own recipe is from being worse by more than a margin, in margins",
        ),
        Criterion(
            "e_value_margin",
            ">=",
            config.min_e_value - house,
            champion,
            f"evidence of another recipe on fresh decisions, shared by all recipes tried in this reign, minus {house:g}",
        ),
        Criterion("fresh_gain_bps", ">", 0, champion, "what another recipe earned more than the champion per fresh round"),
    )
