"""A version made again, room by room, in a folder of its own, and each result held against the recorded one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.ensemble import Stack
from crp_pipeline.features import CATALOG, extend_features, feature_set_id
from crp_pipeline.models import ModelSpec, Trained, recipe_of, save_bundle
from crp_pipeline.models.base import Progress
from crp_pipeline.models.bundle import golden_answers, golden_samples
from crp_pipeline.models.ingredients import digest
from crp_pipeline.registry.ingredients import CANDLES, FEEDS, MARKET
from crp_pipeline.replay.ingredients import POOLED, Found
from crp_pipeline.replay.line import Line
from crp_pipeline.replay.registered import Registered
from crp_pipeline.rooms import Asked, golden_samples_of, label_table, role_table, selection_table, stacked, trained_model
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash, read_parquet, sha256, write_parquet

ANY_DEVICE = "auto"
SELECTION = "models/selection"
NOT_MADE = "not made"


class Rebuild:
    """One version in the making; `folder` keeps every table, bundle and the stack, each read back as a night reads it."""

    def __init__(self, version: Registered, found: Found, folder: Path, progress: Progress | None = None) -> None:
        self._version, self._found, self._folder, self._progress = version, found, folder, progress
        self._tables = dict(found.tables)
        self._predictions: dict[str, pd.DataFrame] = {}

    def lines(self) -> Iterator[Line]:
        """What came out of each room, in the order of the rooms."""
        yield from self._rooms()
        stack = Stack.load(self._version.stack)
        for name in stack.models:
            yield from self._model(name)
        yield from self._decisions(stack)

    def _rooms(self) -> Iterator[Line]:
        tables, settings = self._tables, self._found.settings
        candles, feeds = tables[CANDLES], tables[FEEDS]
        others = tables[MARKET].drop(columns=self._version.coin, errors="ignore")
        set_id = feature_set_id(CATALOG)
        yield self._made("features", extend_features(None, candles, CATALOG, market=others, feeds=feeds, set_id=set_id))
        yield self._made("labels", label_table(candles, feeds, settings))
        yield self._made("splits", role_table(candles, tables["labels"], settings))
        learned_from = (tables["features"], tables["labels"], tables["splits"])
        yield self._made(SELECTION, selection_table(*learned_from, settings, progress=self._progress))

    def _model(self, name: str) -> Iterator[Line]:
        """Forecasts of one model, and its answers to the golden inputs; nothing of one that all coins made together."""
        if name == POOLED:
            told = f"{POOLED} is not made again, and so neither are the stack and its decisions"
            yield Line(f"models/{name}", self._version.recorded(f"models/{name}"), NOT_MADE, told)
            return
        tables, settings, card = self._tables, self._found.settings, self._version.model_card(name)
        asked = Asked(seed=card["seed"], days_of_history=card["days_of_history"], all_features=card["all_features"])
        trained = trained_model(
            _spec(name, self._version, settings),
            tables["features"],
            tables["labels"],
            tables["splits"],
            tables[SELECTION],
            settings,
            asked,
            progress=self._progress,
        )
        yield self._made(f"models/{name}", trained.predictions)
        self._predictions[name] = self._tables[f"models/{name}"]
        yield self._answers(name, trained)

    def _answers(self, name: str, trained: Trained) -> Line:
        """What the stored model answers, as its bundle keeps it: that of the version, and the one made again."""
        before, after = self._version.bundle(name), self._folder / "models" / f"{name}.bundle"
        save_bundle(trained.model, after, card={}, golden=golden_samples_of(trained, self._tables["features"]))
        told = f"the final model of {name} {_difference_of_answers(before, after)}"
        return Line(f"{name} answers", _answers_hash(before), _answers_hash(after), told)

    def _decisions(self, stack: Stack) -> Iterator[Line]:
        version, kept = self._version, self._version.decisions
        if set(stack.models) - set(self._predictions):
            yield Line("stack", sha256(version.stack)[:16], NOT_MADE)
            yield Line("decisions", frame_hash(kept), NOT_MADE)
            return
        tables, settings, path = self._tables, self._found.settings, self._folder / "stack.json"
        made, decisions = stacked(self._predictions, tables["labels"], tables["splits"], settings, coin=version.coin)
        made.save(path)
        yield Line("stack", sha256(version.stack)[:16], sha256(path)[:16], "the stack learned other weights")
        write_parquet(self._folder / "decisions.parquet", decisions)
        yield Line("decisions", frame_hash(kept), frame_hash(decisions), _difference_of_decisions(kept, decisions))

    def _made(self, name: str, table: pd.DataFrame) -> Line:
        """Keep a table, go on with what was kept, and tell whether it is the recorded one."""
        path, recorded = self._folder / f"{name}.parquet", self._version.recorded(name)
        table.attrs = {}
        write_parquet(path, table)
        self._tables[name] = read_parquet(path)
        return Line(name, recorded, frame_hash(table), f"{name} had hash {recorded}, made again it is {frame_hash(table)}")


def _spec(name: str, version: Registered, settings: PipelineSettings) -> ModelSpec:
    """The recipe on the model's card, on as many threads as the version's settings give."""
    card, n_threads = version.model_card(name), settings.threads
    return recipe_of(name, card["variant"], asked={}, params=card["parameters"], n_threads=n_threads, device=ANY_DEVICE)


def _answers_hash(bundle: Path) -> str:
    asked = golden_samples(bundle)
    return digest(asked.history, asked.rows, golden_answers(bundle))


def _difference_of_answers(before: Path, after: Path) -> str:
    (was, is_now), asked = (golden_answers(it) for it in (before, after)), [golden_samples(it) for it in (before, after)]
    if was.shape != is_now.shape or not np.array_equal(asked[0].history, asked[1].history, equal_nan=True):
        return "is asked about other golden inputs"
    return f"answers its golden inputs otherwise, by up to {np.abs(was - is_now).max(initial=0.0):.2g}"


def _difference_of_decisions(kept: pd.DataFrame, made: pd.DataFrame) -> str:
    """How many bars are decided otherwise, the first of them, and by how much the probabilities differ."""
    if not kept.index.equals(made.index):
        return f"the decisions were about {len(kept):,} bars, made again they are about {len(made):,} others"
    apart = (kept[list(PROBABILITIES)] - made[list(PROBABILITIES)]).abs().max(axis=1)
    is_other = ~((kept == made) | (kept.isna() & made.isna())).all(axis=1)
    first = kept.index[is_other.to_numpy()][:1]
    return (
        f"{int(is_other.sum()):,} of {len(kept):,} decisions are others"
        f"{f', the first at {first[0]}' if len(first) else ''}; probabilities differ by up to {apart.max():.2g}"
    )
