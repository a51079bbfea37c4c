"""Where every stage's files lie: `data/<stage>/...`, one file or folder per coin."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crp_pipeline.storage import MANIFEST, sha256

INGREDIENTS = "ingredients"


@dataclass(frozen=True)
class Places:
    """`data/<stage>/...`, one file or folder per coin."""

    root: Path

    def value(self, *key: str, coin: str | None = None) -> Path:
        """Where an asset's value lies, without its ending: `models/tcn` of BTC-USDT in `models/BTC-USDT/tcn`."""
        stage, *rest = key
        return self.root.joinpath(stage, *([coin] if coin else []), *rest) if coin or rest else self.root / stage / stage

    def frame(self, *key: str, coin: str | None = None) -> Path:
        """File of an asset whose value is a table."""
        path = self.value(*key, coin=coin)
        return path.with_name(f"{path.name}.parquet")

    def candles(self, coin: str) -> Path:
        """File of a coin's candles."""
        return self.frame("candles", coin=coin)

    def features(self, coin: str) -> Path:
        """File of a coin's feature table."""
        return self.frame("features", coin=coin)

    def verdict(self, coin: str) -> Path:
        """File of the verdict on a coin's candidate."""
        return self.value("gate", coin=coin).with_name(f"{coin}.json")

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
        return self.frame("ensemble", coin=coin)

    def stress(self, coin: str, name: str) -> Path:
        """File of what was left of a coin's trades at other costs or delays: `ladder`, `equity_by_cost` or `latency`."""
        return self.root / "backtest" / f"{coin}.{name}.parquet"

    def shadow(self, coin: str) -> Path:
        """Folder of a coin's log of fresh decisions."""
        return self.value("shadow", coin=coin)

    def signals(self, coin: str) -> Path:
        """Folder of a coin's log of live decisions."""
        return self.value("signals", coin=coin)

    def outcomes(self, coin: str) -> Path:
        """File of what became of a coin's live decisions: `contracts.LiveOutcomeSchema`."""
        return self.root / "signals" / f"{coin}.outcomes.parquet"

    @property
    def online(self) -> Path:
        """Folder of the newest feature row and decision of every coin."""
        return self.root / "signals" / "online"

    def candidate(self, coin: str) -> Path:
        """Folder in which a coin's candidate is put together for the registry."""
        return self.root / "registry" / coin / ".candidate"

    def ingredients(self, coin: str) -> Path:
        """Folder of what a coin's versions are made again from."""
        return self.registry / coin / INGREDIENTS

    @property
    def market_ingredients(self) -> Path:
        """Folder of the market tables that versions of any coin are made again from; no coin has a name in small letters."""
        return self.registry / "market"

    def report(self, coin: str) -> Path:
        """A coin's report page."""
        return self.root / "reports" / f"{coin}.html"

    def report_tables(self, coin: str) -> Path:
        """Folder of the tables of a coin's report page."""
        return self.root / "reports" / coin

    @property
    def fleet_report(self) -> Path:
        """The report page of all coins."""
        return self.root / "reports" / "fleet.html"

    @property
    def fleet_tables(self) -> Path:
        """Folder of the tables of the fleet's report page; no coin has a name in small letters."""
        return self.root / "reports" / "fleet"

    def turn(self, coin: str | None) -> Path:
        """Lock of whoever works on a coin, or on what is over all coins; no coin has a name in small letters."""
        return self.root / ".turns" / f"{coin or 'all'}.lock"

    @property
    def ledger(self) -> Path:
        """Root of the ledger of trials."""
        return self.root / "ledger"

    @property
    def registry(self) -> Path:
        """Root of the registry."""
        return self.root / "registry"
