"""What a night is: its phases, what of it has been run, and what it needs next.

Candles of every coin, then market and controls, then one run per coin, then the summary. A coin whose candles fail is left out
of its night and holds up nobody; when the market fails nobody trains, and the summary follows at once. When the controls fail
every coin trains and is judged without them, which promotes nothing that they did not vouch for before. A run that was canceled
has ended as one that failed has. A night is told by the tag `crp/night`, its date: runs launched by hand have none and are none
of its business, while one that is re-executed keeps its tags and takes the place of the one before. The latest night
is that of the latest date, whichever run was asked for last.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg

from crp_pipeline.defs.turn import PARTITION

NIGHT, PHASE = "crp/night", "crp/phase"
COINS = "crp/coins"
"""Tag of the first run of a night: the coins that candles are asked for of, so that none is waited for that was added since."""
WILL_RETRY, RETRIED_BY = "dagster/will_retry", "dagster/auto_retry_run_id"
"""Tags by which Dagster says that a crashed run will be repeated, and then by which run."""
PHASES = ("nightly_candles", "nightly_market", "nightly_controls", "nightly", "nightly_summary")
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
STILL_GOING = [status for status in dg.DagsterRunStatus if status not in ENDED]

Runs = Mapping[tuple[str, str | None], dg.DagsterRun]
"""The latest run of each phase and coin, in the order in which they were asked for."""


def next_requests(instance: dg.DagsterInstance, coins: Sequence[str]) -> list[dg.RunRequest]:
    """What the latest night needs now: nothing while a run goes on, a coin's first is still to come, or all is done."""
    night, runs = _latest_night(instance)
    candles, market, controls, corridor, _ = (
        {coin: run for (of, coin), run in runs.items() if of == phase} for phase in PHASES
    )
    if not _asked_for(coins, candles.values()) <= set(candles) or not all(map(_has_ended, runs.values())):
        return []
    with_candles = [coin for coin in coins if coin in candles and candles[coin].status is dg.DagsterRunStatus.SUCCESS]
    to_come = [phase for phase, found in zip(PHASES[1:3], (market, controls), strict=True) if not found]
    if with_candles and to_come:
        return [request for phase in to_come for request in requests_of(phase, night, [None])]
    has_market = any(run.status is dg.DagsterRunStatus.SUCCESS for run in market.values())
    waiting = [coin for coin in with_candles if has_market and coin not in corridor]
    if waiting:
        return requests_of(PHASES[3], night, waiting)
    return _summary_request(night, runs)


def _asked_for(coins: Sequence[str], candles: Iterable[dg.DagsterRun]) -> set[str]:
    """The configured coins that belong to the night; all of them where no run says which do."""
    told = [run.tags[COINS] for run in candles if COINS in run.tags]
    return set(coins) & set(json.loads(told[0])) if told else set(coins)


def _has_ended(run: dg.DagsterRun) -> bool:
    """Whether a run is over; one that crashed and will be repeated is not, until the repetition takes its place."""
    is_repeated = run.tags.get(WILL_RETRY) == "true" and RETRIED_BY not in run.tags
    return run.status in ENDED and not is_repeated


def _summary_request(night: str, runs: Runs) -> list[dg.RunRequest]:
    """The summary; once more where a coin's run was repeated since, under a key of its own."""
    summary, latest = (PHASES[4], None), list(runs)[-1]
    if latest == summary:
        return []
    [request] = requests_of(PHASES[4], night, [None])
    anew = {"run_key": f"{request.run_key} after {runs[latest].run_id}"} if summary in runs else {}
    return [request.with_replaced_attrs(**anew)]


def unfinished(instance: dg.DagsterInstance, *, limit: timedelta, now: datetime) -> tuple[str, list[dg.DagsterRun]]:
    """Date of the latest night and its runs that go on; one that began longer ago than `limit` is taken for dead.

    A run that waits in the queue goes on however long it has waited.
    """
    night, _ = _latest_night(instance)
    filters = dg.RunsFilter(tags={NIGHT: night}, statuses=STILL_GOING)
    records = instance.get_run_records(filters) if night else []
    alive = [it for it in records if it.start_time is None or now.timestamp() - it.start_time <= limit.total_seconds()]
    return night, [record.dagster_run for record in alive]


def first_requests(night: str, coins: Sequence[str]) -> list[dg.RunRequest]:
    """The runs that a night begins with: candles of every coin."""
    requests = requests_of(PHASES[0], night, coins)
    told = {COINS: json.dumps(list(coins))}
    return [*(it.with_replaced_attrs(tags={**it.tags, **told}) for it in requests[:1]), *requests[1:]]


def requests_of(phase: str, night: str, coins: Sequence[str | None]) -> list[dg.RunRequest]:
    """One run per coin, or the one of all coins."""
    return [
        dg.RunRequest(
            run_key=f"{night} {phase} {coin or 'all'}",
            job_name=phase,
            partition_key=coin,
            tags={NIGHT: night, PHASE: phase},
        )
        for coin in coins
    ]


def _latest_night(instance: dg.DagsterInstance) -> tuple[str, Runs]:
    """Date of the latest night, and the latest run of each of its phases and coins."""
    nights = dict(instance.get_run_tags([NIGHT])).get(NIGHT)
    if not nights:
        return "", {}
    night, runs = max(nights), dict[tuple[str, str | None], dg.DagsterRun]()
    for run in reversed(instance.get_runs(dg.RunsFilter(tags={NIGHT: night}))):
        key = (run.tags[PHASE], run.tags.get(PARTITION))
        runs.pop(key, None)
        runs[key] = run
    return night, runs
