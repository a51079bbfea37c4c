"""The registry mirrored to an MLflow server, for those who look there: the registry itself stays the truth.

    experiment crp_pipeline/<coin>   a finished run per version: recipe and settings, findings, card
    registered model <coin>          a model version per version, in the order of the journal, tagged `version`
    its aliases                      champion, challenger and shadow, where the registry's pointers are

A mirror is brought up to date and never trusted: whatever is missing on the server is written, the oldest version first, so
that a night without a server is caught up by the next, and a second mirroring writes nothing. Only card and numbers are sent;
models stay where they are, and a model version points to the run that tells of it. What a library may have been told in secret
(`exchange.client_options`) is not sent, nor does any sentence name the server, whose address may hold a password.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any

from pydantic import SecretStr

from crp_pipeline.ledger import flat
from crp_pipeline.registry.card import verdict_of, without_secrets
from crp_pipeline.registry.registry import Registry

EXPERIMENT = "crp_pipeline/{coin}"
VERSION = "version"
ALIASES = ("champion", "challenger", "shadow")
HASHES = ("data_hash", "feature_set_id", "recipe", "code")
AT_ONCE = 100
"""Parameters that a server takes in one request."""
LONGEST_VALUE = 5_000
"""Characters of a tag or parameter; a server takes 6,000 of the one and 8,000 of the other."""
CARD = "card.json"
FINISHED = "FINISHED"
PATIENCE_S, LIMIT_S = 5, 30.0
"""How long one request may take, and after how many seconds no further version is begun; the next mirroring goes on."""
MANNERS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What the library reads from the environment alone."""


@dataclass(frozen=True)
class Mirrored:
    """What a mirroring came to."""

    versions: tuple[str, ...]
    """Those that were written this time."""
    problem: str = ""
    """In a sentence, why it was left unfinished."""


def mirror(book: Registry, coin: str, uri: SecretStr, *, limit_s: float = LIMIT_S) -> Mirrored:
    """Write what the server does not have of a coin yet, and put its aliases where the registry's pointers are.

    A server that cannot be reached, or says no, is a problem told and nothing else; nothing is asked of it twice. What cannot
    be read in the registry itself raises as ever.
    """
    pages, seats = _pages(book, coin), vars(book.pointers(coin))
    written: list[str] = []
    try:
        with _manners():
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            try:
                _bring_up_to_date(_Shelf(MlflowClient(uri.get_secret_value()), coin), pages, seats, written, limit_s)
            except (MlflowException, OSError, ValueError) as error:
                told = f"{coin}: the MLflow mirror is left as it is ({type(error).__name__}); the next night catches up"
                return Mirrored(tuple(written), told)
    except ImportError:
        return Mirrored((), f"{coin}: there is no MLflow mirror without mlflow: pip install 'crp-pipeline[mlflow]'")
    return Mirrored(tuple(written))


@dataclass(frozen=True)
class _Page:
    """What is told of a version."""

    version: str
    at_ms: int
    """When it was first registered, milliseconds since 1970."""
    card: Callable[[], Mapping[str, Any]]


