"""What changed in the recipe between two registered versions, in words, from what their cards and models tell."""

from collections.abc import Mapping
from typing import Any

from crp_pipeline.provenance import ASKED_OF_A_MODEL
from crp_pipeline.registry import Registry
from crp_pipeline.registry.candidate import MODELS
from crp_pipeline.storage import MANIFEST, read_manifest

NO_MATTER = ("coins", "threads", "demo", "exchange")
"""Settings that change neither what a model learns nor how it is judged."""
MOST_CHANGES = 20
"""Changes that are told one by one."""


def architecture(book: Registry, coin: str, version: str) -> str:
    """`stack of lightgbm (deep), tcn; 50 features, horizon 24 bars of 1h`, as far as the version tells."""
    models, settings = _models(book, coin, version), book.card_alone(coin, version).get("settings", {})
    names = [name if told["variant"] == "default" else f"{name} ({told['variant']})" for name, told in models.items()]
    used = {feature for told in models.values() for feature in told.get("features", ())}
    parts = [f"stack of {', '.join(names)}"] if names else ["not told by its card"]
    parts += [f"{len(used)} features"] if used else []
    parts += [f"horizon {settings['horizon']} bars of {settings['interval']}"] if "horizon" in settings else []
    return "; ".join(parts)


def recipe_changes(book: Registry, coin: str, before: str, after: str) -> list[str]:
    """One phrase per difference: `lightgbm learning_rate 0.05 -> 0.03`, `3 features more`; empty where nothing differs."""
    changes = [
        *_members(_models(book, coin, before), _models(book, coin, after)),
        *_settings(book.card_alone(coin, before), book.card_alone(coin, after)),
    ]
    left_out = len(changes) - MOST_CHANGES
    return changes if left_out <= 0 else [*changes[:MOST_CHANGES], f"and {left_out} more"]


def _models(book: Registry, coin: str, version: str) -> dict[str, dict[str, Any]]:
    """Manifest of each model of a version, by its name, in the order of the roster where the card tells one."""
    folder = book.folder(coin, version) / MODELS
    found = sorted(path.name for path in folder.glob("*") if (path / MANIFEST).exists())
    roster = book.card_alone(coin, version).get("settings", {}).get("roster", [])
    order = sorted(found, key=lambda name: roster.index(name) if name in roster else len(roster))
    return {name: {"variant": "default", **read_manifest(folder / name)} for name in order}


def _members(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> list[str]:
    """Models that came and went, what is asked of those that stayed, and the features of all."""
    changes = [f"{name} added" for name in after if name not in before]
    changes += [f"{name} removed" for name in before if name not in after]
    for name in before.keys() & after.keys():
        facts = (*ASKED_OF_A_MODEL, "seed")
        told = [flat({fact: model[name].get(fact) for fact in facts}) for model in (before, after)]
        changes += [f"{name} {change.removeprefix('parameters.')}" for change in _differences(*told)]
    more, fewer = _used(after) - _used(before), _used(before) - _used(after)
    changes += [f"{len(more)} features more"] if more else []
    return changes + ([f"{len(fewer)} features fewer"] if fewer else [])


def _used(models: Mapping[str, dict[str, Any]]) -> set[str]:
    return {feature for told in models.values() for feature in told.get("features", ())}


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Differing settings, and whether the set of features on offer, the code or a library is another."""
    settings = [
        flat({name: value for name, value in card.get("settings", {}).items() if name not in NO_MATTER})
        for card in (before, after)
    ]
    libraries = [flat(card.get("libraries", {})) for card in (before, after)]
    told = [{name: card.get(name) for name in ("feature_set_id", "code")} for card in (before, after)]
    names = {"feature_set_id": "set of features on offer"}
    return [*_differences(*settings), *_differences(*told, names=names), *_differences(*libraries)]


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> list[str]:
    """`name before -> after` for each value that differs, in the order of the names."""
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{(names or {}).get(name, name)} {_said(before.get(name))} -> {_said(after.get(name))}" for name in differing]


def _said(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return leaves
