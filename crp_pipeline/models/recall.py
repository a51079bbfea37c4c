"""Fold models and their forecasts, kept in a record and read back; the final model, read back from its bundle.

A forecast that was made is read back as it was, bit for bit, whatever the model would say today. Only rows that have none, as
at the growing end of the last fold, or whose inputs have been restated since, are forecast, by the stored model.

<entry>/forecasts.parquet   by open_time: `inputs` (what the forecast looked at), `output_<name>`, p_short, p_neutral, p_long
<entry>/epochs.parquet      the model's history
<entry>/facts.json          names of the outputs, rounds, what was settled on, rows learned from, seconds
<entry>/model/              the model's own files
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.contracts import PROBABILITIES, Bools, Floats, Fold, Samples
from crp_pipeline.errors import CrpError
from crp_pipeline.models.base import Model
from crp_pipeline.models.bundle import load_bundle
from crp_pipeline.models.forecast import FoldResult, forecast
from crp_pipeline.models.ingredients import looked_at
from crp_pipeline.models.record import Entry, Tell
from crp_pipeline.storage import MANIFEST, read_manifest, read_parquet, write_json, write_parquet

INPUTS, OUTPUT = "inputs", "output_"
FORECASTS, EPOCHS, FACTS, MODEL = "forecasts.parquet", "epochs.parquet", "facts.json", "model"
MADE_FROM = "made_from"
"""Fact on the card of a bundle: the key of what its model was made from."""


@dataclass(frozen=True)
class _Past:
    """What an entry holds."""

    forecasts: pd.DataFrame
    epochs: pd.DataFrame
    facts: dict[str, Any]


def remember(entry: Entry, model: Model, result: FoldResult, X: Samples, times: pd.Index) -> None:
    """Keep the model of a fold and what it forecast on these samples, which are of these bars."""
    made = _frame(result.outputs, result.probabilities, result.names, looked_at(X, model.reach), times)
    facts = {
        "names": list(result.names),
        "rounds": int(result.rounds),
        "settled": {name: int(it) if isinstance(it, Integral) else float(it) for name, it in result.settled.items()},
        "n_learned": result.n_learned,
        "seconds": result.seconds,
    }
    entry.write(partial(_fill, _Past(made, result.history, facts), model.save))


def recalled(entry: Entry, model: Model, fold: Fold, X: Samples, times: pd.Index, *, tell: Tell) -> FoldResult | None:
    """The fold as it was forecast before; None where nothing sound is kept.

    `model` is an unfitted one of the recipe, `X` the test rows, which are of these bars. Rows without a forecast are forecast
    by the stored model, and the entry keeps them too.
    """
    past = entry.read(_read, tell=tell)
    if past is None:
        return None
    inputs = looked_at(X, model.reach)
    has_same, has_other = _found(past.forecasts, times, inputs)
    if has_other.any():
        tell(_restated_line(model, fold, int(has_other.sum())))
    if not has_same.all():
        stored = entry.read(partial(_read_model, type(model)), tell=tell)
        if stored is None:
            return None
        fitted, files = stored
        past = _extended(past, fitted, X.take(X.rows[~has_same]), inputs[~has_same], times[~has_same])
        entry.write(partial(_fill, past, partial(_write_files, files)))
    return _result(past, fold, times)


def stored_fold_model(entry: Entry, kind: type[Model], *, tell: Tell) -> Model | None:
    """The model of a fold as it was fitted; None where nothing sound is kept."""
    stored = entry.read(partial(_read_model, kind), tell=tell)
    return None if stored is None else stored[0]


def stored_final(bundle: Path | None, key: str, *, tell: Tell) -> Model | None:
    """The final model in a bundle when its card says that it was made from this; None otherwise, and a damaged one is told."""
    if bundle is None or not bundle.exists():
        return None
    try:
        return load_bundle(bundle)[0] if read_manifest(bundle).get(MADE_FROM) == key else None
    except (CrpError, OSError) as error:
        tell(f"the final model is damaged and is made anew: {error}")
        return None


def is_on_card(bundle: Path, card: dict[str, Any]) -> bool:
    """True when the bundle's card already says all of this."""
    if not (bundle / MANIFEST).exists():
        return False
    manifest, told = read_manifest(bundle), json.loads(json.dumps(card))
    return bool({name: manifest.get(name) for name in told} == told)


def _found(forecasts: pd.DataFrame, times: pd.Index, inputs: NDArray[np.uint64]) -> tuple[Bools, Bools]:
    """Whether each bar has a forecast made from what it looks at today, and whether it has one made from something else."""
    place = forecasts.index.get_indexer(times)
    is_there, is_same = place >= 0, forecasts[INPUTS].to_numpy()[place] == inputs
    return is_there & is_same, is_there & ~is_same


def _restated_line(model: Model, fold: Fold, n_rows: int) -> str:
    return (
        f"{model.model_type}: {n_rows:,} test rows of fold {fold.number} look at other values than when they were forecast, "
        "and are forecast anew by the stored model"
    )


def _extended(past: _Past, model: Model, X: Samples, inputs: NDArray[np.uint64], times: pd.Index) -> _Past:
    """With the model's forecasts on these samples, in the place of earlier ones on the same bars."""
    outputs, probabilities = forecast(model, X)
    made = _frame(outputs, probabilities, past.facts["names"], inputs, times)
    kept = past.forecasts.drop(index=times, errors="ignore")
    return replace(past, forecasts=pd.concat([kept, made]).sort_index() if len(kept) else made)


def _result(past: _Past, fold: Fold, times: pd.Index) -> FoldResult:
    names = past.facts["names"]
    shown = past.forecasts.loc[times]
    return FoldResult(
        fold=fold,
        outputs=shown[[OUTPUT + name for name in names]].to_numpy(),
        probabilities=shown[list(PROBABILITIES)].to_numpy(),
        names=tuple(names),
        rounds=past.facts["rounds"],
        settled=past.facts["settled"],
        history=past.epochs,
        n_learned=past.facts["n_learned"],
        seconds=past.facts["seconds"],
        reused=True,
    )


def _frame(
    outputs: Floats, probabilities: Floats, names: Sequence[str], inputs: NDArray[np.uint64], times: pd.Index
) -> pd.DataFrame:
    columns = [*(OUTPUT + name for name in names), *PROBABILITIES]
    frame = pd.DataFrame(np.concatenate([outputs, probabilities], axis=1), index=times, columns=columns)
    frame.insert(0, INPUTS, inputs)
    return frame


def _fill(past: _Past, save_model: Callable[[Path], object], folder: Path) -> None:
    write_parquet(folder / FORECASTS, past.forecasts)
    write_parquet(folder / EPOCHS, past.epochs)
    write_json(folder / FACTS, past.facts)
    save_model(folder / MODEL)


def _read(folder: Path) -> _Past:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return _Past(read_parquet(folder / FORECASTS), read_parquet(folder / EPOCHS), facts)


def _read_model(kind: type[Model], folder: Path) -> tuple[Model, dict[str, bytes]]:
    """The stored model, and its files as they are."""
    place = folder / MODEL
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return kind.load(place), files


def _write_files(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
