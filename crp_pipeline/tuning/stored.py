"""What tuning left behind: the best parameters in a file, when a model may use them, and the table of all of a coin's."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.errors import TuningError
from crp_pipeline.models import create_model
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import TEST
from crp_pipeline.storage import sha256

STAGE = "tuning"
COMPARED = ("default_log_loss", "tuned_log_loss", "gain", "gain_low", "gain_high", "n", "effective_n", "trials_in_ledger")
"""Tuned against default on the outer test bars, in nats per bar; a gain above 0 speaks for the tuned."""
TABLE = ("coin", "model", "variant", "objective", "trials", "pruned", "failed", "inner_default", "inner_tuned", *COMPARED)
"""Columns of `tuned_table`."""


@dataclass(frozen=True)
class Applied:
    """What tuning has to say when a model is trained."""

    params: Mapping[str, Parameter]
    """To be put over the variant's own; none where nothing is used."""
    told: str
    """Which they are, or why none is used."""
    files: Mapping[str, str]
    """Hash of the file they come from, by its name in a lineage; none where nothing is used."""


def tuned_params(
    places: Places, settings: PipelineSettings, model_type: str, *, variant: str, features: pd.DataFrame, roles: pd.DataFrame
) -> Applied:
    """The parameters that the features' coin was tuned to, if they may be used for a model that is trained on these roles.

    They may not where they were found on labels that had not ended before the first bar that the roles test, or for another
    variant, other labels, or another set of features: then the reason is told. Raises `TuningError` for a file that cannot be
    read.
    """
    path = stored_path(places, str(features.attrs["coin"]), model_type, "json")
    if not path.exists():
        return Applied({}, "not tuned", {})
    document = read_document(path)
    reason = _why_not(document, settings, variant=variant, features=features, roles=roles)
    if reason:
        return Applied({}, f"the tuned parameters are not used: {reason}", {})
    params = dict(document["params"])
    told = ", ".join(f"{name} = {value}" for name, value in sorted(params.items())) or "the variant's own were best"
    return Applied(params, f"tuned: {told}", {f"{STAGE}/{model_type}": sha256(path)})


def tuned_table(places: Places, coin: str) -> pd.DataFrame:
    """One row per model of the coin that was tuned, columns of `TABLE`: tuned against default out of sample; empty without any.

    A gain is NaN where the two were not compared.
    """
    paths = sorted((places.root / STAGE / coin).glob("*.json"))
    return pd.DataFrame([table_row(read_document(path)) for path in paths], columns=list(TABLE))


def table_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one stored study in `tuned_table`."""
    own = {name: document[name] for name in ("coin", "model", "variant", "objective")}
    counts = {"trials": document["trials"]["complete"] + document["trials"]["pruned"]}
    counts |= {name: document["trials"][name] for name in ("pruned", "failed")}
    default = document["default_score"]
    scores = {"inner_default": float("nan") if default is None else default, "inner_tuned": document["score"]}
    compared = document["comparison"] or dict.fromkeys(COMPARED, float("nan"))
    return {**own, **counts, **scores, **{name: compared[name] for name in COMPARED}}


def read_document(path: Path) -> dict[str, Any]:
    """What tuning stored; raises `TuningError` for a file that cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuningError(f"{path} cannot be read: {error}; tune the model again or remove the file") from error
    missing = [name for name in ("params", "learned_until", "labels", "feature_set_id") if name not in document]
    if missing:
        raise TuningError(f"{path} does not say its {missing[0]}; tune the model again or remove the file")
    return dict(document)


def _why_not(
    document: Mapping[str, Any], settings: PipelineSettings, *, variant: str, features: pd.DataFrame, roles: pd.DataFrame
) -> str:
    """Why stored parameters must not be used; empty where they may."""
    labels = json.loads(json.dumps(asdict(settings.of(str(features.attrs["coin"])).labels)))
    first_test = roles.index[int((roles == TEST).any(axis=1).to_numpy().argmax())]
    other = [name for name in sorted({*labels, *document["labels"]}) if labels.get(name) != document["labels"].get(name)]
    if document["variant"] != variant:
        return f"they belong to the variant {document['variant']}, not to {variant}"
    if other:
        told, here = document["labels"].get(other[0]), labels.get(other[0])
        return f"they were found for labels with {other[0]} = {told!r}, which is {here!r} here"
    if document["feature_set_id"] != features.attrs["feature_set_id"]:
        return f"they were found on the features {document['feature_set_id']}, not on {features.attrs['feature_set_id']}"
    if pd.Timestamp(document["learned_until"]) >= first_test:
        return f"they know labels until {document['learned_until']}, and the first bar that is tested opens at {first_test}"
    try:
        create_model(document["model"], variant=variant, **document["params"])
    except ValueError as error:
        return str(error)
    return ""


def stored_path(places: Places, coin: str, model_type: str, ending: str) -> Path:
    """Where what tuning knows of a coin's model lies: `db` for its studies, `json` for its best parameters."""
    return places.value(STAGE, model_type, coin=coin).with_name(f"{model_type}.{ending}")
