"""The IO manager that reads and writes the values between assets, in the `Places` where they lie."""

from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.backtest.files import load_result, save_result
from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Verdict
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.places import Places
from crp_pipeline.storage import read_parquet, write_json, write_parquet

# with check_specs, dagster takes a type from here and not from the annotation
FRAME = dg.DagsterType(lambda _, value: isinstance(value, pd.DataFrame), "DataFrame", typing_type=pd.DataFrame)
VERDICT = dg.DagsterType(lambda _, value: isinstance(value, Verdict), "Verdict", typing_type=Verdict)


class StageIOManager(dg.IOManager):
    """Frames as parquet, verdicts as JSON, backtests as a folder; what is loaded is told by the input's annotation."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write a value whole or not at all."""
        coin = context.asset_partition_key if context.has_asset_partitions else None
        path = self._places.value(*context.asset_key.path, coin=coin)
        match obj:
            case pd.DataFrame():
                write_parquet(path.with_name(f"{path.name}.parquet"), obj)
            case Verdict():
                write_json(path.with_name(f"{path.name}.json"), obj.to_dict())
            case BacktestResult():
                save_result(obj, path)
            case _:
                raise DataContractError(
                    f"{context.asset_key.to_user_string()} gave a {type(obj).__name__}, which has no file format"
                )

    def settled(self, coin: str) -> None:
        """What was written about a coin beside the values is where it belongs; in its place on this machine it always is.

        Whatever stores no value says so in the end, since nothing of it comes by here.
        """

    def load_input(self, context: dg.InputContext) -> Any:
        """The value that `handle_output` wrote."""
        kind = context.dagster_type.typing_type
        coin = context.asset_partition_key if context.has_asset_partitions else None
        path = self._places.value(*context.asset_key.path, coin=coin)
        if kind is Verdict:
            return read_verdict(path.with_name(f"{path.name}.json"))
        return load_result(path) if kind is BacktestResult else read_parquet(path.with_name(f"{path.name}.parquet"))
