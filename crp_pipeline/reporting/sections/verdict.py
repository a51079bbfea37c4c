"""The verdict: outcome, one sentence why, what happens next, the numbers behind it, and every finding."""

import math
from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from crp_pipeline.errors import CrpError
from crp_pipeline.gate import Outcome, Verdict
from crp_pipeline.ledger import Ledger
from crp_pipeline.registry import Registry, version_judged
from crp_pipeline.reporting.document import Fact, Headline, Section, Table, Words
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import STATES, counted, percent, shown
from crp_pipeline.reporting.verdicts import champion_phrase, findings_table, win_rate_phrase

NEXT: Mapping[Outcome, str] = {
    Outcome.PROMOTE: "Tonight's model may replace the champion.",
    Outcome.REJECT: "The champion stays. A true REJECT is a result, not a failure.",
    Outcome.INSUFFICIENT_EVIDENCE: "The champion stays until there is enough to judge by.",
    Outcome.IMPOSSIBLE: "What is asked for, no model can reach: not even one that knows the future.",
    Outcome.SHADOW: "The champion stays; this model decides in its shadow until it is shown to be better, or looked into.",
}
"""What follows from an outcome."""


def headline(results: CoinResults) -> Headline:
    """Outcome, reason, what happens next, both win rates in words, and a strip of key numbers."""
    verdict, evidence = results.verdict, results.verdict.evidence
    badges = f" Ideal: {', '.join(verdict.badges)}." if verdict.badges else ""
    return Headline(
        subject=results.coin,
        outcome=str(verdict.outcome),
        tone=str(verdict.outcome),
        sentences=(
            why(verdict),
            NEXT[verdict.outcome] + badges,
            f"Win rate {win_rate_phrase(evidence)}. High tier {win_rate_phrase(evidence, prefix='high_tier_')}.",
        ),
        facts=key_facts(evidence),
        about=_about(results),
    )


def why(verdict: Verdict) -> str:
    """One sentence: what decided, what it means, and how much else failed."""
    first = verdict.first_failed
    if first is None:
        return f"All {len(verdict.findings)} criteria hold{f'; {verdict.stamp}' if verdict.stamp else ''}."
    said = first.sentence.replace("_", " ")
    meaning = f" ({first.criterion.meaning})" if first.criterion.meaning else ""
    others = sum(not finding.passed for finding in verdict.findings) - 1
    more = f"; {counted(others, 'more criterion fails', 'more criteria fail')}" if others else ""
    return f"{said[:1].upper()}{said[1:]}{meaning}{more}."


def key_facts(evidence: Mapping[str, float]) -> list[Fact]:
    """Six numbers of a verdict, each with what it must be read with."""
    told = defaultdict(lambda: math.nan, evidence)
    independent = f"n {told['trades']:,.0f}, effective {told['effective_trades']:,.0f}"
    span = f"{percent(told['win_rate_low'])} to {percent(told['win_rate_high'])}"
    of_labels = f"{percent(told['accuracy_low'])} to {percent(told['accuracy_high'])}"
    gained = f"{_bps(told['net_expectancy_lower_bps'])} to {_bps(told['net_expectancy_upper_bps'])}"
    return [
        Fact(
            "win rate", percent(told["win_rate"]), f"{span}, {independent}; zero skill {percent(told['zero_skill_win_rate'])}"
        ),
        Fact("net per trade", _bps(told["net_expectancy_bps"]), f"{gained}, after costs"),
        Fact(
            "accuracy",
            percent(told["accuracy"]),
            f"{of_labels}, {told['effective_n']:,.0f} independent labels; commonest class {percent(told['majority_share'])}",
        ),
        Fact("calibration error", percent(told["calibration_error"]), "confidence against hit rate, ten bins"),
        Fact("deepest drawdown", percent(told["max_drawdown"]), f"over {told['test_days']:,.0f} days out of sample"),
        Fact(
            "deflated Sharpe",
            percent(told["deflated_sharpe_ratio"]),
            f"chance of skill after {told['trials']:,.0f} trials; Sharpe {shown(told['sharpe'])}",
        ),
    ]


def findings(results: CoinResults) -> Section:
    """Every criterion, the stages with a failure first, and in them what failed."""
    table = findings_table(results.verdict)
    failed = int((table["passed"] == "no").sum())
    title = f"{failed} of {len(table)} criteria fail" if failed else f"all {len(table)} criteria hold"
    words = Words("A verdict follows from the first stage that fails, in the order of the stages; every number is told.", True)
    return Section("findings", "Why: every criterion", [words, Table("findings", title, failed_first(table), _findings_view)])


def failed_first(table: pd.DataFrame) -> pd.DataFrame:
    """Findings by stage, the stages in which something failed first, and what failed first in its stage."""
    holds = table["passed"] == "yes"
    stage_holds = holds.groupby(table["stage"]).transform("all")
    order = table.assign(stage_holds=stage_holds, place=pd.factorize(table["stage"])[0], holds=holds)
    return table.loc[order.sort_values(["stage_holds", "place", "holds"], kind="stable").index]


def _findings_view(table: pd.DataFrame) -> pd.DataFrame:
    value = [shown(it) for it in table["value"]]
    holds = table["passed"].map({"yes": STATES[0], "no": STATES[1]})
    remark = table["remark"].fillna("")
    criterion = table["criterion"].str.replace("_", " ")
    told = table.assign(value=value, passed=holds, remark=remark, missing=table["missing"].map(_missing), criterion=criterion)
    return told[["passed", "criterion", "value", "needs", "missing", "meaning", "remark", "stage"]]


def _missing(shortfall: float) -> str:
    return "not measured" if math.isnan(shortfall) else "" if shortfall == 0 else shown(float(shortfall))


def _bps(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+,.1f} bps"


def _about(results: CoinResults) -> str:
    """Span of the candles, the night, the version and who reigns; what cannot be read is told."""
    candles, book = results.candles, Registry(results.places.registry)
    first, last = candles.index[0], candles.index[-1]
    span = (
        f"{len(candles):,} bars of {candles.attrs.get('interval', 'unknown length')} from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    )
    subject = results.verdict.subject
    return (
        f"{span}; night of {_night(results)}; version {_version(results, book)}, "
        f"champion {champion_phrase(book, results.coin)}; code {subject.get('code', 'unknown')}"
    )


def _night(results: CoinResults) -> str:
    """When the trial ledger last heard of the coin."""
    try:
        events = Ledger(results.places.ledger).events(results.coin)
    except CrpError as error:
        return f"unknown date ({error})"
    return f"{pd.Timestamp(events[-1].at):%Y-%m-%d %H:%M} UTC" if events else "unknown date"


def _version(results: CoinResults, book: Registry) -> str:
    try:
        return version_judged(book, results.coin, results.verdict) or "not registered"
    except CrpError as error:
        return f"unreadable ({error})"
