"""What to try next: one rule per criterion of the gate, told with the coin's own numbers.

An advice changes the data, the features, the model, the costs or the patience; none loosens the bound that failed, since a
bound that is moved until something passes proves nothing.
"""

import math
from collections.abc import Mapping
from string import Formatter
from typing import Any

from crp_pipeline.gate import Verdict

PROMOTED = "Nothing failed: let it run, and prove any other recipe in the champion's shadow, on fresh decisions."
NOT_MEASURED = "{name} was not measured: look for the asset that tells it, and materialize the coin again from there on."

ADVICE: Mapping[str, str] = {
    # integrity
    "overlapping_training_labels": (
        "{value:,.0f} training labels reach into a test block: widen walk_forward.embargo or mend the split; no other "
        "number of this night counts."
    ),
    "leaking_features": (
        "{value:,.0f} features changed their past when later bars arrived: mend or remove them (the checks of `features` "
        "name them), then materialize from `features` on."
    ),
    "late_stack_members": (
        "{value:,.0f} meta-models learned from labels that had not ended: materialize `ensemble` again and look at its folds."
    ),
    "mismatched_ingredients": (
        "{value:,.0f} tables or models were made from other versions of one another: materialize the coin from `labels` "
        "on in one run."
    ),
    "ledger_faults": (
        "{value:,.0f} faults in the ledger of trials: `crp ledger` names them; restore the file, or lay it aside with "
        "`--start-anew` and a reason."
    ),
    "canaries_missed": (
        "{value:,.0f} of {canaries_planted:,.0f} planted leaks went unseen, so that a real one could as well: look at the "
        "sentinels before anything else."
    ),
    "control_failures": (
        "{value:,.0f} controls did not come out as they must over {control_runs:,.0f} runs: `crp control-report` names "
        "them; the fault lies in the code, not in the coin."
    ),
    "control_age_days": (
        "The controls of this code are {value:,.3g} days old: run `crp control`, then materialize `gate` again."
    ),
    "repaired_share": "{value:.1%} of the bars were filled in: get the missing candles from another source or a later start.",
    # feasibility
    "oracle_ceiling": (
        "Not even an oracle wins more than {value:.1%}, and {threshold:.1%} is asked for: try a longer horizon or cheaper "
        "execution, which raise the ceiling. At these costs break-even is {break_even_win_rate:.1%} and a coin flip wins "
        "{coin_flip_win_rate:.1%}."
    ),
    # evidence
    "trades": "{value:,.0f} of {threshold:,.0f} trades: bring a longer history, or let more nights pass.",
    "effective_n": (
        "{value:,.0f} of {threshold:,.0f} independent labels: bring a longer history, or a shorter horizon, whose labels "
        "overlap less."
    ),
    "test_days": "{value:,.0f} of {threshold:,.0f} days out of sample: bring a longer history, or let more nights pass.",
    "confidence_level": "Intervals were told at {value:.0%}: set gate.level to the {threshold:.0%} asked for.",
    "resamples": "{value:,.0f} resamples stand behind the bounds: set gate.n_resamples to the {threshold:,.0f} asked for.",
    "gated_trades": (
        "{value:,.0f} of {threshold:,.0f} trades whose win rate is asked for, of {trades:,.0f} in all: bring a longer history."
    ),
    # skill
    "accuracy_over_majority": (
        "Accuracy is {accuracy:.1%} ({accuracy_low:.1%} to {accuracy_high:.1%}) and the commonest class alone "
        "{majority_share:.1%}: try other features or feeds, or another horizon; more of the same model will not help. "
        "Where nothing is to be found, this REJECT is right."
    ),
    "log_loss_gain": (
        "Against the class prior {log_loss_gain_mean:+.4f} nats a bar are saved ({value:+.4f} to "
        "{log_loss_gain_high:+.4f}): try stronger regularization or fewer features, and look whether the folds agree."
    ),
    "permutation_p": (
        "Random sides do as well with a chance of {value:.3g}: the win rate of {win_rate:.1%} stands beside "
        "{zero_skill_win_rate:.1%} with no skill. Look for features that tell the direction."
    ),
    # economics
    "net_expectancy_lower_bps": (
        "A trade earns {net_expectancy_bps:+.1f} bps ({value:+.1f} to {net_expectancy_upper_bps:+.1f}) and breaks even at "
        "costs of {break_even_cost_bps:.1f} bps: trade only the high tier, hold longer, or trade where it is cheaper."
    ),
    "probabilistic_sharpe_ratio": (
        "The chance that the Sharpe ratio of {sharpe:.2f} exceeds 0 is {value:.3g}; as it is, "
        "{minimum_track_record_length:,.0f} days would show it and there are {test_days:,.0f}: wait, or find an edge that "
        "is larger or steadier."
    ),
    "deflated_sharpe_ratio": (
        "{trials:,.0f} trials were made on this coin, and the best of as many worthless ones would look almost as good "
        "(chance of more: {value:.3g}): try fewer and more different ideas, and let fresh nights decide."
    ),
    "probability_of_backtest_overfitting": (
        "What was best on one half of the days lost on the other in {value:.0%} of the halves: prefer the simpler recipe, "
        "and stop choosing among {trials_in_matrix:,.0f} trials on the same days."
    ),
    "stressed_expectancy_bps": (
        "With the costs stressed a trade earns {value:+.1f} bps instead of {net_expectancy_bps:+.1f}: trade less often, "
        "or for larger moves, so that costs weigh less."
    ),
    "late_expectancy_bps": (
        "With orders as late as the slowest tenth a trade earns {value:+.1f} bps instead of {net_expectancy_bps:+.1f}: "
        "take a faster model ({latency_p90_ms:.1f} ms at present) or a longer horizon."
    ),
    "sharpe": (
        "The annualised Sharpe ratio is {value:.2f} with a drawdown of {max_drawdown:.1%}: look in the report at which "
        "side, session or volatility loses the money."
    ),
    # calibration
    "tier_calibration_error": (
        "Confidence and hit rate are {value:.1%} apart by tier, at worst {tier_calibration_error_max:.1%}: give the "
        "calibration more rows (ensemble.calibration_share) or a more recent slice."
    ),
    "tier_calibration_excess": (
        "The tiers are off by {tier_calibration_error:.1%}, and luck explains {tier_calibration_floor:.1%}: give the "
        "calibration more rows (ensemble.calibration_share) or a more recent slice."
    ),
    # thresholds
    "gated_win_rate": (
        "{value:.1%} of {gated_trades:,.0f} trades won, {threshold:.1%} is asked for and {break_even_win_rate:.1%} breaks "
        "even: act on fewer, surer bars (coverage is {coverage:.0%}), or look for features that tell more."
    ),
    "calibration_error": (
        "Confidence and hit rate are {value:.1%} apart, {threshold:.1%} is allowed: give the calibration more rows "
        "(ensemble.calibration_share), or let more nights pass."
    ),
    # risk
    "challenge_breaches": (
        "The path breaks {value:,.0f} limits before it passes (worst day {worst_daily_loss:.1%}, worst total "
        "{worst_total_loss:.1%}): risk less per trade (sizing.risk_per_trade)."
    ),
    "challenge_pass_probability": (
        "The challenge is passed in {value:.0%} ({challenge_pass_probability_low:.0%} to "
        "{challenge_pass_probability_high:.0%}) of resampled paths: risk less per trade (sizing.risk_per_trade), or find "
        "a steadier edge."
    ),
    "house_challenge_breaches": (
        "By the rules that the house starts from the path breaks {value:,.0f} limits: risk less per trade "
        "(sizing.risk_per_trade)."
    ),
    "house_challenge_pass_probability": (
        "By the rules that the house starts from the challenge is passed in {value:.0%} of resampled paths: risk less per "
        "trade (sizing.risk_per_trade), or find a steadier edge."
    ),
    # plausibility
    "implausible": (
        "An accuracy of {forecast_accuracy:.1%} and an AUC of {forecast_auc:.3f} are too good for this horizon: a person "
        "looks for the leak first; the single-feature readings of the sentinels show where."
    ),
    "house_implausible": (
        "By the caps that the house starts from an accuracy of {forecast_accuracy:.1%} is too good for this horizon: a "
        "person looks for the leak first."
    ),
    "alarmed_share_shown": (
        "{value:.0%} of the features that predict too well were shown to the models: look at `sentinels`, which name them."
    ),
    # champion
    "refresh_margin": (
        "The refreshed model earned {pnl_difference_bps:+.3g} bps a day ({pnl_difference_bps_low:+.3g} to "
        "{pnl_difference_bps_high:+.3g}) against the champion over {paired_days:,.0f} days: keep the champion, and look "
        "at what the newest data taught the refreshed one."
    ),
    "e_value_margin": (
        "Over {fresh_pairs:,.0f} fresh rounds the e-value has come to {e_value:.3g} with {recipes_tried:,.0f} recipes "
        "tried: let it decide in the shadow for more nights, and try no further recipe meanwhile."
    ),
    "fresh_gain_bps": (
        "On fresh rounds it earned {value:+.3g} bps a round more than the champion: let it decide in the shadow for more "
        "nights."
    ),
}
"""What to try where a criterion is the first that failed; `value` and `threshold` are the criterion's, other names evidence."""


def next_step(verdict: Verdict) -> str:
    """What to try next, from the first criterion that failed, in a sentence or two with the coin's own numbers."""
    failed = verdict.first_failed
    if failed is None:
        return PROMOTED
    name = failed.criterion.name
    if not math.isfinite(failed.value):
        return NOT_MEASURED.format(name=name)
    told = {**verdict.evidence, "value": failed.value, "threshold": failed.criterion.threshold}
    # a verdict of earlier code may name a criterion that is none any more
    return _Numbers().vformat(ADVICE.get(name, f"{failed.sentence}: {failed.criterion.meaning}."), (), told)


class _Numbers(Formatter):
    """Numbers by name; one that nobody measured is `not measured`."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:  # noqa: ARG002
        return kwargs.get(str(key), math.nan)

    def format_field(self, value: Any, format_spec: str) -> str:
        return str(super().format_field(value, format_spec)) if math.isfinite(value) else "not measured"
