"""Where every stage's files lie, and the IO manager that reads and writes the values between assets."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.backtest.files import load_result, save_result
from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Verdict
from crp_pipeline.storage import MANIFEST, read_parquet, sha256, write_json, write_parquet

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

    def candles(self, coin: str) -> Path:
        """File of a coin's candles."""
        return self.value(dg.AssetKey("candles"), coin).with_name(f"{coin}.parquet")

    def features(self, coin: str) -> Path:
        """File of a coin's feature table."""
        return self.value(dg.AssetKey("features"), coin).with_name(f"{coin}.parquet")

    def verdict(self, coin: str) -> Path:
        """File of the verdict on a coin's candidate."""
        return self.value(dg.AssetKey("gate"), coin).with_name(f"{coin}.json")

    def bundle(self, coin: str, model_type: str) -> Path:
        """Folder of a coin's final model of one type."""
        return self.root / "models" / coin / f"{model_type}.bundle"

    def record(self, coin: str, kind: str) -> Path:
        """Folder of what was made for a coin in earlier runs: fold models of one type and their forecasts, or selections."""
        return self.root / "models" / coin / ".record" / kind

    def model_file(self, coin: str, model_type: str) -> dict[str, str]:
        """Content hash of a coin's final model of one type, by its name in a lineage."""
        return {f"models/{model_type}.bundle": sha256(self.bundle(coin, model_type) / MANIFEST)}

    def stack_file(self, coin: str) -> dict[str, str]:
        """Content hash of a coin's stack, by its name in a lineage."""
        return {"ensemble.stack": sha256(self.stack(coin))}

    def candidate_files(self, coin: str, roster: Iterable[str]) -> dict[str, str]:
        """Content hashes of everything that a promotion would put into production."""
        return {**self.stack_file(coin), **{key: it for name in roster for key, it in self.model_file(coin, name).items()}}

    def stack(self, coin: str) -> Path:
        """File of a coin's stack."""
        return self.root / "ensemble" / f"{coin}.stack.json"

    def decisions(self, coin: str) -> Path:
        """File of the decisions of a coin's stack, out of fold."""
        return self.value(dg.AssetKey("ensemble"), coin).with_name(f"{coin}.parquet")

    def shadow(self, coin: str) -> Path:
        """Folder of a coin's log of fresh decisions."""
        return self.value(dg.AssetKey("shadow"), coin)

    def candidate(self, coin: str) -> Path:
        """Folder in which a coin's candidate is put together for the registry."""
        return self.root / "registry" / coin / ".candidate"

    def report(self, coin: str) -> Path:
        """A coin's report page."""
        return self.root / "reports" / f"{coin}.html"

    @property
    def ledger(self) -> Path:
        """Root of the ledger of trials."""
        return self.root / "ledger"

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
        """The value that `handle_output` wrote."""
        kind = context.dagster_type.typing_type
        path = self._places.value(context.asset_key, context.asset_partition_key if context.has_asset_partitions else None)
        if kind is Verdict:
            return read_verdict(path.with_name(f"{path.name}.json"))
        return load_result(path) if kind is BacktestResult else read_parquet(path.with_name(f"{path.name}.parquet"))


def read_verdict(path: Path) -> Verdict:
    """A stored verdict; raises `DataContractError` when it is missing or damaged."""
    try:
        return Verdict.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataContractError(f"{path} holds no verdict: {error}") from error
