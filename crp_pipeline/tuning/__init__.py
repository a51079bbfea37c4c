"""Hyper-parameters per coin and model: found before the first test bar, kept in a file, proved out of sample.

    data/tuning/<coin>/<model>.db     the studies, one per set of ingredients, in SQLite
    data/tuning/<coin>/<model>.json   the best parameters of the latest study and what they are worth

The study (`models.study`) sees the bars before the first outer test block and nothing else. Every trial that forecast something
is a trial of the coin's ledger, pruned or not, by what its plain decisions earned on the inner test bars; so are the two
forecasts over the outer folds by which tuned and default are compared. A model reads the file when it is trained, unless it was
tuned for something else: see `tuned_params`.
"""

from crp_pipeline.tuning.book import CoinTables
from crp_pipeline.tuning.comparison import compare_tuned
from crp_pipeline.tuning.run import MOST_TRIALS, TUNABLE, TunedModel, TuningRun, tune_model
from crp_pipeline.tuning.stored import Applied, read_document, table_row, tuned_params, tuned_table

__all__ = [
    "MOST_TRIALS",
    "TUNABLE",
    "Applied",
    "CoinTables",
    "TunedModel",
    "TuningRun",
    "compare_tuned",
    "read_document",
    "table_row",
    "tune_model",
    "tuned_params",
    "tuned_table",
]
