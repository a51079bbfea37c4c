"""Tuned parameters against the variant's own, out of sample, with the trials that it took."""

import pandas as pd

from crp_pipeline.reporting.document import Section, Table, Words
from crp_pipeline.reporting.plots import INK, Plot, axis, level, named, packed, points, ranges
from crp_pipeline.reporting.results import CoinResults

KEY, TITLE = "tuning", "Tuned against default"


def tuning_section(results: CoinResults) -> Section:
    """What tuning is worth on the outer test bars; words where no model of the coin was tuned."""
    tuned = results.tuned
    if tuned.empty:
        cure = f"`crp tune --coin {results.coin}` searches inside the history before the first test bar."
        return Section(
            KEY, TITLE, [Words(f"No model of {results.coin} was tuned: all have their variant's own parameters. {cure}")]
        )
    words = Words(
        "Parameters were searched before the first test bar; the gain is on the bars after it. Every trial is in the ledger.",
        is_note=True,
    )
    return Section(KEY, TITLE, [words, gains_plot(tuned), Table("tuning", "tuned models and what they cost in trials", tuned)])


def gains_plot(tuned: pd.DataFrame) -> Plot | Words:
    """Nats per bar that the tuned parameters save against the default, with their interval."""
    compared = tuned[tuned["gain"].notna()].reset_index(drop=True)
    if compared.empty:
        return Words(f"None of {len(tuned)} tuned models was compared with its default out of sample.")
    places = list(range(len(compared)))
    spread = {**ranges(compared["gain_low"], compared["gain"], compared["gain_high"]), "color": INK}
    dots = points(packed(compared["gain"]), places, "gain", INK, size=9, error_x=spread)
    nothing, _ = level(0, "no gain")
    upright = {**nothing, "xref": "x", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1}
    best = compared.iloc[int(compared["gain"].argmax())]
    title = (
        f"{best['model']} gains {best['gain']:+.4f} nats ({best['gain_low']:+.4f} to {best['gain_high']:+.4f}, "
        f"n {best['n']:,.0f}) by {best['trials']:,} trials"
    )
    layout = {"xaxis": axis("log-loss saved against the default, nats"), "yaxis": named(compared["model"]), "shapes": [upright]}
    return Plot("tuning-gains", title, [dots], layout, height=120 + 30 * len(compared))
