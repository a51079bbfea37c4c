"""What the number of trials makes of a Sharpe ratio: evidence from the ledger.

The best of many worthless trials looks good, the more of them and the more they differ the better; what is told here corrects
the candidate for everything that was tried on its coin, not only for tonight.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.chain import NO_ENTRY
from crp_pipeline.contracts import Floats
from crp_pipeline.errors import LedgerError
from crp_pipeline.ledger import Ledger, Reading, Trials
from crp_pipeline.metrics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_backtest_length,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    sharpe_ratio,
)
from crp_pipeline.metrics.performance import DAYS_PER_YEAR

SAME_CHOICE = 0.8
"""Correlation of daily returns from which on two trials are one choice."""
MOST_BLOCKS = 16
FEWEST_BLOCKS = 6
"""With fewer there are too few ways to choose half of them: 20 with six."""
NO_HEAD = f"0:{NO_ENTRY}"
"""Head of a ledger without any event, which every ledger continues."""
DAYS_PER_BLOCK = 5
"""The Sharpe ratio of a shorter block is noise."""


def ledger_evidence(trials: Trials, candidate_daily_returns: ArrayLike, *, level: float = 0.95) -> dict[str, float]:
    """Whether a candidate's Sharpe ratio is more than the luck of the best of all trials; NaN where nothing can be said.

    `candidate_daily_returns` are net, (n_days,). `expected_maximum_sharpe` is what the best of as many worthless ones as there
    were trials would show over these days, by `variance_of_luck`, and `trial_sharpe_spread` the standard deviation of what the
    contenders did show, both per day. `probability_of_backtest_overfitting` is that of `overfitting`;
    `overfitting_among_contenders`, which no gate asks for, ranks the contenders among themselves alone.
    `minimum_track_record_length` is how many days a Sharpe ratio like this needs to be above 0 at the level;
    `minimum_backtest_length` how many days it takes until the best of as many worthless trials is expected to show less than
    it.
    """
    from scipy.stats import kurtosis, skew

    daily = np.asarray(candidate_daily_returns, dtype=np.float64)
    sharpe, n, n_trials = sharpe_ratio(daily, periods_per_year=1), len(daily), trials.n_trials
    choices = distinct_choices(trials.returns[:, ~trials.is_baseline])
    has_shape, is_known = math.isfinite(sharpe), n > 1 and n_trials > 0
    shape = {
        "skew": float(skew(daily)) if has_shape else math.nan,
        "kurtosis": float(kurtosis(daily, fisher=False)) if has_shape else math.nan,
    }
    luck = {"n_trials": n_trials, "trial_variance": variance_of_luck(n) if is_known else math.nan}
    return {
        "trials": float(n_trials),
        "trials_in_matrix": float(trials.n_in_matrix),
        "trials_left_out": float(trials.n_left_out),
        "trial_sharpe_spread": _spread(trials.sharpes),
        "expected_maximum_sharpe": expected_maximum_sharpe(**luck) if is_known else math.nan,
        "probabilistic_sharpe_ratio": probabilistic_sharpe_ratio(sharpe, n, **shape),
        "deflated_sharpe_ratio": deflated_sharpe_ratio(sharpe, n, **shape, **luck) if is_known else math.nan,
        "distinct_trials": float(choices.shape[1]),
        "probability_of_backtest_overfitting": overfitting(choices),
        "overfitting_among_contenders": overfitting(choices, beside_nothing=False),
        "minimum_track_record_length": minimum_track_record_length(sharpe, **shape, level=level),
        "minimum_backtest_length": _backtest_days(n_trials, sharpe),
    }


def variance_of_luck(n_days: int) -> float:
    """Variance of the daily Sharpe ratio of a worthless trial over so many days, at least two: 1 / (n_days - 1).

    Under the hypothesis that is put to the test no trial has skill, so that trials differ by their sampling error alone (Lo
    2002, at a ratio of 0). Bailey and Lopez de Prado (2014) measure the variance across the trials instead. What true skill
    adds to it is not luck: one worthless trial beside several that are equally good would make luck reach beyond them, however
    long they kept it up. Trials that move together reach less far than as many independent ones, which errs on the safe side.
    """
    return 1 / (n_days - 1)


def distinct_choices(returns: Floats) -> Floats:
    """Trials that move together as one, their mean: (n_days, n_trials) to (n_days, n_choices).

    Who chooses between trials that earn the same days chooses nothing, and of several equally good ones each is as often last
    as first: the probability of backtest overfitting would call them all overfitted. They are grouped by average linkage of
    their correlations (Lopez de Prado 2019, without his search for the number of groups); what never moves stands alone.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    moves = np.flatnonzero(np.ptp(returns, axis=0) > 0) if len(returns) else np.empty(0, dtype=np.int64)
    if len(moves) < 2:
        return returns
    apart = np.clip(1 - np.corrcoef(returns[:, moves].T), 0, 2)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), method="average")
    group = np.arange(returns.shape[1]) + len(moves)
    group[moves] = fcluster(tree, 1 - SAME_CHOICE, criterion="distance")
    return np.column_stack([returns[:, group == name].mean(axis=1) for name in np.unique(group)])


