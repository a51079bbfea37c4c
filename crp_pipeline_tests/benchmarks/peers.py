"""The same signals, stops and fees through vectorbt and backtesting.py: run by `engine --peer-python`, in their own environment.

    python peers.py MARKET.npz

MARKET.npz holds open, high, low, close, signal (decided at each close), stop, target, fee and the number of bars for
backtesting.py, which would take minutes for all of them. Prints one JSON object: seconds, bars and trades of each. Knows nothing
of crp_pipeline, which is not installed there.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd

UNITS, CASH = 1.0, 1e9


def main(path):
    market = dict(np.load(path))
    print(json.dumps({"vectorbt": vectorbt_run(market), "backtesting.py": backtesting_run(market)}))


def fastest(work, *, repeat=5):
    """Least processor seconds of a call, after one that compiles."""
    work()
    spent = []
    for _ in range(repeat):
        since = time.process_time()
        work()
        spent.append(time.process_time() - since)
    return min(spent)


def vectorbt_run(market):
    import vectorbt as vbt
    from vectorbt.portfolio import base

    index = pd.date_range("2020-01-01", periods=len(market["open"]), freq="h")
    prices = {name: pd.Series(market[name], index=index) for name in ("open", "high", "low", "close")}
    decided = pd.Series(market["signal"], index=index).shift(1, fill_value=0)
    inner = []

    def simulator(*arguments, simulate=base.nb.simulate_from_signals_nb, **options):
        since = time.process_time()
        result = simulate(*arguments, **options)
        inner.append(time.process_time() - since)
        return result

    def work():
        return vbt.Portfolio.from_signals(
            prices["close"],
            entries=decided == 1,
            short_entries=decided == -1,
            price=prices["open"],
            open=prices["open"],
            high=prices["high"],
            low=prices["low"],
            sl_stop=float(market["stop"]),
            tp_stop=float(market["target"]),
            stop_entry_price="price",
            size=UNITS,
            fees=float(market["fee"]),
            init_cash=CASH,
            upon_opposite_entry="ignore",
            upon_long_conflict="ignore",
        )

    base.nb.simulate_from_signals_nb = simulator
    whole = fastest(work)
    trades = work().trades.records
    return {
        "bars": len(index),
        "simulator_s": min(inner[1:]),
        "whole_s": whole,
        "entry_bar": trades["entry_idx"].tolist(),
        "exit_bar": trades["exit_idx"].tolist(),
        "exit_price": trades["exit_price"].tolist(),
    }


def backtesting_run(market):
    warnings.filterwarnings("ignore")
    from backtesting import Backtest, Strategy

    n = int(market["few"])
    index = pd.date_range("2020-01-01", periods=n, freq="h")
    table = pd.DataFrame({name.title(): market[name][:n] for name in ("open", "high", "low", "close")}, index=index)
    signal, stop, target = market["signal"], float(market["stop"]), float(market["target"])

    class Signals(Strategy):
        def init(self):
            pass

        def next(self):
            bar = len(self.data) - 1
            if self.position or self.orders or signal[bar] == 0:
                return
            close = self.data.Close[-1]
            if signal[bar] > 0:
                self.buy(size=1, sl=close * (1 - stop), tp=close * (1 + target))
            else:
                self.sell(size=1, sl=close * (1 + stop), tp=close * (1 - target))

    test = Backtest(table, Signals, cash=CASH, commission=float(market["fee"]), finalize_trades=True)
    since = time.process_time()
    stats = test.run()
    return {"bars": n, "whole_s": time.process_time() - since, "trades": int(stats["# Trades"])}


if __name__ == "__main__":
    main(sys.argv[1])
