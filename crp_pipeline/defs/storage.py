"""Where every stage's files lie, and the IO manager that reads and writes the values between assets."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pandas as pd

from crp_pipeline.backtest.files import load_result, save_result
from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Verdict
from crp_pipeline.storage import read_parquet, write_json, write_parquet

# with check_specs, dagster takes a type from here and not from the annotation
FRAME = dg.DagsterType(lambda _, value: isinstance(value, pd.DataFrame), "DataFrame", typing_type=pd.DataFrame)
VERDICT = dg.DagsterType(lambda _, value: isinstance(value, Verdict), "Verdict", typing_type=Verdict)


@dataclass(frozen=True)
class Places:
    """`data/<stage>/...`, one file or folder per coin."""

    root: Path

    def value(self, key: dg.AssetKey, coin: str | None) -> Path:
        """Where an asset's value lies, without its ending: `models/tcn` of BTC-USDT in `models/BTC-USDT/tcn`."""
        stage, *rest = key.path
        return self.root.joinpath(stage, *([coin] if coin else []), *rest) if coin or rest else self.root / stage / stage

    def bundle(self, coin: str, model_type: str) -> Path:
        """Folder of a coin's final model of one type."""
        return self.root / "models" / coin / f"{model_type}.bundle"

    def stack(self, coin: str) -> Path:
        """File of a coin's stack."""
        return self.root / "ensemble" / f"{coin}.stack.json"

    def candidate(self, coin: str) -> Path:
        """Folder in which a coin's candidate is put together for the registry."""
        return self.root / "registry" / coin / ".candidate"

    def report(self, coin: str) -> Path:
        """A coin's report page."""
        return self.root / "reports" / f"{coin}.html"

    @property
    def registry(self) -> Path:
        """Root of the registry."""
        return self.root / "registry"


class StageIOManager(dg.IOManager):
    """Frames as parquet, verdicts as JSON, backtests as a folder; what is loaded is told by the input's annotation."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write a value whole or not at all."""
        coin = context.asset_partition_key if context.has_asset_partitions else None
        path = self._places.value(context.asset_key, coin)
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

    def load_input(self, context: dg.InputContext) -> Any:
        """The value of one coin, or of every coin that has one where the asset asks for all."""
        kind = context.dagster_type.typing_type
        if get_origin(kind) is dict:
            paths = {coin: self._places.value(context.asset_key, coin) for coin in context.asset_partition_keys}
            return {coin: self._load(path, pd.DataFrame) for coin, path in paths.items() if _frame_file(path).exists()}
        coin = context.asset_partition_key if context.has_asset_partitions else None
        return self._load(self._places.value(context.asset_key, coin), kind)

    def _load(self, path: Path, kind: Any) -> Any:
        if kind is Verdict:
            return read_verdict(path.with_name(f"{path.name}.json"))
        return load_result(path) if kind is BacktestResult else read_parquet(_frame_file(path))


def read_verdict(path: Path) -> Verdict:
    """A stored verdict; raises `DataContractError` when it is missing or damaged."""
    try:
        return Verdict.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise DataContractError(f"{path} holds no verdict: {error}") from error


def _frame_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.parquet")
