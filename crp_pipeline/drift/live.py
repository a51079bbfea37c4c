"""Live decisions against what the champion promised when it was registered: forecasts, calibration, hit rate, drawdown.

The promise is the version's own past: its decisions out of fold, which it keeps, and what became of them. Stretches of that
past of the same length are the yardstick of forecasts and calibration, which changes with the number of decisions and with how
far their labels overlap. Hit rate and drawdown are looked at every night, so their limits hold for all nights together.
"""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES, Floats
from crp_pipeline.drift.distance import USUAL, distances, recent_rows, too_few, usual_and_most
from crp_pipeline.drift.outcomes import one_at_a_time
from crp_pipeline.drift.report import (
    ALL,
    CALIBRATION,
    DRAWDOWN,
    FORECAST_KS,
    FORECAST_PSI,
    FORECAST_SHIFT,
    HIT_RATE,
    VERSION,
    Reading,
    State,
)
from crp_pipeline.metrics import (
    block_bootstrap,
    expected_calibration_error,
    max_drawdown,
    shortfall_e_process,
    tier_calibration_floor,
)
from crp_pipeline.metrics.drift import stretch_starts
from crp_pipeline.settings import DriftConfig
from crp_pipeline.signals.outcomes import sides

FEWEST_DECISIONS = 20
"""Live decisions, one at a time, below which a hit rate or a drawdown that breaks no limit is unknown and not ok."""
FEWEST_PAST = 100
"""Past decisions, one at a time, that a drawdown is resampled from."""
N_RESAMPLES = 1_000
TRADES_IN_A_BLOCK = 5
SMALLEST_PROMISE = 0.01
N_BINS = 10
"""Bins of the calibration error."""
RARE = 0.99


def forecast_readings(past: pd.DataFrame, recent: pd.DataFrame, config: DriftConfig) -> list[Reading]:
    """Probabilities of recent decisions against those out of fold: the mean index over classes, then each class by itself.

    The mean over the three is one number per night, whose limits are those of the same mean in stretches of the past.
    """
    if unknown := too_few(FORECAST_SHIFT, ALL, n_reference=len(past), n_recent=len(recent)):
        return [unknown]
    found = distances(past[list(PROBABILITIES)], recent)
    usual, most = usual_and_most(found.psi_of_stretches.mean(axis=1, keepdims=True))
    shift = Reading.held(
        FORECAST_SHIFT,
        ALL,
        float(found.psi.mean()),
        warn=max(float(usual[0]), config.warn_psi),
        limit=max(float(most[0]), config.max_psi),
        n=found.n,
        worst=State.DRIFTED,
    )
    return [shift, *found.readings(config, psi=FORECAST_PSI, ks=FORECAST_KS)]


def calibration_reading(past: pd.DataFrame, recent: pd.DataFrame, *, seed: int) -> Reading:
    """Calibration error of recent decisions that took a side, against as many in a row of the past, and against chance.

    An error is never 0, and the larger the fewer decisions there are. What stretches of the past show is what so many decisions
    of this version show where nothing has changed; and honest confidences of so many would show an error up to
    `metrics.tier_calibration_floor` by chance, as decisions with overlapping labels count for the number that do not overlap.
    """
    before, own = sides(past), sides(recent)
    if unknown := too_few(CALIBRATION, VERSION, n_reference=len(before), n_recent=len(own)):
        return unknown
    n = recent_rows(len(before), len(own))
    earlier = np.array([[_calibration(before.iloc[start : start + n])] for start in stretch_starts(len(before), n)])
    usual, most = usual_and_most(earlier)
    latest = own.iloc[-n:]
    return Reading.held(
        CALIBRATION,
        VERSION,
        _calibration(latest),
        warn=max(float(usual[0]), _by_chance(latest, level=USUAL, seed=seed)),
        limit=max(float(most[0]), _by_chance(latest, level=RARE, seed=seed)),
        n=n,
        worst=State.DRIFTED,
    )


