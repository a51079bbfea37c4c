"""Numbers about forecasts and results: arrays in, floats out, nothing of markets but the session clocks.

`forecast` scores probabilities, `calibration` asks whether they are honest, `performance` and `drawdown` describe trades and
equity, `latency` how long answers took. `validity` says how much of it luck explains, `bootstrap` what else it could have
been, `comparison` who is better, `sequential` how evidence adds up night after night, `drift` whether today is still like the
past. `sessions` names the hours. A number that the data cannot give is NaN; an argument that makes no sense is a `ValueError`
that names it.
"""

from crp_pipeline.metrics.bootstrap import block_bootstrap, block_bootstrap_interval
from crp_pipeline.metrics.calibration import (
    BrierDecomposition,
    CalibrationFloor,
    brier_decomposition,
    calibration_curve,
    expected_calibration_error,
    tier_calibration_error,
    tier_calibration_floor,
)
from crp_pipeline.metrics.comparison import (
    DieboldMariano,
    SuperiorAbility,
    diebold_mariano,
    stepm_survivors,
    superior_predictive_ability,
)
from crp_pipeline.metrics.drawdown import Drawdowns, drawdowns, max_drawdown
from crp_pipeline.metrics.drift import ks_of_stretches, ks_statistic, population_stability_index, psi_of_stretches
from crp_pipeline.metrics.forecast import (
    accuracy,
    binary_brier_score,
    binary_log_loss,
    brier_score,
    directional_accuracy,
    directional_auc,
    log_loss,
)
from crp_pipeline.metrics.latency import latency_summary, nearest_rank_percentile
from crp_pipeline.metrics.performance import (
    calmar_ratio,
    daily_returns,
    expectancy,
    payoff_ratio,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    turnover,
    win_rate,
)
from crp_pipeline.metrics.sequential import e_process, log_mixture_e_value, mixture_e_value, shortfall_e_process
from crp_pipeline.metrics.sessions import SESSIONS, trading_session
from crp_pipeline.metrics.stability import mean_jaccard, selection_stability
from crp_pipeline.metrics.validity import (
    ShareInterval,
    deflated_sharpe_ratio,
    dependent_share_interval,
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
    "BrierDecomposition",
    "CalibrationFloor",
    "DieboldMariano",
    "Drawdowns",
    "ShareInterval",
    "SuperiorAbility",
    "accuracy",
    "binary_brier_score",
    "binary_log_loss",
    "block_bootstrap",
    "block_bootstrap_interval",
    "brier_decomposition",
    "brier_score",
    "calibration_curve",
    "calmar_ratio",
    "daily_returns",
    "deflated_sharpe_ratio",
    "dependent_share_interval",
    "diebold_mariano",
    "directional_accuracy",
    "directional_auc",
    "drawdowns",
    "e_process",
    "effective_sample_size",
    "expectancy",
    "expected_calibration_error",
    "expected_maximum_sharpe",
    "ks_of_stretches",
    "ks_statistic",
    "latency_summary",
    "log_loss",
    "log_mixture_e_value",
    "max_drawdown",
    "mean_jaccard",
    "minimum_backtest_length",
    "minimum_track_record_length",
    "mixture_e_value",
    "nearest_rank_percentile",
    "payoff_ratio",
    "population_stability_index",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "profit_factor",
    "psi_of_stretches",
    "selection_stability",
    "sharpe_ratio",
    "shortfall_e_process",
    "sortino_ratio",
    "stepm_survivors",
    "superior_predictive_ability",
    "tier_calibration_error",
    "tier_calibration_floor",
    "trading_session",
    "turnover",
    "wilson_interval",
    "win_rate",
]
