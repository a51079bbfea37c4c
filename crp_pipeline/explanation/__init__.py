"""Beside room 8: what the roster's models made their out-of-sample forecasts of, and why the latest signal is what it is.

Every row is explained by the model of the fold that tested it, read back from the record: none had learned from the row. Only
some rows are explained, spread evenly over all that were tested, and within a time per model; the rule is told with the result.

data/explanation/<coin>.parquet               importances: one row per model, fold and feature
data/explanation/<coin>/<model>.parquet       contributions: one row per explained bar and feature, and one per bar for the base
data/explanation/<coin>/models.parquet        per model: method, unit, how many rows of how many, the rule, or why nothing
data/explanation/<coin>/lags.parquet          per model, fold and bar of the window: share of the contributions, and attention
data/explanation/<coin>/why.parquet           the latest decision, by the newest fold's model and by the final one
data/explanation/<coin>/nights.parquet        importances of each night
"""

from crp_pipeline.explanation.coin import Tables, explain_coin
from crp_pipeline.explanation.stability import over_folds, stability_table
from crp_pipeline.explanation.stored import BASE, CoinExplanation, load_explanation, save_explanation

__all__ = [
    "BASE",
    "CoinExplanation",
    "Tables",
    "explain_coin",
    "load_explanation",
    "over_folds",
    "save_explanation",
    "stability_table",
]
