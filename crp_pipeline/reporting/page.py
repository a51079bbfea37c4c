"""One self-contained HTML page per coin: the verdict first, then everything behind it."""

from html import escape

import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.backtest import BacktestResult, by_regime, by_side, volatility_regime
from crp_pipeline.gate import Outcome, Verdict
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.reporting.feasibility import ceilings_table
from crp_pipeline.reporting.figures import (
    calibration_figure,
    candles_figure,
    equity_figure,
    inline,
    labels_figure,
    timeline_figure,
)
from crp_pipeline.reporting.tables import to_html
from crp_pipeline.reporting.verdicts import findings_table, win_rate_phrase
from crp_pipeline.splits import timeline

STYLE = """
:root { --ink: #1f2a36; --paper: #ffffff; --soft: #5c6b7a; --line: #d9e0e7; --good: #1b7f79; --bad: #b8433f; --wait: #a8721a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --paper: #14191f; --soft: #9aa7b4; --line: #2c3641; --good: #4fc1b8; --bad: #ee7f7a; --wait: #e0ad55 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.2rem }
.PROMOTE { color: var(--good) }
.REJECT, .IMPOSSIBLE { color: var(--bad) } .INSUFFICIENT_EVIDENCE, .SHADOW { color: var(--wait) }
p.reason { font-size: 1.1rem; margin-top: .2rem } .soft { color: var(--soft) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .84rem }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
img { max-width: 100%; border-radius: 4px }
"""


def coin_page(
    verdict: Verdict,
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    roles: pd.DataFrame,
    decisions: pd.DataFrame,
    result: BacktestResult,
    comparison: pd.DataFrame,
    sentinels: pd.DataFrame,
    ceilings: pd.DataFrame,
) -> str:
    """The page as HTML text; pictures are inside, nothing is fetched."""
    coin = verdict.subject["coin"]
    curve, error = calibration_of(scored(decisions, labels))
    regime = volatility_regime(labels["volatility"])
    sections = [
        _headline(coin, verdict),
        _section("Why", to_html(findings_table(verdict))),
        _section("What is achievable at all", to_html(ceilings_table(ceilings))),
        _section("Candidates of the night, baselines on top", to_html(comparison)),
        _section("Equity after costs", _image(equity_figure(result.equity, n_trades=len(result.trades)))),
        _section("Is a confidence of 0.7 right seven times in ten?", _image(calibration_figure(curve, error=error))),
        _section("By tier", to_html(result.by_tier.reset_index())),
        _section("By session at entry", to_html(result.by_session.reset_index())),
        _section("Long and short", to_html(by_side(result.trades).reset_index())),
        _section("By volatility at the decision", to_html(by_regime(result.trades, regime).reset_index())),
        _section("What would be too good to be true", to_html(sentinels)),
        _section("Folds", _image(timeline_figure(roles)) + to_html(timeline(roles))),
        _section("Labels", _image(labels_figure(labels))),
        _section("Candles", _image(candles_figure(candles, coin=coin))),
        _section("Last trades", to_html(result.trades.tail(20))),
        _section("Lineage", to_html(pd.DataFrame(verdict.subject.items(), columns=["what", "which"]))),
    ]
    return _document(f"{coin}: {verdict.outcome}", "\n".join(sections))


def _headline(coin: str, verdict: Verdict) -> str:
    evidence = verdict.evidence
    then = {
        Outcome.PROMOTE: "Tonight's model may replace the champion.",
        Outcome.REJECT: "The champion stays. A true REJECT is a result, not a failure.",
        Outcome.INSUFFICIENT_EVIDENCE: "The champion stays until there is enough to judge by.",
        Outcome.IMPOSSIBLE: "What is asked for, no model can reach: not even one that knows the future.",
        Outcome.SHADOW: "The champion stays; this model decides in its shadow until it is shown to be better, or looked into.",
    }[verdict.outcome]
    badges = f" Ideal: {', '.join(verdict.badges)}." if verdict.badges else ""
    return (
        f'<h1>{escape(coin)}: <span class="{verdict.outcome}">{verdict.outcome}</span></h1>'
        f'<p class="reason">{escape(verdict.reason)}</p><p>{then}{escape(badges)}</p>'
        f"<p>Win rate {escape(win_rate_phrase(evidence))}.<br>"
        f"High tier {escape(win_rate_phrase(evidence, prefix='high_tier_'))}.</p>"
    )


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}"


def _image(figure: Figure) -> str:
    title = figure.axes[0].get_title()
    return f'<img src="{inline(figure)}" alt="{escape(title)}">'


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
