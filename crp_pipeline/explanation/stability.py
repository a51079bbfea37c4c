"""How much importances agree: between folds, and between nights.

Folds of an expanding walk share most of what they learned from, and two nights all but their latest rows: agreement between
nights says that nothing broke, agreement between folds that the importance is of the market more than of the sample.
"""

import pandas as pd

from crp_pipeline.metrics.stability import mean_rank_correlation, mean_top_overlap

STABILITY_COLUMNS = ("model", "over", "n", "rank_correlation", "top_overlap", "chance_overlap")


def over_folds(importances: pd.DataFrame) -> pd.DataFrame:
    """`model, feature, importance, share`, the most important first: means over folds by their rows; 0 where not selected."""
    weight = importances.drop_duplicates(["model", "fold"]).groupby("model")["n_rows"].sum()
    parts = importances.assign(
        importance=importances["importance"] * importances["n_rows"], share=importances["share"] * importances["n_rows"]
    )
    sums = parts.groupby(["model", "feature"], sort=False)[["importance", "share"]].sum()
    means = sums.div(weight, axis=0, level="model").reset_index()
    order = {model: place for place, model in enumerate(importances["model"].unique())}
    ranked = means.assign(place=means["model"].map(order)).sort_values(
        ["place", "share"], ascending=[True, False], kind="stable"
    )
    return ranked.drop(columns="place").reset_index(drop=True)


def stability_table(importances: pd.DataFrame, nights: pd.DataFrame, *, top: int) -> pd.DataFrame:
    """One row per model over folds, and one over nights.

    Mean rank correlation of features that both of a pair were shown, mean share of the `top` features in common, which counts
    what was not selected as well, and what that share is by chance.
    """
    rows = [_row(frame, str(model), "fold", top) for model, frame in importances.groupby("model", sort=False)]
    rows += [_row(frame, str(model), "night", top) for model, frame in nights.groupby("model", sort=False)]
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


def with_tonight(nights: pd.DataFrame | None, tonight: pd.DataFrame, night: pd.Timestamp) -> pd.DataFrame:
    """The nights before, and tonight in the place of an earlier run of the same night."""
    fresh = tonight.assign(night=night)[["night", "model", "feature", "importance", "share"]]
    if nights is None or nights.empty:
        return fresh
    return pd.concat([nights[nights["night"] != night], fresh], ignore_index=True).sort_values("night", kind="stable")


def _row(frame: pd.DataFrame, model: str, over: str, top: int) -> dict[str, object]:
    table = frame.set_index([over, "feature"])["share"].unstack()  # noqa: PD010 - a pivot table fills in what is missing
    values = table.to_numpy(dtype="float64")
    return {
        "model": model,
        "over": f"{over}s",
        "n": len(values),
        "rank_correlation": mean_rank_correlation(values),
        "top_overlap": mean_top_overlap(values, top),
        "chance_overlap": min(top / max(values.shape[1], 1), 1.0),
    }
