"""What the decisions would have earned, bar by bar, after costs.

A decision is taken at a bar's close and filled at the next open; whoever made it is unknown here. `execution` says where
stop and target lie and what may be ordered, `costs` what a fill costs, `latency` what a delay does to its price and `funding`
what holding costs; `engine` walks the bars, `result` turns its fills into tables and `summary` these into numbers, `stress`
trades dearer and later, `skill` asks what chance would have earned, `lone` what each decision earns by itself, `rules` hold an
account against a prop firm's limits. The compiled engine is imported when the first backtest runs, so that importing this
package stays cheap.
"""

from crp_pipeline.backtest.costs import CostData, slippage_draws
from crp_pipeline.backtest.execution import exit_distances, exit_table
from crp_pipeline.backtest.funding import settled_rates
from crp_pipeline.backtest.latency import delay_draws
from crp_pipeline.backtest.lone import lone_net_returns
from crp_pipeline.backtest.result import BacktestResult, run_backtest
from crp_pipeline.backtest.rules import Challenge, ChallengeOdds, challenge_odds, rules_evidence
from crp_pipeline.backtest.skill import ZeroSkill, zero_skill
from crp_pipeline.backtest.stress import (
    break_even_cost_bps,
    cost_ladder,
    cost_walks,
    equity_by_cost,
    ladder_of,
    latency_penalised,
    slowest_tenth,
)
from crp_pipeline.backtest.summary import (
    VolatilityRegime,
    by_regime,
    by_side,
    equity_summary,
    trade_summary,
    volatility_regime,
)
from crp_pipeline.settings import ExecutionModel, ExitConfig, PropFirmRules, Sizing

__all__ = [
    "BacktestResult",
    "Challenge",
    "ChallengeOdds",
    "CostData",
    "ExecutionModel",
    "ExitConfig",
    "PropFirmRules",
    "Sizing",
    "VolatilityRegime",
    "ZeroSkill",
    "break_even_cost_bps",
    "by_regime",
    "by_side",
    "challenge_odds",
    "cost_ladder",
    "cost_walks",
    "delay_draws",
    "equity_by_cost",
    "equity_summary",
    "exit_distances",
    "exit_table",
    "ladder_of",
    "latency_penalised",
    "lone_net_returns",
    "rules_evidence",
    "run_backtest",
    "settled_rates",
    "slippage_draws",
    "slowest_tenth",
    "trade_summary",
    "volatility_regime",
    "zero_skill",
]
