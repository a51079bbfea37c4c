"""The scoreboard of all models and the evaluation of one, in words: no number without what it must be read with."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crp_pipeline.gate.evaluation import Evaluation
from crp_pipeline.reporting.tables import shown, to_text
from crp_pipeline.reporting.verdicts import findings_table, flags_table


def scoreboard_table(board: pd.DataFrame) -> pd.DataFrame:
    """`gate.scoreboard.scoreboard` with every score beside its spread: over folds after `+-`, over seeds after `seeds +-`."""
    return pd.DataFrame([_row(row) for row in board.to_dict("records")])


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """`Predictor.scores` with the intervals beside their scores."""
    return pd.DataFrame(
        [
            {
                "model": row["model"],
                "n": shown(row["n"]),
                "independent": f"{row['effective_n']:,.0f}",
                "log-loss": _plain(row["log_loss"], 4),
                "saved against prior": _gain(row),
                "accuracy": _with_interval(row, "accuracy"),
                "direction": _with_interval(row, "directional_accuracy"),
                "AUC": _plain(row["auc"], 3),
                "Brier": _plain(row["brier"], 4),
                "calibration error": _percent(row["calibration_error"]),
            }
            for row in scores.to_dict("records")
        ]
    )


def evaluation_page(evaluation: Evaluation, *, title: str) -> str:
    """Every criterion with value, bound and whether it holds, what is wrong, and the win rate with all that belongs to it."""
    evidence, verdict = evaluation.verdict.evidence, evaluation.verdict
    failed = sum(not finding.passed for finding in verdict.findings)
    parts = [
        title,
        to_text(findings_table(verdict)),
        to_text(flags_table(evaluation.flags)),
        f"win rate of calls  {call_phrase(evidence)}",
        f"net per call       {evidence['net_expectancy_bps']:+.1f} bps",
        f"log-loss           {_plain(evidence['log_loss'], 4)}, saves {_gain(evidence)} nats against the class prior",
        f"accuracy           {_with_interval(evidence, 'accuracy')}",
        f"direction          {_with_interval(evidence, 'directional_accuracy')}",
        f"{failed} of {len(verdict.findings)} criteria fail" if failed else f"all {len(verdict.findings)} criteria hold",
    ]
    return "\n\n".join(parts[:3]) + "\n\n" + "\n".join(parts[3:])


def call_phrase(evidence: Mapping[str, float]) -> str:
    """A win rate of calls with its interval, n, zero-skill rate, payoff and coverage: it is never shown without them."""
    if not evidence["calls"] > 0:
        return f"no call takes a side on {evidence['n']:,.0f} bars"
    return (
        f"{evidence['win_rate']:.1%} ({evidence['win_rate_low']:.1%} to {evidence['win_rate_high']:.1%}, "
        f"n {evidence['calls']:,.0f}, {evidence['calls_effective_n']:,.0f} independent); "
        f"zero skill {evidence['zero_skill_win_rate']:.1%}, payoff {evidence['payoff_ratio']:.2f}, "
        f"coverage {evidence['coverage']:.0%}"
    )


def _row(row: Mapping[Any, Any]) -> dict[str, object]:
    return {
        "coin": row["coin"],
        "model": row["model"],
        "n": shown(row["n"]),
        "folds": shown(row["folds"]),
        "log-loss": f"{_plain(row['log_loss'], 4)} +- {_plain(row['log_loss_fold_sd'], 4)}{_seeds(row, 'log_loss', 4)}",
        "accuracy": _with_interval(row, "accuracy") + _seeds(row, "accuracy", 3),
        "direction": _percent(row["directional_accuracy"]) + _seeds(row, "directional_accuracy", 3),
        "AUC": _plain(row["auc"], 3) + _seeds(row, "auc", 3),
        "Brier": _plain(row["brier"], 4) + _seeds(row, "brier", 4),
        "calibration error": _percent(row["calibration_error"]) + _seeds(row, "calibration_error", 3),
        "training, s": _plain(row["seconds"], 1),
        "native, ms": _percentiles(row, "native"),
        "ONNX, ms": _percentiles(row, "onnx"),
        "parameters": shown(row["n_parameters"]),
        "seeds": shown(row["seeds"]),
    }


def _seeds(row: Mapping[Any, Any], name: str, digits: int) -> str:
    return f" (seeds +- {_plain(row[f'{name}_seed_sd'], digits)})" if row["seeds"] > 1 else ""


def _percentiles(row: Mapping[Any, Any], runtime: str) -> str:
    """Median and 99th percentile."""
    p50, p99 = row[f"{runtime}_p50_ms"], row[f"{runtime}_p99_ms"]
    return "-" if math.isnan(p50) else f"{p50:.3f} / {p99:.3f}"


def _gain(row: Mapping[Any, Any]) -> str:
    saved, low, high = (row[f"log_loss_gain{end}"] for end in ("", "_low", "_high"))
    return "-" if math.isnan(saved) else f"{saved:+.4f} ({low:+.4f} to {high:+.4f})"


def _with_interval(row: Mapping[Any, Any], name: str) -> str:
    return f"{_percent(row[name])} ({_percent(row[f'{name}_low'])} to {_percent(row[f'{name}_high'])})"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"


def _plain(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
