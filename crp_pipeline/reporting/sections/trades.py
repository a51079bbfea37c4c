"""The trades on their candles, to be zoomed into."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.plots import BAD, GOOD, SOFT, Plot, Trace, axis, dates, line, moments, packed, points
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.sections.trading import no_trades
from crp_pipeline.reporting.tables import percent

MOST_BARS = 10_000
"""Candles that a browser draws in a second or two."""
RULES = ("5min", "15min", "30min", "1h", "2h", "4h", "8h", "12h", "1D", "3D", "7D")
"""What candles are put together to where there are more."""
MOST_TRADES = 2_000
SHOWN_DAYS = 30
LAST_ROWS = 20
OHLC = {"open": "first", "high": "max", "low": "min", "close": "last"}


def trades_section(results: CoinResults) -> Section:
    """Candles out of sample with every entry and exit, and the last trades as a table."""
    trades = results.backtest.trades
    if trades.empty:
        return Section("trades", "Trades on candles", [Words(no_trades(results))])
    title = f"the last {min(LAST_ROWS, len(trades))} of {len(trades):,} trades; the file holds all"
    blocks: list[Block] = [_candles_plot(results), Table("trades", title, trades, last_trades)]
    return Section("trades", "Trades on candles", blocks)


def last_trades(trades: pd.DataFrame) -> pd.DataFrame:
    """The latest trades first, in words."""
    last = trades.tail(LAST_ROWS).iloc[::-1]
    return pd.DataFrame(
        {
            "entry": last["entry_time"],
            "exit": last["exit_time"],
            "side": last["side"].map({1: "long", -1: "short"}),
            "tier": last["tier"],
            "confidence": last["confidence"].map(percent),
            "entry price": last["entry_price"].map("{:,.6g}".format),
            "exit price": last["exit_price"].map("{:,.6g}".format),
            "net": last["return_net"].map("{:+.2%}".format),
            "pnl": last["pnl"].round(),
            "costs": last["costs"].round(2),
            "bars": last["bars_held"],
            "exit by": last["exit_reason"],
            "session": last["session"],
        }
    )


def drawn_candles(candles: pd.DataFrame, first: pd.Timestamp, interval: str) -> tuple[pd.DataFrame, str]:
    """Candles from `first` on, put together where there are more than `MOST_BARS`, and the interval that they then have."""
    told = candles.loc[first:, list(OHLC)]
    if len(told) <= MOST_BARS:
        return told, interval
    step = interval_length(interval)
    longer = [rule for rule in RULES if pd.Timedelta(rule) > step]
    rule = next((it for it in longer if len(told) * (step / pd.Timedelta(it)) <= MOST_BARS), longer[-1])
    return told.resample(rule).agg(OHLC).dropna(), rule


def _candles_plot(results: CoinResults) -> Plot:
    trades = results.backtest.trades.tail(MOST_TRADES)
    all_trades, candles = len(results.backtest.trades), results.candles
    interval = candles.attrs["interval"]
    bars, rule = drawn_candles(candles, trades["decision_time"].iloc[0], interval)
    window = pd.Timestamp(trades["exit_time"].iloc[-1]) - pd.Timedelta(days=SHOWN_DAYS)
    seen = bars.loc[window:]
    room = 0.04 * (seen["high"].max() - seen["low"].min())
    layout = {
        "xaxis": dates(
            range=[_iso(seen.index[0]), _iso(bars.index[-1])], rangeslider={"visible": False}, rangeselector=_SELECTOR
        ),
        "yaxis": axis("price", range=[float(seen["low"].min() - room), float(seen["high"].max() + room)]),
        "legend": {"y": 1.08},
        "meta": {"fit": True},
    }
    of_all = f"the last {len(trades):,} of {all_trades:,} trades" if len(trades) < all_trades else f"{all_trades:,} trades"
    joined = f", put together to {rule}" if rule != interval else f" of {interval}"
    won = int((trades["pnl"] > 0).sum())
    title = f"{of_all} on {len(bars):,} candles{joined}: {won:,} won; the last {SHOWN_DAYS} days are in view"
    note = "Triangles are entries, up for long; crosses are exits; dotted lines join them. Drag to zoom, double-click for all."
    return Plot("trades", title[:1].upper() + title[1:], [_bars(bars), _paths(trades), *_marks(trades)], layout, 520, note)


def _iso(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


_SELECTOR = {
    "buttons": [
        {"count": 7, "step": "day", "stepmode": "backward", "label": "1w"},
        {"count": 1, "step": "month", "stepmode": "backward", "label": "1m"},
        {"count": 3, "step": "month", "stepmode": "backward", "label": "3m"},
        {"step": "all", "label": "all"},
    ],
    "bgcolor": "@paper", "activecolor": "@grid", "x": 0, "y": 1, "yanchor": "bottom",
}  # fmt: skip


def _bars(bars: pd.DataFrame) -> Trace:
    prices = {name: packed(bars[name]) for name in OHLC}
    return {
        "type": "candlestick", "x": moments(bars.index), **prices, "name": "candles", "line": {"width": 1},
        "increasing": {"line": {"color": SOFT}, "fillcolor": "@paper"}, "hoverinfo": "x+y",
        "decreasing": {"line": {"color": SOFT}, "fillcolor": SOFT},
    }  # fmt: skip


def _paths(trades: pd.DataFrame) -> Trace:
    """Entry and exit of each trade joined; a hole parts the trades."""
    times = np.full((len(trades), 3), np.nan)
    prices = np.full((len(trades), 3), np.nan)
    for place, name in enumerate(("entry", "exit")):
        times[:, place] = pd.DatetimeIndex(trades[f"{name}_time"]).as_unit("ms").asi8
        prices[:, place] = trades[f"{name}_price"]
    joined = {"hoverinfo": "skip", "showlegend": False}
    return line(packed(times.ravel(), kind="f8"), packed(prices.ravel()), "path", SOFT, dash="dot", width=1.2, **joined)


def _marks(trades: pd.DataFrame) -> list[Trace]:
    """Entries by side and result, exits by result."""
    told, marks = _told(trades), []
    for has_won, color, result in ((True, GOOD, "won"), (False, BAD, "lost")):
        of_result = (trades["pnl"] > 0) == has_won
        for side, symbol, name in ((1, "triangle-up", "long"), (-1, "triangle-down", "short")):
            chosen = of_result & (trades["side"] == side)
            text = told[chosen].tolist()
            at = moments(trades.loc[chosen, "entry_time"]), packed(trades.loc[chosen, "entry_price"])
            marks.append(points(*at, f"{name}, {result}", color, symbol=symbol, size=11, text=text, hoverinfo="text"))
        at = moments(trades.loc[of_result, "exit_time"]), packed(trades.loc[of_result, "exit_price"])
        marks.append(points(*at, f"exit, {result}", color, symbol="x-thin-open", size=8, hoverinfo="skip", showlegend=False))
    return marks


def _told(trades: pd.DataFrame) -> "pd.Series[str]":
    """`long, high tier, 67% sure: +1.2% net in 9 bars, target`."""
    columns = [trades[name] for name in ("side", "tier", "confidence", "return_net", "bars_held", "exit_reason")]
    rows = [
        f"{'long' if side > 0 else 'short'}, {tier} tier, {percent(sure, 0)} sure: {net:+.2%} net in {bars} bars, {reason}"
        for side, tier, sure, net, bars, reason in zip(*columns, strict=True)
    ]
    return pd.Series(rows, index=trades.index, dtype="object")