def hit_rate_reading(past: pd.DataFrame, live: pd.DataFrame, config: DriftConfig, *, subject: str = VERSION) -> Reading:
    """The highest that the evidence has ever been that hits are rarer than promised (`metrics.shortfall_e_process`).

    A decision promises its confidence, less what the version's hits fell short of that out of fold: what was known when it was
    promoted is no breach. Only decisions `one_at_a_time` count. Under the promise, or better, the alarm is reached in at most 1
    of `alarm_e_value` reigns, however often and whenever one looks.
    """
    alone = one_at_a_time(live)
    promised = (alone["confidence"] - known_shortfall(past)).clip(SMALLEST_PROMISE, 1 - SMALLEST_PROMISE)
    evidence = shortfall_e_process(promised, alone["hit"].to_numpy(dtype=bool))
    highest = float(evidence.max()) if len(evidence) else float("nan")
    return _of_few(
        Reading.held(
            HIT_RATE,
            subject,
            highest,
            warn=config.warn_e_value,
            limit=np.nextafter(config.alarm_e_value, 0),
            n=len(alone),
            worst=State.BREACH,
        )
    )


def known_shortfall(past: pd.DataFrame) -> float:
    """By how much hits out of fold were rarer than the confidences; 0 where they were not, or where nothing is known."""
    own = sides(past)
    return max(float((own["confidence"] - own["hit"]).mean()), 0.0) if len(own) else 0.0


def drawdown_reading(past: pd.DataFrame, live: pd.DataFrame, *, seed: int) -> Reading:
    """Deepest fall of live equity against all that resampled past trades ever showed.

    Both trade `one_at_a_time`, all of the equity in each and net of costs. `N_RESAMPLES` paths are drawn from the past, in
    blocks of `TRADES_IN_A_BLOCK`, each as long as the past. A path's deepest fall only ever grows, so the limits hold for every
    look at as many live trades; beyond them the latest so many are looked at.
    """
    before, alone = (one_at_a_time(frame)["net_return"].to_numpy(dtype=np.float64) for frame in (past, live))
    if len(before) < FEWEST_PAST:
        return Reading.unknown(DRAWDOWN, VERSION, n=len(before), missing=FEWEST_PAST - len(before))
    shown = block_bootstrap(before, deepest_fall, block=TRADES_IN_A_BLOCK, n_resamples=N_RESAMPLES, seed=seed)
    usual, most = usual_and_most(shown[:, None])
    own = alone[-len(before) :]
    value = deepest_fall(own) if len(own) else float("nan")
    return _of_few(
        Reading.held(DRAWDOWN, VERSION, value, warn=float(usual[0]), limit=float(most[0]), n=len(alone), worst=State.BREACH)
    )


def deepest_fall(net_returns: Floats) -> float:
    """Deepest fall from a peak, as a share of it, of an equity that begins at 1 and is put at stake whole, trade by trade."""
    return max_drawdown(np.cumprod(np.concatenate([[1.0], 1 + net_returns])))


def _calibration(decisions: pd.DataFrame) -> float:
    return expected_calibration_error(decisions["confidence"], decisions["hit"], n_bins=N_BINS)


def _by_chance(decisions: pd.DataFrame, *, level: float, seed: int) -> float:
    """The calibration error that honest confidences of these decisions stay below with this probability."""
    confidence = decisions["confidence"].to_numpy(dtype=np.float64)
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    independent = len(one_at_a_time(decisions)) / len(decisions)
    return tier_calibration_floor(confidence, bins, effective_share=independent, level=level, seed=seed).upper


def _of_few(reading: Reading) -> Reading:
    """A breach is proved by however few; what is none is unknown below `FEWEST_DECISIONS`."""
    if reading.n >= FEWEST_DECISIONS or reading.state is State.BREACH:
        return reading
    return Reading.unknown(reading.measure, reading.subject, n=reading.n, missing=FEWEST_DECISIONS - reading.n)
