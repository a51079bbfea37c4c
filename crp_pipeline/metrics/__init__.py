"""Numbers about forecasts and results: arrays in, floats out, nothing of markets but the session clocks.

`forecast` scores probabilities, `calibration` asks whether they are honest, `performance` describes trades and equity,
`validity` says how much of it luck explains, `sessions` names the hours. A number that the data cannot give is NaN; an
argument that makes no sense is a `ValueError` that names it.
"""

from crp_pipeline.metrics.calibration import calibration_curve, expected_calibration_error, tier_calibration_error
from crp_pipeline.metrics.forecast import (
    accuracy,
    binary_brier_score,
    binary_log_loss,
    brier_score,
    directional_accuracy,
    directional_auc,
    log_loss,
)
from crp_pipeline.metrics.performance import (
    average_drawdown,
    daily_returns,
    expectancy,
    max_drawdown,
    payoff_ratio,
    profit_factor,
    sharpe_ratio,
    win_rate,
)
from crp_pipeline.metrics.sessions import SESSIONS, trading_session
from crp_pipeline.metrics.stability import mean_jaccard, selection_stability
from crp_pipeline.metrics.validity import (
    block_bootstrap,
    block_bootstrap_interval,
    deflated_sharpe_ratio,
    effective_sample_size,
    expected_maximum_sharpe,
    minimum_backtest_length,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    wilson_interval,
)

__all__ = [
    "SESSIONS",
    "accuracy",
    "average_drawdown",
    "binary_brier_score",
    "binary_log_loss",
    "block_bootstrap",
    "block_bootstrap_interval",
    "brier_score",
    "calibration_curve",
    "daily_returns",
    "deflated_sharpe_ratio",
    "directional_accuracy",
    "directional_auc",
    "effective_sample_size",
    "expectancy",
    "expected_calibration_error",
    "expected_maximum_sharpe",
    "log_loss",
    "max_drawdown",
    "mean_jaccard",
    "minimum_backtest_length",
    "minimum_track_record_length",
    "payoff_ratio",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "profit_factor",
    "selection_stability",
    "sharpe_ratio",
    "tier_calibration_error",
    "trading_session",
    "wilson_interval",
    "win_rate",
]