def overfitting(choices: Floats, *, beside_nothing: bool = True) -> float:
    """Probability of backtest overfitting over distinct choices, (n_days, n_choices), by default beside doing nothing.

    CSCV in which the median that a choice must exceed is an account that holds nothing: how often the choice that is best in
    one half loses in the other. Ranked among each other alone, which is told beside it, equally good choices are each as
    often last as first and look overfitted, while baselines, or deliberately bad trials, beside six worthless ones hide that
    these are. Here a trial that is never the best of a half changes nothing, and a single choice can be judged. Means over
    40 samples of 180 days, share of samples at 0.20 or less in brackets, Sharpe ratios per day, pairwise correlations of 0 to
    0.6 (at 0.9 they are one choice):

                                         among each other       beside doing nothing
        2, 3, 6 worthless                0.46, 0.66, 0.45       0.53, 0.52, 0.49 (5 to 18 %)
        2, 3, 6 equally good, 0.1        0.46, 0.67, 0.45       0.14 to 0.20 (55 to 78 %)
        2, 3, 6 equally good, 0.3        0.46, 0.67, 0.46       0.00 (100 %)
        one of 0.3 among 1, 2, 5 others  0.04, 0.10, 0.05       0.01, 0.03, 0.04 (95 to 98 %)
        a single choice of 0.1, 0.3      nothing to rank        0.17 (65 %), 0.00 (100 %)

    16 blocks from 80 days on; below that the largest even number with at least five days each; NaN below 30 days or without
    a choice.
    """
    n_blocks = min(MOST_BLOCKS, len(choices) // DAYS_PER_BLOCK // 2 * 2)
    if n_blocks < FEWEST_BLOCKS:
        return math.nan
    return probability_of_backtest_overfitting(choices, n_blocks=n_blocks, beside_nothing=beside_nothing)


def trial_evidence(
    ledger: Ledger,
    coin: str,
    candidate_daily_returns: "pd.Series[float]",
    *,
    earlier_heads: Iterable[str],
    level: float,
    is_written: bool = True,
) -> tuple[dict[str, float], str]:
    """`ledger_evidence` and `ledger_faults` of a coin's ledger, and what is wrong with it in a sentence.

    Of a ledger with a fault nothing else is told: what was not measured passes no gate.
    """
    try:
        with ledger.reading(coin) as book:
            faults, sentence = _faults_in(book, earlier_heads, is_written=is_written)
            if faults:
                return {"ledger_faults": float(faults)}, sentence
            trials = book.trials(days=pd.DatetimeIndex(candidate_daily_returns.index))
    except LedgerError as error:
        return {"ledger_faults": 1.0}, str(error)
    return {"ledger_faults": 0.0, **ledger_evidence(trials, candidate_daily_returns, level=level)}, sentence


def ledger_faults(ledger: Ledger, coin: str, *, earlier_heads: Iterable[str] = (), is_written: bool = True) -> tuple[int, str]:
    """How many things are wrong with a coin's ledger, and the first of them in a sentence.

    `earlier_heads` are those that are known from elsewhere: of the coin's versions, of the night's comparison. One that the
    ledger does not continue says that the ledger was removed, cut back or written anew. `is_written` is False where the night's
    comparison found it damaged: what was tried then stands in no ledger, whatever became of this one since.
    """
    try:
        with ledger.reading(coin) as book:
            return _faults_in(book, earlier_heads, is_written=is_written)
    except LedgerError as error:
        return 1, str(error)


def _faults_in(book: Reading, earlier_heads: Iterable[str], *, is_written: bool) -> tuple[int, str]:
    """`ledger_faults` of a ledger whose lines are in order; raises `LedgerError` for a file that is not as it was written."""
    book.verify()
    lost = [head for head in earlier_heads if not book.continues(head)]
    faults = len(lost) + (not is_written)
    if lost:
        length, found = lost[0].partition(":")[0], book.head.partition(":")[0]
        return faults, f"{book.coin}: the ledger once held {length} events, which the {found} that it holds do not continue"
    if not is_written:
        return faults, f"{book.coin}: the comparison was not written into the ledger; materialize `comparison` again"
    return 0, f"{book.coin}: the ledger is as it was written"


def head_to_tell(ledger: Ledger, coin: str, *, earlier_head: str | None) -> str:
    """The head that a verdict carries: the present one, but the earlier one for as long as the ledger does not continue it.

    A verdict that told the present head of a ledger that was cut back would make that its proper beginning. Of a damaged ledger
    that no verdict was told of nothing can be vouched for.
    """
    earlier = NO_HEAD if earlier_head is None else earlier_head
    try:
        with ledger.reading(coin) as book:
            return book.head if book.continues(earlier) else earlier
    except LedgerError:
        return earlier


def _backtest_days(n_trials: int, sharpe: float) -> float:
    if n_trials < 1 or math.isnan(sharpe):
        return math.nan
    return DAYS_PER_YEAR * minimum_backtest_length(n_trials, sharpe * math.sqrt(DAYS_PER_YEAR)) if sharpe > 0 else math.inf


def _spread(sharpes: Floats) -> float:
    known = sharpes[np.isfinite(sharpes)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan
