"""Declarative automation: what is rebuilt when something changed, and nothing else.

Content decides. A coin's night begins where its candles have another data version than before, and once `market` has been made
of them; unchanged candles begin nothing. What has begun goes through the whole corridor in one run of that coin: every table
behind the candles has one more row then, and a table that stayed as it was by chance must not stop the wave half way, since the
gate refuses a verdict whose ingredients were made from different versions of a third. The wave stops where it leaves the coin:
at `market`, `controls` and `summary`. A changed recipe, which is the code and the settings behind a result, begins at the first
asset that it touches. What a scheduled night makes begins nothing here.

`market` alone begins nothing: a coin that was late would have every other coin trained anew for one column of closes.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from crp_pipeline.defs.automation.jobs import CORRIDOR
from crp_pipeline.defs.automation.night import NIGHT
from crp_pipeline.defs.automation.schedules import NIGHTLY
from crp_pipeline.provenance import feeds_recipe, recipe_of_all, source_hash
from crp_pipeline.settings import PipelineSettings

Condition = Any
"""A `dg.AutomationCondition`; its type arguments tell assets from checks, and do not combine."""
On: Any = dg.AutomationCondition

CANDLES, MARKET, CONTROLS, FEEDS = map(dg.AssetKey, ("candles", "market", "controls", "feeds"))
EXPLANATION, GATE, REGISTRY, REPORT, SUMMARY = map(dg.AssetKey, ("explanation", "gate", "registry", "report", "summary"))
WATCHED = (CANDLES, REGISTRY, SUMMARY)
"""Assets that every night makes anew, and whose age the web UI shows."""

_IS_NEW = On.data_version_changed() & ~On.executed_with_root_target()
_IS_NEW_BY_DAY = _IS_NEW & ~On.all_new_updates_have_run_tags(tag_keys={NIGHT})


def automated(assets: Iterable[dg.AssetsDefinition], settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """The same assets, those of a night with the condition under which they are rebuilt, a code version and an age limit."""
    known = list(assets)
    corridor = CORRIDOR.resolve(known)
    recipes, of_all = _recipes(settings), recipe_of_all(settings)
    fail = timedelta(hours=settings.notify.stale_hours)
    freshness = dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=fail * 0.85)

    def automate(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key not in corridor:
            return spec
        return spec.replace_attributes(
            automation_condition=_condition(spec.key),
            code_version=spec.code_version or recipes.get(spec.key, of_all),
            freshness_policy=freshness if spec.key in WATCHED else None,
        )

    return [asset.map_asset_specs(automate) for asset in known]


def _recipes(settings: PipelineSettings) -> dict[dg.AssetKey, str | None]:
    """What the code versions change with of assets that do not depend on all settings of a coin, or on more than these."""
    thresholds, [feeds] = recipe_of_all(settings, "gate"), feeds_recipe(settings).values()
    explained = recipe_of_all(settings, "explanation")
    tables = dict.fromkeys((CANDLES, MARKET, SUMMARY))
    return {**tables, FEEDS: feeds, CONTROLS: source_hash(), EXPLANATION: explained, GATE: thresholds, REGISTRY: thresholds}


def _condition(key: dg.AssetKey) -> Condition:
    if key in {CANDLES, CONTROLS}:
        return (On.cron_tick_passed(NIGHTLY).since_last_handled() & ~On.in_progress()).with_label("every night")
    if key in {MARKET, SUMMARY}:
        return (On.any_deps_match(_IS_NEW_BY_DAY).since_last_handled() & _nothing_under_way()).with_label("a coin has changed")
    if key == FEEDS:
        return _first_of_a_coin().with_label("candles and market have changed")
    return _follows().with_label("what it is made of has changed")


def _first_of_a_coin() -> Condition:
    """Candles have changed and the market was made of them, while no run of the coin goes on."""
    changed = On.asset_matches(CANDLES, _IS_NEW_BY_DAY).since_last_handled()
    has_market = On.asset_matches(MARKET, On.newly_updated()).since_last_handled()
    waits = On.asset_matches(MARKET, On.in_progress()) | On.asset_matches(CONTROLS, On.in_progress())
    is_training = On.asset_matches(REPORT, On.in_progress())
    return ((changed & has_market) | _recipe_changed()) & ~waits & ~is_training & _nothing_under_way()


def _follows() -> Condition:
    """Something before it goes through in the same run; of what a coin does not make itself, something has changed."""
    begun = On.any_deps_match(On.will_be_requested()).ignore(dg.AssetSelection.assets(CANDLES)).since_last_handled()
    judged_anew = On.any_deps_match(_IS_NEW_BY_DAY).allow(dg.AssetSelection.assets(CONTROLS)).since_last_handled()
    return (begun | judged_anew | _recipe_changed()) & ~On.any_deps_missing() & _nothing_under_way()


def _recipe_changed() -> Condition:
    return On.code_version_changed().since_last_handled()


def _nothing_under_way() -> Condition:
    return ~On.any_deps_in_progress() & ~On.in_progress()
