"""The results document: one Markdown page per fleet and night, generated from the registry and the stored verdicts.

Per coin champion and candidate side by side, what changed in the recipe, and what to try next; first whether the fleet's rule
holds. Each version's numbers are those of the night it was judged in; how two compare on the same bars is told below them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from crp_pipeline.errors import CrpError
from crp_pipeline.gate import Outcome, Verdict
from crp_pipeline.gate.challenge import challenge_sentence
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry, State
from crp_pipeline.registry.card import verdict_of
from crp_pipeline.reporting.advice import next_step
from crp_pipeline.reporting.recipe_changes import architecture, recipe_changes
from crp_pipeline.reporting.tables import to_markdown
from crp_pipeline.reporting.verdicts import champion_phrase, fleet_sentence, win_rate_phrase
from crp_pipeline.settings import GateConfig
from crp_pipeline.storage import read_if_sound, write_text


def write_results_document(
    places: Places, coins: Sequence[str], config: GateConfig, *, failed: Mapping[str, str] | None = None
) -> Path:
    """Write the page of all `coins` to `data/reports/results.md`; `failed` maps coins to the asset that they failed at."""
    path = places.root / "reports" / "results.md"
    write_text(path, results_page(places, coins, config, failed=failed))
    return path


def results_page(places: Places, coins: Sequence[str], config: GateConfig, *, failed: Mapping[str, str] | None = None) -> str:
    """The page as Markdown. A coin whose verdict or registry cannot be read is told in its place and hides no other."""
    book, missed = Registry(places.registry), failed or {}
    verdicts, unreadable = _verdicts(places, [coin for coin in coins if coin not in missed])
    sections = [
        _coin(book, verdicts[coin], coin, _within_reach(places, verdicts[coin], coin))
        if coin in verdicts
        else _without_verdict(book, coin, missed, unreadable)
        for coin in coins
    ]
    decision = fleet_sentence(list(verdicts.values()), config, n_coins=len(coins))
    return "\n\n".join(["# Results of the fleet", f"{decision}.", *sections]) + "\n"


def version_table(book: Registry, coin: str, version: str) -> str:
    """What one registered version is and how it did when it was judged, as a Markdown table."""
    return _table([_Side.of(book, coin, "version", version)])


def _verdicts(places: Places, coins: Sequence[str]) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Verdicts by coin, and why a verdict that is there cannot be read."""
    verdicts, unreadable = {}, {}
    for coin in coins:
        if places.verdict(coin).exists():
            try:
                verdicts[coin] = read_verdict(places.verdict(coin))
            except CrpError as error:
                unreadable[coin] = str(error)
    return verdicts, unreadable


def _without_verdict(book: Registry, coin: str, failed: Mapping[str, str], unreadable: Mapping[str, str]) -> str:
    if coin in failed:
        told = f"The run failed at {failed[coin]}, so there is no verdict. Mend what its log names and materialize it again."
    elif coin in unreadable:
        told = f"The verdict cannot be read: {unreadable[coin]}. Materialize `gate` again."
    else:
        told = "There is no verdict: this coin was never run. Materialize it, or run a night."
    return f"## {coin}: NO VERDICT\n\n{told}\n\nChampion: {champion_phrase(book, coin)}."


@dataclass(frozen=True)
class _Side:
    """One column: a version and the verdict that it was judged by."""

    title: str
    version: str | None
    verdict: Verdict
    card: Mapping[str, Any]
    architecture: str

    @classmethod
    def of(cls, book: Registry, coin: str, title: str, version: str, verdict: Verdict | None = None) -> Self:
        """A registered version, with the verdict of its card unless another is told."""
        card = book.card_alone(coin, version)
        return cls(f"{title} `{version}`", version, verdict or verdict_of(card), card, architecture(book, coin, version))

    def rows(self) -> dict[str, str]:
        """What is told of it, by its name in the table."""
        evidence = self.verdict.evidence
        failed = self.verdict.first_failed
        return {
            "verdict": str(self.verdict.outcome),
            "first failed criterion": self.verdict.stamp or "none" if failed is None else self.verdict.reason,
            "architecture": self.architecture,
            "achievable": _achievable(evidence),
            "accuracy": _accuracy(evidence),
            "win rate": win_rate_phrase(evidence),
            "win rate, high tier": win_rate_phrase(evidence, prefix="high_tier_"),
            "calibration error": _calibration(evidence),
            "PnL after costs": _pnl(evidence, self.card),
            "net per trade": _per_trade(evidence),
            "Sharpe, annualised": _sharpe(evidence),
            "largest drawdown": _told(evidence, "max_drawdown", ".1%"),
        }


def _coin(book: Registry, verdict: Verdict, coin: str, within_reach: str) -> str:
    """Section of a coin with a verdict; where its registry cannot be read, the candidate alone and why."""
    alone = _Side("candidate, not registered", None, verdict, {}, "not told: it has no card")
    try:
        told = _beside_champion(book, verdict, coin, alone)
    except CrpError as error:
        told = [f"The registry of this coin cannot be read: {error}.", _table([alone])]
    return "\n\n".join([f"## {coin}: {verdict.outcome}", *told, f"**What to try next.** {next_step(verdict)}{within_reach}"])


def _within_reach(places: Places, verdict: Verdict, coin: str) -> str:
    """Of an impossible target, on what share of the bars each horizon that was looked at brings it within reach."""
    if verdict.outcome is not Outcome.IMPOSSIBLE:
        return ""
    damage: list[str] = []
    table = read_if_sound(places.frame("feasibility", coin=coin), tell=damage.append)
    if table is None:
        return "".join(f" {told}." for told in damage)
    at_present = table[table["cost_multiple"] == 1]
    told = [f"{row['largest_coverage']:.1%} at a horizon of {row['horizon']:.0f}" for row in at_present.to_dict("records")]
    return f" At present costs the target is within reach on up to {', '.join(told)} of the bars."