class _Shelf:
    """A coin's experiment and registered model on the server."""

    def __init__(self, client: Any, coin: str) -> None:
        self._client, self._coin = client, coin
        self._experiment = self._experiment_id()
        if not client.search_registered_models(f"name = '{coin}'"):
            client.create_registered_model(coin, tags={"coin": coin})

    def numbers(self) -> dict[str, str]:
        """Number of the model version of each version whose run is finished."""
        found = _all(self._client.search_model_versions, f"name = '{self._coin}'")
        return {it.tags[VERSION]: str(it.version) for it in found if VERSION in it.tags}

    def runs(self) -> dict[str, Any]:
        """The run of each version, finished or not."""
        found = _all(self._client.search_runs, [self._experiment])
        return {run.data.tags[VERSION]: run for run in found if VERSION in run.data.tags}

    def write(self, page: _Page, begun: Any | None) -> None:
        """Tell everything of a version, in the run that was begun for it, or in one of its own."""
        card = without_secrets(page.card())
        run = begun or self._client.create_run(
            self._experiment, start_time=page.at_ms, run_name=page.version, tags={VERSION: page.version}
        )
        run_id = run.info.run_id
        if run.info.status != FINISHED:
            for params in _params(card):
                self._client.log_batch(run_id, params=params)
            self._client.log_batch(run_id, metrics=_metrics(card, page.at_ms))
            for name, value in _tags(card).items():
                self._client.set_tag(run_id, name, value)
            self._client.log_text(run_id, json.dumps(card, indent=2, sort_keys=True), CARD)
            self._client.set_terminated(run_id, FINISHED, end_time=page.at_ms)
        told = {VERSION: page.version, **_tags(card)}
        self._client.create_model_version(self._coin, run.info.artifact_uri, run_id=run_id, tags=told, await_creation_for=0)

    def seat(self, seats: Mapping[str, str | None], numbers: Mapping[str, str]) -> None:
        """Move the aliases that are elsewhere; one whose version is not mirrored yet is taken away."""
        held = {name: str(at) for name, at in self._client.get_registered_model(self._coin).aliases.items()}
        for alias in ALIASES:
            number = numbers.get(seats[alias] or "")
            if number is None and alias in held:
                self._client.delete_registered_model_alias(self._coin, alias)
            if number is not None and held.get(alias) != number:
                self._client.set_registered_model_alias(self._coin, alias, number)

    def _experiment_id(self) -> str:
        name = EXPERIMENT.format(coin=self._coin)
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)


def _bring_up_to_date(
    shelf: _Shelf, pages: list[_Page], seats: Mapping[str, str | None], written: list[str], limit_s: float
) -> None:
    """Write the missing versions in their order and then the aliases; `written` grows as they are."""
    begun, numbers, runs = monotonic(), shelf.numbers(), shelf.runs()
    for page in pages:
        if page.version not in numbers:
            if monotonic() - begun > limit_s:
                raise TimeoutError(f"{limit_s:g} s are over")
            shelf.write(page, runs.get(page.version))
            written.append(page.version)
    shelf.seat(seats, shelf.numbers() if written else numbers)


def _pages(book: Registry, coin: str) -> list[_Page]:
    """Every version of a coin, in the order of their first registrations."""
    first: dict[str, str] = {}
    for entry in book.history(coin):
        if entry.action == "register":
            first.setdefault(entry.version, entry.at)
    return [_Page(name, _milliseconds(at), partial(book.card_alone, coin, name)) for name, at in first.items()]


def _milliseconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1_000)


def _tags(card: Mapping[str, Any]) -> dict[str, str]:
    verdict = verdict_of(dict(card))
    told = {
        "verdict": str(verdict.outcome),
        "reason": verdict.reason,
        **{name: str(card[name]) for name in HASHES if name in card},
    }
    return {name: value[:LONGEST_VALUE] for name, value in told.items()}


def _params(card: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Recipe, settings and libraries, as many at a time as a server takes."""
    from mlflow.entities import Param

    told = {"recipe": card.get("recipe", ""), **flat({"settings": card["settings"], "library": card.get("libraries", {})})}
    params = [Param(name, _text(value)) for name, value in told.items()]
    yield from (params[first : first + AT_ONCE] for first in range(0, len(params), AT_ONCE))


def _metrics(card: Mapping[str, Any], at_ms: int) -> list[Any]:
    """The verdict's findings; one that was not measured is none."""
    from mlflow.entities import Metric

    findings = {it.criterion.name: float(it.value) for it in verdict_of(dict(card)).findings}
    return [Metric(name, value, at_ms, 0) for name, value in findings.items() if math.isfinite(value)]


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST_VALUE]


def _all(search: Callable[..., Any], where: object) -> Iterator[Any]:
    """Everything that a search finds, page after page."""
    token = None
    while True:
        found = search(where, page_token=token)
        yield from found
        token = found.token
        if not token:
            return


@contextmanager
def _manners() -> Iterator[None]:
    """The library told to be quick and quiet; what was in the environment before is put back."""
    before = {name: os.environ.get(name) for name in MANNERS}
    os.environ.update(MANNERS)
    try:
        yield
    finally:
        for name in MANNERS:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})
