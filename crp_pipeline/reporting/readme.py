"""The numbers of the README, rendered from a run that the repository keeps: none of them is typed.

A block stands between `<!-- begin: name -->` and `<!-- end: name -->`. The run is in `crp_pipeline_tests/golden/demo_run`: a
file per demo coin with its verdict and champion, and what `crp feasibility` printed about real candles.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crp_pipeline.candles import DEMO_COINS
from crp_pipeline.errors import DataContractError
from crp_pipeline.features import CATALOG, Family
from crp_pipeline.gate import Verdict
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.tables import to_blocks
from crp_pipeline.reporting.verdicts import verdict_table, where_to_look, win_rate_phrase
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.storage import write_json, write_text

KEPT_RUN = Path("crp_pipeline_tests/golden/demo_run")
"""Where a checkout keeps the run, from its README."""
FEASIBILITY = "feasibility.txt"
FEASIBILITY_COMMAND = "crp feasibility --csv 5m/BTC-USDT.parquet --horizon 3 --cost-bps 15 --coverage 1"
"""What printed `FEASIBILITY`; a test on real candles runs it again."""
_SHOWN = ("ceiling at 100%", "trades at 100%", "break-even", "coin flip")
"""Rows of it that the README shows."""
_BLOCK = re.compile(r"<!-- begin: (?P<name>[^>]*?) -->(?P<body>.*?)<!-- end: (?P=name) -->", re.DOTALL)
_MARK = re.compile(r"<!-- (?:begin|end): ([^>]*?) -->")


@dataclass(frozen=True)
class KeptRun:
    """What the README's numbers come from."""

    verdicts: Mapping[str, Verdict]
    champions: Mapping[str, str]
    feasibility: str
    """What `FEASIBILITY_COMMAND` printed."""

    @classmethod
    def read(cls, folder: Path) -> "KeptRun":
        """The run in a folder; raises `DataContractError` naming the file that is missing or damaged."""
        stored = {coin: _document(folder / f"{coin}.json") for coin in DEMO_COINS}
        try:
            verdicts = {coin: Verdict.from_dict(document["verdict"]) for coin, document in stored.items()}
            champions = {coin: str(document["champion"]) for coin, document in stored.items()}
            return cls(verdicts, champions, (folder / FEASIBILITY).read_text(encoding="utf-8"))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DataContractError(f"{folder} keeps no run: {error}") from error


def keep_night(places: Places, folder: Path) -> None:
    """Keep the verdicts and champions of a finished night of the demo; raises `DataContractError` where there is none."""
    book = Registry(places.registry)
    verdicts = {coin: read_verdict(places.verdict(coin)).to_dict() for coin in DEMO_COINS}
    champions = {coin: book.champion(coin) or "none" for coin in DEMO_COINS}
    for coin, verdict in verdicts.items():
        write_json(folder / f"{coin}.json", {"champion": champions[coin], "verdict": verdict})


def update_readme(path: Path, folder: Path) -> bool:
    """Render every block of the README at `path` from the run in `folder`; True where that changed something."""
    before = path.read_text(encoding="utf-8")
    after = rendered(before, KeptRun.read(folder))
    if after != before:
        write_text(path, after)
    return after != before


def rendered(text: str, run: KeptRun) -> str:
    """The text with each of its blocks as the run has it.

    Raises `DataContractError` for a block that nobody renders, and for one that is not ended.
    """
    blocks = [match["name"] for match in _BLOCK.finditer(text)]
    marks = [match[1] for match in _MARK.finditer(text)]
    if marks != [name for name in blocks for _ in range(2)]:
        broken = next(name for name in marks if marks.count(name) != 2 * blocks.count(name))
        raise DataContractError(f"the block {broken!r} of the README does not begin and end once each")
    if strangers := sorted(set(blocks) - set(BLOCKS)):
        raise DataContractError(f"nobody renders the block {strangers[0]!r} of the README; there are {', '.join(BLOCKS)}")
    return _BLOCK.sub(
        lambda match: f"<!-- begin: {match['name']} -->{BLOCKS[match['name']](run)}<!-- end: {match['name']} -->", text
    )


def _verdicts(run: KeptRun) -> str:
    return _fenced(f"{to_blocks(verdict_table(run.verdicts, run.champions))}\n\n{where_to_look(Path('data'))}")


def _win_rate(run: KeptRun) -> str:
    """The win rate of the first demo coin, as its verdict shows it."""
    return f"\n`{win_rate_phrase(run.verdicts[next(iter(DEMO_COINS))].evidence)}`"


def _feasibility(run: KeptRun) -> str:
    first, *others = run.feasibility.splitlines()
    told = [line for line in others if line.split("  ")[0] in _SHOWN]
    return _fenced("\n".join([f"$ .venv/bin/{FEASIBILITY_COMMAND}", first, "...", *told]))


def _catalogue(_: KeptRun) -> str:
    return f"{len(CATALOG)} features in {len(Family)} families"


def _selection(_: KeptRun) -> str:
    return f"the {SelectionConfig().keep} most useful features"


BLOCKS: Mapping[str, Callable[[KeptRun], str]] = MappingProxyType(
    {
        "demo verdicts": _verdicts,
        "win rate phrase": _win_rate,
        "feasibility": _feasibility,
        "catalogue": _catalogue,
        "selection": _selection,
    }
)
"""What renders each block."""


def _fenced(text: str) -> str:
    return f"\n```\n{text}\n```\n"


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataContractError(f"{path} cannot be read: {error}") from error
    return dict(document)
