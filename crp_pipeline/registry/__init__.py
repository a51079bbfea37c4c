"""Who is champion of which coin, and every version that ever was.

    <root>/<coin>/versions/<version>/   immutable, named after its content
    <root>/<coin>/champion.json         one pointer, replaced atomically
    <root>/<coin>/journal.jsonl         append-only, each line carrying the hash of the one before
    <root>/<coin>/journal.head          hash of the last line, so that a journal cut short is noticed

Only a PROMOTE verdict that the version itself carries can move the pointer; a rejected version is recorded and changes nothing.
`standing` tells who reigns since when, and which version decides in the champion's shadow.
"""

from crp_pipeline.chain import NO_ENTRY
from crp_pipeline.registry.candidate import fingerprint, fingerprint_of, gather
from crp_pipeline.registry.journal import Entry
from crp_pipeline.registry.registry import NOBODY, Registry
from crp_pipeline.registry.standing import Standing, champion_of, ledger_head_of, recipe_of, standing, version_judged

__all__ = [
    "NOBODY",
    "NO_ENTRY",
    "Entry",
    "Registry",
    "Standing",
    "champion_of",
    "fingerprint",
    "fingerprint_of",
    "gather",
    "ledger_head_of",
    "recipe_of",
    "standing",
    "version_judged",
]
