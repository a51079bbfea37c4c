"""What the decisions would have earned, bar by bar, after costs.

A decision is taken at a bar's close and filled at the next open; whoever made it is unknown here. `execution` says where
stop and target lie and what may be ordered, `costs` what a fill costs, `latency` what a delay does to its price and `funding`
what holding costs; `engine` walks the bars, `result` turns the trades into numbers, `skill` asks what chance would have
earned. The compiled engine is imported when the first backtest runs, so that importing this package stays cheap.
"""

from crp_pipeline.backtest.costs import CostData, slippage_draws
from crp_pipeline.backtest.execution import exit_distances, exit_table
from crp_pipeline.backtest.funding import settled_rates
from crp_pipeline.backtest.latency import delay_draws
from crp_pipeline.backtest.result import BacktestResult, run_backtest
from crp_pipeline.backtest.skill import ZeroSkill, zero_skill
from crp_pipeline.settings import ExecutionModel, ExitConfig, Sizing

__all__ = [
    "BacktestResult",
    "CostData",
    "ExecutionModel",
    "ExitConfig",
    "Sizing",
    "ZeroSkill",
    "delay_draws",
    "exit_distances",
    "exit_table",
    "run_backtest",
    "settled_rates",
    "slippage_draws",
    "zero_skill",
]
