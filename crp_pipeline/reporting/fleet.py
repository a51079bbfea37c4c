"""The fleet's page: every coin's verdict in a row, their key numbers with intervals, and their equity side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crp_pipeline.backtest import BacktestResult
from crp_pipeline.backtest.files import load_result
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import GateConfig, Outcome, Verdict
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.document import Block, Fact, Grid, Headline, Page, Section, Table, Words, write_page
from crp_pipeline.reporting.plots import (
    BAD,
    GOOD,
    INK,
    SOFT,
    WARN,
    Axis,
    Plot,
    axis,
    dates,
    line,
    moments,
    named,
    packed,
    points,
    ranges,
    shares,
    thinned,
)
from crp_pipeline.reporting.tables import counted, percent, percent_with_interval
from crp_pipeline.reporting.verdicts import champion_phrase, fleet_sentence, verdict_table

MOST_POINTS = 300
"""Points of a small curve."""
NUMBERS = (
    *("trades", "effective_trades", "win_rate", "win_rate_low", "win_rate_high", "zero_skill_win_rate", "payoff_ratio"),
    *(
        "net_expectancy_bps",
        "net_expectancy_lower_bps",
        "net_expectancy_upper_bps",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
    ),
    *("majority_share", "calibration_error", "max_drawdown", "sharpe", "deflated_sharpe_ratio", "trials", "test_days"),
)
"""Key numbers of a verdict, in the columns of the fleet's table."""
NEVER_RUN = "candles: this coin was never run"


def write_fleet_report(
    places: Places,
    coins: Sequence[str],
    *,
    config: GateConfig,
    failed: Mapping[str, str] | None = None,
    retired: Sequence[str] = (),
) -> Path:
    """Write the page of all coins and its tables.

    `failed` names the asset at which a coin's run failed; a coin without a verdict has a row that says so, one that is retired
    has none and is named. Raises `DataContractError` where no coin has a verdict.
    """
    page = fleet_page(places, coins, config=config, failed=failed, retired=retired)
    return write_page(page, places.fleet_report, places.fleet_tables)


def fleet_page(
    places: Places,
    coins: Sequence[str],
    *,
    config: GateConfig,
    failed: Mapping[str, str] | None = None,
    retired: Sequence[str] = (),
) -> Page:
    """The fleet's report as a value."""
    absent = {coin: NEVER_RUN for coin in coins if not places.verdict(coin).exists()} | dict(failed or {})
    verdicts = {coin: read_verdict(places.verdict(coin)) for coin in coins if coin not in absent}
    if not verdicts:
        raise DataContractError(
            f"none of {len(coins)} coins has a verdict under {places.root}: run `python -m crp_pipeline.nightly`"
        )
    book = Registry(places.registry)
    champions = {coin: champion_phrase(book, coin) for coin in (*verdicts, *absent)}
    links = {coin: f"{coin}.html" for coin in verdicts if places.report(coin).exists()}
    table = verdict_table(verdicts, champions, absent)
    promoted = sum(verdict.outcome is Outcome.PROMOTE for verdict in verdicts.values())
    title = f"{promoted} of {len(coins)} coins promoted" + (f", {len(absent)} without a verdict" if absent else "")
    sections = [
        Section("verdicts", "Every coin's verdict", [Table("verdicts", title, table, _reason_first, links)]),
        _numbers_section(verdicts),
        _equity_section(places, list(verdicts)),
        Section("criteria", "What fails most", [_criteria_table(verdicts)]),
    ]
    return Page(_headline(verdicts, config, n_coins=len(coins), n_absent=len(absent), retired=retired), sections)


