"""Which version of a coin has which role, and every version that ever was.

    <root>/<coin>/versions/<version>/   immutable, named after its content; of a pruned version only its card
    <root>/<coin>/champion.json         the three pointers, replaced atomically
    <root>/<coin>/journal.jsonl         append-only, each line carrying the hash of the one before and where the pointers are
    <root>/<coin>/journal.head          hash of the last line, so that a journal cut short is noticed
    <root>/<coin>/journal.checkpoint    what the first lines come to: saves reading them and proves nothing

The roles:

    champion     decides. Only a PROMOTE verdict that the version itself carries, or a rollback to one that reigned, makes one.
    challenger   the newest version that the gate found good and that never reigned: of verdict SHADOW, or PROMOTE and not
                 promoted.
    shadow       decides beside the champion on fresh bars, and its decisions count for nobody but the gate. It follows the
                 challenger; where that is of the champion's own recipe, which has nothing to prove on fresh bars
                 (`gate.challenge`), it is the newest such version of another recipe. An operator may pin any version in its
                 place, which then stays until it reigns or is unpinned. Where nobody reigns there is no shadow.

A rejected version is recorded and moves no pointer. Every move is a line of the journal: one line moves all the pointers that
it moves at once. `standing` tells who reigns since when; `retention` says which versions may lose their files.
"""

from crp_pipeline.chain import NO_ENTRY
from crp_pipeline.registry.candidate import fingerprint, fingerprint_of, gather
from crp_pipeline.registry.card import recipe_of
from crp_pipeline.registry.journal import NOBODY, Entry
from crp_pipeline.registry.registry import Registry
from crp_pipeline.registry.standing import Standing, champion_of, ledger_head_of, standing, version_judged
from crp_pipeline.registry.state import Pointers, Reign, State

__all__ = [
    "NOBODY",
    "NO_ENTRY",
    "Entry",
    "Pointers",
    "Registry",
    "Reign",
    "Standing",
    "State",
    "champion_of",
    "fingerprint",
    "fingerprint_of",
    "gather",
    "ledger_head_of",
    "recipe_of",
    "standing",
    "version_judged",
]
