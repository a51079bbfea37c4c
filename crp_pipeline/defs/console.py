"""What a run says in the terminal: what the assets report, and what went wrong; the rest is in the web UI."""

import logging

import dagster as dg
from dagster._core.events import EngineEventData

from crp_pipeline.defs.causes import cause_of
from crp_pipeline.defs.turn import PARTITION


class _Line(logging.Formatter):
    """`12:01:21  BTC-USDT  models/xgboost  fold 3 of 6 ...`, since lines of several coins may follow one another."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        step = str(meta.get("step_key") or meta.get("job_name") or "").replace("__", "/")
        coin = (meta.get("job_tags") or {}).get(PARTITION, "")
        message = str(meta.get("orig_message") or record.getMessage())
        return "  ".join(filter(None, (self.formatTime(record, "%H:%M:%S"), coin, step, f"{message}{_reason(record)}")))


def _reason(record: logging.LogRecord) -> str:
    """Why a resource could not be opened or closed; the reason of a failed step is told at the end of the night."""
    data = getattr(getattr(record, "dagster_event", None), "event_specific_data", None)
    error = data.error if isinstance(data, EngineEventData) else None
    return "" if error is None else f" {cause_of(error)}"


class _Worth(logging.Filter):
    """Lines that an asset wrote, and warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_event = getattr(record, "dagster_event", None) is not None
        return record.levelno >= logging.WARNING or (record.levelno >= logging.INFO and not is_event)


def _open(_: dg.InitLoggerContext) -> logging.Logger:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    handler.addFilter(_Worth())
    logger = logging.Logger("console", level=logging.INFO)  # noqa: LOG001
    logger.addHandler(handler)
    return logger


console = dg.LoggerDefinition(_open, description="One short line per message, from INFO up.")
"""The terminal of a run; a logger of its own, outside the shared tree."""
