"""Verdicts in words and tables: what a trader reads in ten seconds."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crp_pipeline.errors import CrpError
from crp_pipeline.gate import Finding, GateConfig, Outcome, Stage, Verdict
from crp_pipeline.gate.challenge import LARGEST_E_VALUE
from crp_pipeline.models.diagnosis import Flag
from crp_pipeline.registry import Registry

COLUMNS = ("coin", "verdict", "win rate", "high tier", "net expectancy", "calibration error", "failed first", "champion")


def champion_phrase(book: Registry, coin: str) -> str:
    """The coin's champion, `none`, or why it cannot be told: one coin's damaged registry hides no other coin's verdict."""
    try:
        return book.champion(coin) or "none"
    except CrpError as error:
        return f"unreadable: {error}"


def verdict_table(
    verdicts: Mapping[str, Verdict], champions: Mapping[str, str], failed: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row per coin: verdict, win rate with everything it must be read with, expectancy, calibration, first failure.

    A coin of `failed` has no verdict tonight, and the table says which asset it failed at.
    """
    rows = {coin: _row(coin, verdict, champions[coin]) for coin, verdict in verdicts.items()}
    missing = {coin: _row_without_verdict(coin, at, champions[coin]) for coin, at in (failed or {}).items()}
    return pd.DataFrame([row for _, row in sorted({**rows, **missing}.items())], columns=COLUMNS)


def findings_table(verdict: Verdict) -> pd.DataFrame:
    """One row per criterion in the order in which they were judged; `value` is in words where the criterion does not apply."""
    return pd.DataFrame(
        [
            {
                "stage": str(finding.criterion.stage),
                "criterion": finding.criterion.name,
                "value": _value(finding, verdict),
                "needs": f"{finding.criterion.comparison} {finding.criterion.threshold:g}",
                "passed": "yes" if finding.passed else "no",
                "missing": finding.shortfall,
                "remark": finding.waiver or finding.remark,
                "meaning": finding.criterion.meaning,
            }
            for finding in verdict.findings
        ]
    )


def _value(finding: Finding, verdict: Verdict) -> float | str:
    """The number, or why there is none: what compares with a champion is kept by `LARGEST_E_VALUE` where nothing compares."""
    if finding.criterion.stage is not Stage.CHAMPION or not finding.value >= LARGEST_E_VALUE:
        return finding.value
    return "no champion yet" if not verdict.evidence.get("has_champion") else "does not apply"


def flags_table(flags: Sequence[Flag]) -> pd.DataFrame:
    """One row per flag of `models.diagnosis.diagnose`, those that are raised first."""
    rows = [("yes" if flag.is_raised else "no", flag.name, flag.value, flag.sentence) for flag in flags]
    return pd.DataFrame(sorted(rows, key=lambda row: row[0] == "no"), columns=["raised", "flag", "value", "sentence"])


def win_rate_phrase(evidence: Mapping[str, float], *, prefix: str = "") -> str:
    """A win rate with its interval, n, zero-skill rate, payoff and coverage: it is never shown without them.

    Where trades hang together, the effective n that the interval is of stands beside n.
    """
    number = {name: evidence.get(prefix + name, math.nan) for name in _WIN_RATE_PARTS}
    if not number["trades"] > 0:
        return "no trades"
    rate, low, high = number["win_rate"], number["win_rate_low"], number["win_rate_high"]
    counted = f"n {number['trades']:,.0f}"
    if number["effective_trades"] < number["trades"] - 0.5:
        counted += f", effective {number['effective_trades']:,.0f}"
    return (
        f"{rate:.1%} ({low:.1%} to {high:.1%}, {counted}); zero skill {number['zero_skill_win_rate']:.1%}, "
        f"payoff {number['payoff_ratio']:.2f}, coverage {number['coverage']:.0%}"
    )


def where_to_look(data_dir: Path) -> str:
    """Where a night's reports lie, and how to look at it in the browser."""
    return f"reports   {data_dir / 'reports'}\nweb UI    make web, then http://127.0.0.1:3000"


def fleet_sentence(verdicts: Sequence[Verdict], config: GateConfig, *, n_coins: int) -> str:
    """Whether enough of all configured coins were promoted; only coins that pass are promoted whatever the answer."""
    promoted = sum(verdict.outcome is Outcome.PROMOTE for verdict in verdicts)
    needed = max(math.ceil(config.fleet_min_promoted / config.fleet_of * n_coins), 1)
    rule = f"at least {config.fleet_min_promoted} of {config.fleet_of}"
    answer = "holds" if promoted >= needed else "does not hold"
    return f"{promoted} of {n_coins} coins promoted; the rule '{rule}' asks for {needed} and {answer}"


_WIN_RATE_PARTS = (
    *("trades", "effective_trades", "win_rate", "win_rate_low", "win_rate_high"),
    *("zero_skill_win_rate", "payoff_ratio", "coverage"),
)


def _row(coin: str, verdict: Verdict, champion: str) -> dict[str, object]:
    evidence, failed = verdict.evidence, verdict.first_failed
    return {
        "coin": coin,
        "verdict": str(verdict.outcome),
        "win rate": win_rate_phrase(evidence),
        "high tier": win_rate_phrase(evidence, prefix="high_tier_"),
        "net expectancy": _expectancy(evidence),
        "calibration error": f"{evidence.get('calibration_error', math.nan):.1%}",
        "failed first": verdict.stamp or "-" if failed is None else failed.sentence,
        "champion": champion,
    }


def _row_without_verdict(coin: str, at: str, champion: str) -> dict[str, object]:
    return {
        **dict.fromkeys(COLUMNS, "-"),
        "coin": coin,
        "verdict": "NO VERDICT",
        "failed first": f"the run failed at {at}",
        "champion": champion,
    }


def _expectancy(evidence: Mapping[str, float]) -> str:
    mean, low, high = (
        evidence.get(name, math.nan) for name in ("net_expectancy_bps", "net_expectancy_lower_bps", "net_expectancy_upper_bps")
    )
    return f"{mean:+.1f} bps ({low:+.1f} to {high:+.1f})"
