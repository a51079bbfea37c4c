"""Every evaluation that could have influenced which model is chosen, per coin: only ever appended, and hash-chained.

    <root>/<coin>/trials.jsonl             one line per event of evaluation, each carrying the hash of the one before
    <root>/<coin>/trials.head              hash of the last line
    <root>/<coin>/returns/<hash>.parquet   daily net returns of an event's trials (UTC days x trials), named by its content
    <root>/<coin>/aside/<moment>/          a damaged ledger in whose place another was begun

The best of many trials looks good by luck, and how good depends on how many there were: `Ledger` keeps them, `count` says how
many they are, `Trial` what one is, `recipe` what a user could have varied.

A trial is what could become a version of the coin: what is trained, stacked or compared by the assets of the corridor, by
night or by hand. `crp train` and `train_on_history` learn from a file of the user's and leave nothing that a gate ever judges:
they are no trials, and neither is `crp evaluate`, which reads again what a model's asset has already told. Whoever tries a
hundred settings on a file of the coin's own candles and carries the best one into the settings has made a hundred choices that
no ledger can see.
"""

from crp_pipeline.ledger.count import Trials, counted
from crp_pipeline.ledger.event import Anew, Event, Look
from crp_pipeline.ledger.ledger import Ledger, Reading, check_returns
from crp_pipeline.ledger.recipe import ensemble_trial, model_trial, rule_trial, shared_facts
from crp_pipeline.ledger.trial import Trial, flat

__all__ = [
    "Anew",
    "Event",
    "Ledger",
    "Look",
    "Reading",
    "Trial",
    "Trials",
    "check_returns",
    "counted",
    "ensemble_trial",
    "flat",
    "model_trial",
    "rule_trial",
    "shared_facts",
]