def _beside_champion(book: Registry, verdict: Verdict, coin: str, alone: _Side) -> list[str]:
    champion, state = book.champion(coin), book.state(coin)
    version = _version_of(book, coin, state, verdict)
    candidate = alone if version is None else _Side.of(book, coin, "candidate", version, verdict)
    incumbent = _incumbent(champion, version, state)
    opening = _opening(verdict, champion, version, is_rolled_back=version is not None and book.is_rolled_back(coin, version))
    if incumbent is None:
        return [opening, _table([candidate])]
    rival = _Side.of(book, coin, "champion" if incumbent == champion else "champion before", incumbent)
    return [opening, _table([rival, candidate]), _compared(verdict), _changed(book, coin, rival, candidate)]


def _opening(verdict: Verdict, champion: str | None, version: str | None, *, is_rolled_back: bool) -> str:
    """Who reigns after the night."""
    if champion is not None and champion == version:
        return "The candidate is the champion."
    stays = "There is no champion yet." if champion is None else f"The champion `{champion}` stays."
    if verdict.outcome is not Outcome.PROMOTE:
        return stays
    why = (
        "was rolled back before and does not return by itself"
        if is_rolled_back
        else "has not been promoted: materialize `registry`"
    )
    return f"The candidate passed and {why}. {stays}"


def _version_of(book: Registry, coin: str, state: State, verdict: Verdict) -> str | None:
    """The newest registered version of the very candidate that the verdict is about."""
    about = verdict.subject.get("candidate")
    return next(
        (it for it in reversed(state.registered) if verdict_of(book.card_alone(coin, it)).subject.get("candidate") == about),
        None,
    )


def _incumbent(champion: str | None, version: str | None, state: State) -> str | None:
    """Whom the candidate is held against: the champion, or the one before where the candidate itself reigns."""
    if champion != version:
        return champion
    return state.reigns[-2] if len(state.reigns) > 1 else None


def _table(sides: Sequence[_Side]) -> str:
    columns = {side.title: side.rows() for side in sides}
    return to_markdown(pd.DataFrame(columns).rename_axis("").reset_index())


def _compared(verdict: Verdict) -> str:
    if "has_champion" not in verdict.evidence:
        return "How the two compare on the same bars was not measured."
    return f"**Against the champion it was judged against.** {_sentence(challenge_sentence(verdict.evidence))}"


def _changed(book: Registry, coin: str, rival: _Side, candidate: _Side) -> str:
    if rival.version is None or candidate.version is None:
        return "**What changed in the recipe.** Not told: the candidate is not registered."
    changes = recipe_changes(book, coin, rival.version, candidate.version)
    if not changes:
        return "**What changed in the recipe.** Nothing: the same recipe on newer data."
    return "**What changed in the recipe.**\n\n" + "\n".join(f"- {change}" for change in changes)


def _achievable(evidence: Mapping[str, float]) -> str:
    """The win rates that a win rate must be read with, whatever the model."""
    oracle, even, flip = (
        _told(evidence, name, ".1%") for name in ("oracle_ceiling", "break_even_win_rate", "coin_flip_win_rate")
    )
    return f"an oracle wins {oracle} at most, break-even is {even}, a coin flip wins {flip}"


def _accuracy(evidence: Mapping[str, float]) -> str:
    right, low, high = (_told(evidence, name, ".1%") for name in ("accuracy", "accuracy_low", "accuracy_high"))
    independent, majority = _told(evidence, "effective_n", ",.0f"), _told(evidence, "majority_share", ".1%")
    return f"{right} ({low} to {high}, {independent} independent labels); commonest class {majority}"


def _calibration(evidence: Mapping[str, float]) -> str:
    by_tier, luck = _told(evidence, "tier_calibration_error", ".1%"), _told(evidence, "tier_calibration_floor", ".1%")
    return f"{_told(evidence, 'calibration_error', '.1%')}; by tier {by_tier}, of which luck explains up to {luck}"


def _pnl(evidence: Mapping[str, float], card: Mapping[str, Any]) -> str:
    earned, equity = evidence.get("pnl", math.nan), card.get("settings", {}).get("sizing", {}).get("initial_equity")
    told = f"{_told(evidence, 'pnl', '+,.0f')} over {_told(evidence, 'test_days', ',.0f')} days"
    return f"{told}, {earned / equity:+.1%} of {equity:,.0f}" if equity and math.isfinite(earned) else told


def _per_trade(evidence: Mapping[str, float]) -> str:
    names = ("net_expectancy_bps", "net_expectancy_lower_bps", "net_expectancy_upper_bps")
    mean, low, high = (_told(evidence, name, "+.1f") for name in names)
    return f"{mean} bps ({low} to {high}, n {_told(evidence, 'trades', ',.0f')})"


def _sharpe(evidence: Mapping[str, float]) -> str:
    beyond, trials = _told(evidence, "deflated_sharpe_ratio", ".3f"), _told(evidence, "trials", ",.0f")
    return f"{_told(evidence, 'sharpe', '.2f')}; chance that it is beyond the luck of {trials} trials {beyond}"


def _told(evidence: Mapping[str, float], name: str, form: str) -> str:
    value = evidence.get(name, math.nan)
    return format(value, form) if math.isfinite(value) else "-"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