def _reason_first(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts with why beside them, the numbers after it."""
    first = ["coin", "verdict", "failed first"]
    return table[[*first, *table.columns.drop(first)]]


def key_numbers(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """One row per coin: outcome and every number of `NUMBERS`, NaN where it was not measured."""
    rows = [
        {"coin": coin, "verdict": str(verdict.outcome), **{name: verdict.evidence.get(name, math.nan) for name in NUMBERS}}
        for coin, verdict in sorted(verdicts.items())
    ]
    return pd.DataFrame(rows)


def retired_sentence(retired: Sequence[str]) -> str:
    """Which coins no night looks at any more; nothing where there is none.

    >>> retired_sentence(["LUNA-USDT"])
    'Retired, and kept in registry, ledger and reports: LUNA-USDT.'
    """
    return f"Retired, and kept in registry, ledger and reports: {', '.join(retired)}." if retired else ""


def _headline(
    verdicts: Mapping[str, Verdict], config: GateConfig, *, n_coins: int, n_absent: int, retired: Sequence[str]
) -> Headline:
    told = list(verdicts.values())
    sentence = fleet_sentence(told, config, n_coins=n_coins)
    promoted = sum(verdict.outcome is Outcome.PROMOTE for verdict in told)
    counts = pd.Series([str(verdict.outcome) for verdict in told]).value_counts()
    trades = sum(verdict.evidence.get("trades", 0.0) for verdict in told)
    absent = f"{counted(n_absent, 'coin has', 'coins have')} no verdict tonight." if n_absent else "Every coin has a verdict."
    return Headline(
        subject="Fleet",
        outcome=f"{promoted} of {n_coins} promoted",
        tone="FAILS" if "does not hold" in sentence else "holds",
        sentences=tuple(filter(None, (f"{sentence}.", absent, retired_sentence(retired)))),
        facts=[
            *(Fact(str(name), f"{n}", f"of {counted(n_coins, 'coin')}") for name, n in counts.items()),
            Fact("trades", f"{trades:,.0f}", "out of sample"),
        ],
        about=f"code {told[0].subject.get('code', 'unknown')}",
    )


def _numbers_section(verdicts: Mapping[str, Verdict]) -> Section:
    numbers = key_numbers(verdicts)
    blocks: list[Block] = [_win_rates(numbers), _expectancies(numbers)]
    title = f"key numbers of {counted(len(numbers), 'coin')}"
    return Section("numbers", "Key numbers with intervals", [*blocks, Table("key_numbers", title, numbers, _numbers_view)])


def _numbers_view(numbers: pd.DataFrame) -> pd.DataFrame:
    rates = {name.replace("_", " "): percent_with_interval(numbers, name) for name in ("win_rate", "accuracy")}
    shown = {name.replace("_", " "): numbers[name].map(percent) for name in ("calibration_error", "max_drawdown")}
    plain = {
        name.replace("_", " "): numbers[name]
        for name in ("trades", "net_expectancy_bps", "sharpe", "deflated_sharpe_ratio", "trials")
    }
    return pd.DataFrame({"coin": numbers["coin"], "verdict": numbers["verdict"], **rates, **shown, **plain})


def _win_rates(numbers: pd.DataFrame) -> Plot | Words:
    traded = numbers[numbers["trades"] > 0].reset_index(drop=True)
    if traded.empty:
        return Words(f"None of {len(numbers)} coins made a trade, so there is no win rate to compare.")
    clear = int((traded["win_rate_low"] > traded["zero_skill_win_rate"]).sum())
    n_trades = f"{traded['trades'].sum():,.0f} trades"
    title = f"{clear} of {len(traded)} coins win more than zero skill by the lower end of the interval; {n_trades}"
    marks = [
        points(
            packed(traded["zero_skill_win_rate"]), list(range(len(traded))), "zero skill", WARN, symbol="diamond-open", size=8
        )
    ]
    names = ("win_rate_low", "win_rate", "win_rate_high")
    return _forest("win-rates", title, traded, names, shares("net winners among the trades"), marks, "win rate")


def _expectancies(numbers: pd.DataFrame) -> Plot | Words:
    known = numbers.dropna(subset=["net_expectancy_bps"]).reset_index(drop=True)
    if known.empty:
        return Words(f"None of {len(numbers)} coins has a net expectancy.")
    clear = int((known["net_expectancy_lower_bps"] > 0).sum())
    n_trades = f"{known['trades'].sum():,.0f} trades"
    title = f"{clear} of {len(known)} coins earn more than their costs by the lower end of the interval; {n_trades}"
    marks = [line([0, 0], [-0.5, len(known) - 0.5], "nothing earned", SOFT, dash="dash")]
    names = ("net_expectancy_lower_bps", "net_expectancy_bps", "net_expectancy_upper_bps")
    return _forest("expectancies", title, known, names, axis("net result per trade, bps"), marks, "net per trade")


def _forest(
    key: str,
    title: str,
    numbers: pd.DataFrame,
    names: tuple[str, str, str],
    across: Axis,
    marks: list[dict[str, object]],
    name: str,
) -> Plot:
    """A row per coin: its number with the interval, beside what it must be read with."""
    low, middle, high = (numbers[column] for column in names)
    spread = {**ranges(low, middle, high), "color": INK}
    own = points(packed(middle), list(range(len(numbers))), name, INK, size=9, error_x=spread)
    return Plot(key, title, [*marks, own], {"xaxis": across, "yaxis": named(numbers["coin"])}, height=110 + 26 * len(numbers))


def _equity_section(places: Places, coins: Sequence[str]) -> Section:
    found, said = _backtests(places, coins)
    silent = [coin for coin, result in found.items() if result.trades.empty]
    small = [_small_equity(place, coin, result) for place, (coin, result) in enumerate(found.items()) if coin not in silent]
    said += [Words(f"No trade was made on {', '.join(silent)}.")] if silent else []
    note = Words("Per cent of the equity at the start, marked at every close, after costs.", is_note=True)
    return Section("equity", "Equity", [note, *said, Grid(small)] if small else said)


def _backtests(places: Places, coins: Sequence[str]) -> tuple[dict[str, BacktestResult], list[Block]]:
    """The coins' backtests, and a sentence for each that cannot be read: one coin's damage hides no other coin."""
    found: dict[str, BacktestResult] = {}
    said: list[Block] = []
    for coin in coins:
        try:
            found[coin] = load_result(places.value("backtest", coin=coin))
        except DataContractError as error:
            said.append(Words(f"{coin} has no readable backtest: {error}."))
    return found, said


def _small_equity(place: int, coin: str, result: BacktestResult) -> Plot:
    equity = result.equity
    at = thinned(len(equity), MOST_POINTS)
    gain = equity.iloc[-1] / equity.iloc[0] - 1
    traces = [line(moments(equity.index[at]), packed(equity.iloc[at] / equity.iloc[0]), coin, GOOD if gain > 0 else BAD)]
    title = f"{coin}: {gain:+.1%}, {len(result.trades):,} trades, drawdown {percent(result.metrics['max_drawdown'])}"
    layout = {"xaxis": dates(nticks=4), "yaxis": shares(""), "showlegend": False}
    return Plot(f"equity-{place}", title, traces, layout, height=170)


def _criteria_table(verdicts: Mapping[str, Verdict]) -> Table:
    """On how many coins each criterion fails, the commonest first."""
    failed = [(finding.criterion.name, str(finding.criterion.stage), coin)
              for coin, verdict in sorted(verdicts.items()) for finding in verdict.findings if not finding.passed]  # fmt: skip
    table = pd.DataFrame(failed, columns=["criterion", "stage", "coin"])
    told = table.groupby(["criterion", "stage"], sort=False)["coin"].agg(["size", ", ".join]).reset_index()
    told = told.set_axis(["criterion", "stage", "fails on", "coins"], axis=1)
    which = f"on at least one of {counted(len(verdicts), 'coin')}"
    title = (
        f"{counted(len(told), 'criterion fails', 'criteria fail')} {which}" if len(told) else "no criterion fails on any coin"
    )
    return Table("failed_criteria", title, told.sort_values("fails on", ascending=False, kind="stable"))
