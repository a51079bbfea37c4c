"""Every measure of a coin's champion in one report, and what a proved breach does to the throne."""

from collections.abc import Callable
from datetime import datetime

from crp_pipeline.drift.evidence import Evidence, recent_of
from crp_pipeline.drift.features import feature_readings
from crp_pipeline.drift.live import calibration_reading, drawdown_reading, forecast_readings, hit_rate_reading
from crp_pipeline.drift.report import ALL, CHAMPION, DRIFTED_SHARE, RECIPE, Action, DriftReport, Reading
from crp_pipeline.registry import NOBODY, Registry
from crp_pipeline.settings import DriftConfig


def measure(coin: str, evidence: Evidence | None, config: DriftConfig, *, now: datetime, seed: int = 0) -> DriftReport:
    """The report on a champion; where nobody reigns, it says so.

    What has too few rows is unknown, with the number that is missing. Same evidence and seed, same report.
    """
    if evidence is None:
        return DriftReport(coin, now, NOBODY, (Reading.unknown(CHAMPION, ALL, why="nobody reigns"),))
    recent = recent_of(evidence.own, recent_days=config.recent_days, now=now)
    readings = [
        *_of_features(evidence, config),
        *forecast_readings(evidence.past, recent, config),
        calibration_reading(evidence.past, recent, seed=seed),
        hit_rate_reading(evidence.past, evidence.own, config),
        hit_rate_reading(evidence.past, evidence.of_recipe, config, subject=RECIPE),
        drawdown_reading(evidence.past, evidence.own, seed=seed),
    ]
    return DriftReport(coin, now, evidence.version, tuple(readings))


def fall_back(
    book: Registry, report: DriftReport, config: DriftConfig, *, now: datetime, tell: Callable[[str], object]
) -> str | None:
    """Bring back the champion before where the report asks for it and the settings allow it; the version that reigns again.

    None where nothing moved. Only the champion that the report is about is taken off: whoever follows it has evidence of its
    own. Told in a sentence whenever the report asks for it.
    """
    if report.action is not Action.FALL_BACK:
        return None
    coin, why = report.coin, "; ".join(report.reasons)
    if not config.automatic_rollback:
        tell(f"{coin}: live breach of {report.version}, nothing is rolled back without drift.automatic_rollback: {why}")
        return None
    reigns = book.state(coin).reigns
    if reigns[-1:] != [report.version]:
        tell(f"{coin}: live breach of {report.version}, which does not reign any more: {why}")
        return None
    if len(reigns) < 2:
        tell(f"{coin}: live breach of {report.version}, and there is no earlier champion to go back to: {why}")
        return None
    restored = book.rollback(coin, expected=report.version, reason=f"live breach: {why}", now=now)
    tell(f"{coin}: live breach of {report.version}, {restored} is champion again: {why}")
    return restored


def _of_features(evidence: Evidence, config: DriftConfig) -> list[Reading]:
    if not len(evidence.reference.columns):
        why = "features are no longer computed as they were when the champion learned"
        return [Reading.unknown(DRIFTED_SHARE, ALL, why=why)]
    return feature_readings(evidence.reference, evidence.recent, evidence.weight, config)
