"""The champion of a coin, loaded and verified once and kept warm until another one reigns."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from crp_pipeline.candles import CoinSpec, demo_market
from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.errors import CrpError
from crp_pipeline.features import CATALOG, Family, Feature, compute_features, feature_set_id, warm_up_bars
from crp_pipeline.registry import Registry
from crp_pipeline.shadow import Version, can_read, load_version

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, eq=False)
class Champion:
    """A version that decides one bar at a time, on one thread: a second one costs more than it saves at batch 1."""

    version: Version
    features: tuple[Feature, ...]
    """What its models read and nothing else, in the order of the catalogue."""

    @property
    def reach(self) -> int:
        """Bars that its models look at, the decided one included."""
        return max(model.reach for model in self.version.models.values())

    @property
    def reads_market(self) -> bool:
        """Whether it must know how the other coins closed."""
        return any(feature.family is Family.CROSS_MARKET for feature in self.features)


def made_ready(version: Version) -> Champion:
    """A version made ready to decide."""
    models = {name: model.on_one_thread() for name, model in version.models.items()}
    read = {name for model in models.values() for name in (model.columns or (feature.name for feature in CATALOG))}
    return _warm(Champion(replace(version, models=models), tuple(feature for feature in CATALOG if feature.name in read)))


def _warm(champion: Champion) -> Champion:
    """The same champion, after everything that it computes with was imported and compiled, which takes seconds."""
    n_bars = warm_up_bars(champion.features) + 1
    bars = demo_market([CoinSpec("OWN", kappa=0.0), CoinSpec("OTHER", kappa=0.0)], n_bars=n_bars, seed=0)
    own, other = (bars.loc[:, coin] for coin in ("OWN", "OTHER"))
    compute_features(pd.DataFrame(own), champion.features, market=pd.DataFrame(other)[["close"]])
    nothing = pd.DataFrame(1 / len(PROBABILITIES), index=bars.index[-1:], columns=list(PROBABILITIES))
    champion.version.stack.decide(dict.fromkeys(champion.version.stack.models, nothing))
    return champion


class Seat:
    """Who decides for a coin; whoever sits there is loaded once, and again when the coin's journal or pointer has moved."""

    def __init__(self, book: Registry, coin: str) -> None:
        self._book, self._coin = book, coin
        self._seen: Stamp = ()
        self._champion: Champion | None = None

    def champion(self) -> Champion | str:
        """The champion, or a sentence that says why nobody can decide: none reigns, or the one who does is not what it was."""
        stamp = _stamp(self._book.root / self._coin)
        if self._champion is None or stamp != self._seen:
            found = self._loaded()
            if isinstance(found, str):
                self._champion = None
                return found
            self._champion, self._seen = found, stamp
        return self._champion

    def _loaded(self) -> Champion | str:
        try:
            name = self._book.champion(self._coin)
        except CrpError as error:
            return f"the champion of {self._coin} cannot be trusted: {error}"
        if name is None:
            return f"{self._coin} has no champion"
        if self._champion is not None and self._champion.version.name == name:
            return self._champion
        return _ready(self._book, self._coin, name)


def has_champion(book: Registry, coin: str) -> bool:
    """Whether somebody reigns over a coin, or is said to in a registry that is not in order: whoever decides then tells why."""
    try:
        return book.pointers(coin).champion is not None
    except CrpError:
        return True


def _ready(book: Registry, coin: str, name: str) -> Champion | str:
    if not can_read(book.card_alone(coin, name), book.folder(coin, name), feature_set_id(CATALOG)):
        return f"version {name} learned from features that are no longer computed as they were"
    try:
        return made_ready(load_version(book, coin, name))
    except CrpError as error:
        return f"version {name} no longer loads: {error}"


def _stamp(folder: Path) -> Stamp:
    """Changes whenever a file beside the versions is written: pointers are replaced, the journal grows."""
    if not folder.is_dir():
        return ()
    found = ((path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file())
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def knows(version: Version, bar: pd.Timestamp) -> bool:
    """Whether a version may have learned from a bar."""
    return bar <= version.knows_until
