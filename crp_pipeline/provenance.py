"""What made a result: the tables and models behind it, the settings, the code and the libraries.

Every stored frame carries its lineage in `attrs`: the name of each table, model file and recipe behind it, its own among them,
and the content hash that each had at the time. Where two ingredients of a verdict were made from different versions of a third,
their lineages together hold two hashes for that one name.
"""

import hashlib
import json
import subprocess
from collections.abc import Hashable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import pandas as pd

from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash, sha256

Lineage = dict[str, list[str]]
"""Sorted content hashes by name."""

PLACES: dict[str, Any] = {
    "data_dir": True,
    "files_dir": True,
    "finer_dir": True,
    "feeds": {"__all__": {"path"}},
    "execution": {"slippage_file": True},
    "storage": True,
    "online_store": True,
    "mlflow": True,
    "notify": True,
}
"""Settings that say where something lies or who is told, as pydantic excludes them."""
TOLD_ELSEWHERE = ("source", "coins", "threads", "gate", "demo", "exchange", "explanation", "coin_overrides")
"""Settings that the tables, the verdict or a coin's own settings tell of."""
OPERATIONS = (
    *("retired", "clock", "storage", "online_store", "mlflow"),
    *("signals", "drift", "retention", "automation", "notify", "limits"),
)
"""Settings that run a night and change nothing that is learned, decided or judged."""
ASKED_OF_A_MODEL = ("model_type", "variant", "parameters", "days_of_history", "all_features")
"""Facts on the card of a stored model that a run may ask for otherwise than the settings."""
NO_RECIPE: dict[str, Any] = {
    "seed": True,
    "prop_firm": True,
    "sentinels": dict.fromkeys(
        ("max_accuracy", "max_auc", "plausibility_horizon", "max_shift_z", "leak_rows", "leak_rounds", "leak_folds"), True
    ),
}
"""Settings that a verdict depends on and neither what models see nor a trade, as pydantic excludes them; and luck."""
LIBRARIES = (
    *("numpy", "pandas", "scipy", "numba", "scikit-learn", "TA-Lib"),
    *("xgboost-cpu", "xgboost", "lightgbm", "catboost", "torch"),
)


def stamp(
    frame: pd.DataFrame,
    name: str,
    *,
    behind: Iterable[pd.DataFrame] = (),
    files: Mapping[str, str] | None = None,
    **facts: object,
) -> pd.DataFrame:
    """Write into the frame's `attrs` what it is, what lies behind it and some facts more; returns the frame.

    `behind` are the stamped frames that it was made from; the coin is theirs where `facts` names none. `files` are content
    hashes of anything else that belongs to it, by name.
    """
    made_from = list(behind)
    own = {name: frame_hash(frame), **(files or {})}
    lineage = merged(*map(lineage_of, made_from), {key: [value] for key, value in own.items()})
    coin: dict[Hashable, object] = {"coin": made_from[0].attrs["coin"]} if made_from else {}
    frame.attrs = {**coin, **cast("dict[Hashable, object]", facts), "lineage": lineage}
    return frame


def lineage_of(frame: pd.DataFrame) -> Lineage:
    """Everything behind a stamped frame, the frame included."""
    return dict(frame.attrs["lineage"])


def merged(*lineages: Lineage) -> Lineage:
    """All hashes of every name."""
    names = sorted({name for lineage in lineages for name in lineage})
    return {name: sorted({found for lineage in lineages for found in lineage.get(name, [])}) for name in names}


def conflicts(lineage: Lineage) -> list[str]:
    """Names that stand for more than one content."""
    return [name for name, found in lineage.items() if len(found) > 1]


def recipe_hash(settings: PipelineSettings, coin: str) -> str:
    """Sixteen hex digits that change with any setting that a label, fold, model, decision or trade of a coin depends on.

    The coin's overrides are merged, those of other coins are nothing to it. What was known when is part of it; where a file
    lies is not, since a table's own hash tells what was in the file.
    """
    return _short_hash(_told(settings, coin))


def candidate_recipe(settings: PipelineSettings, coin: str, cards: Iterable[Mapping[str, Any]]) -> str:
    """Sixteen hex digits that change with the coin's settings and with what a run asked of any of the candidate's models.

    `cards` are those of its stored models. Settings that touch neither a model nor a trade are no part of it: rules of a prop
    firm, the gate's thresholds, and what sentinels only report; those that decide what is kept from the models are. No seed
    is part of it, neither the settings' nor a run's: another seed is another draw of the same recipe, which the ledger counts
    as a trial. Nor is the code, which the gate looks at by itself.
    """
    members = sorted(json.dumps({fact: card[fact] for fact in ASKED_OF_A_MODEL}, sort_keys=True) for card in cards)
    return _short_hash("\n".join([_told(settings, coin, NO_RECIPE), *members]))


def _told(settings: PipelineSettings, coin: str, less: Mapping[str, Any] | None = None) -> str:
    """The coin's settings that results depend on, as JSON."""
    elsewhere = dict.fromkeys((*TOLD_ELSEWHERE, *OPERATIONS), True)
    return settings.of(coin).model_dump_json(exclude={**elsewhere, **PLACES, **(less or {})})


def recipe_of_all(settings: PipelineSettings, *more: str) -> str:
    """Sixteen hex digits that change with the code and with any setting that a result of any coin depends on.

    `more` are settings that results of one room depend on besides, such as `gate`.
    """
    elsewhere = [name for name in (*TOLD_ELSEWHERE, *OPERATIONS) if name not in {"coin_overrides", *more}]
    exclude = {**dict.fromkeys(elsewhere, True), **PLACES}
    return _short_hash(f"{source_hash()}\n{settings.model_dump_json(exclude=exclude)}")


def made_by(settings: PipelineSettings, coin: str) -> dict[str, str]:
    """Settings in force and code at hand, by their names in a lineage: tables of others do not belong to a verdict of these."""
    return {"settings": recipe_hash(settings, coin), "source": source_hash()}


def feeds_recipe(settings: PipelineSettings) -> dict[str, str]:
    """Hash of the feeds' settings by its name in a lineage: features made under others do not belong to a verdict of these."""
    return {"feeds.settings": _short_hash(settings.model_dump_json(include={"feeds"}, exclude=PLACES))}


def kind_of_market(settings: PipelineSettings) -> dict[str, str]:
    """Whether the edge is planted, by its name in a lineage: what is believed of one market is not believed of the other."""
    return {"edge_is_planted": str(settings.edge_is_planted)}


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_revision() -> str:
    """The git commit of this code, `+changed` when files differ from it; the package version where git does not keep it."""
    here = Path(__file__).parent
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name, cwd=here)
        commit = _git("rev-parse", "--short=12", "HEAD", cwd=here)
        return commit + ("+changed" if _git("status", "--porcelain", "--", ".", cwd=here) else "")
    except (OSError, subprocess.CalledProcessError):
        return f"crp-pipeline {version('crp-pipeline')}"


def source_hash() -> str:
    """Sixteen hex digits that change with any byte of this package's code, committed or not."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        digest.update(f"{path.relative_to(here).as_posix()}:{sha256(path)}".encode())
    return digest.hexdigest()[:16]


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries whose numbers enter a model."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607
