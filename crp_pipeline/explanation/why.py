"""Why the latest signal is what it is: what every feature of one bar said for it and against it."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.models import Explanation, contrast

WHY_COLUMNS = (
    *("model", "by", "open_time", "signal", "confidence", "tier", "p_short", "p_neutral", "p_long"),
    *("unit", "base", "feature", "value", "contribution"),
)


def why_frame(
    found: Explanation, X: Samples, probabilities: Floats, decisions: pd.DataFrame, *, model: str, by: str
) -> pd.DataFrame:
    """One row per feature of the last of the samples, the largest contribution to the decision's signal first.

    Where the stack decided nothing at that bar, the signal is the model's own likeliest one, and its confidence missing.
    """
    decision = decisions.iloc[int(X.rows[-1])]
    own = probabilities[-1]
    is_decided = bool(np.isfinite(decision["confidence"]))
    signal = int(decision["signal"]) if is_decided else int(own.argmax()) - 1
    weights = contrast(found.outputs, signal)
    frame = pd.DataFrame(
        {
            "model": model,
            "by": by,
            "open_time": decisions.index[int(X.rows[-1])],
            "signal": signal,
            "confidence": float(decision["confidence"]),
            "tier": str(decision["tier"]),
            **dict(zip(("p_short", "p_neutral", "p_long"), own.tolist(), strict=True)),
            "unit": found.unit,
            "base": float(found.base[-1] @ weights),
            "feature": list(found.columns),
            "value": X.table()[-1],
            "contribution": found.values[-1] @ weights,
        },
        columns=list(WHY_COLUMNS),
    )
    return frame.sort_values("contribution", key=lambda column: -column.abs(), kind="stable").reset_index(drop=True)
