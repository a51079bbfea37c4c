"""Signals: the champion's decision on the newest closed bar, what became of it, and where bots read it.

    newest -> champion -> decision -> log -> outcomes
                                   -> store (files, Redis)
                                   -> server (HTTP)

`desk` puts them together for all coins, `follow` keeps one open, bar after bar; `signal` is the value that travels. A decision
is made once, written down, and every reader (`crp predict`, `crp serve`, the online store) is told the same one.
"""

from crp_pipeline.signals.champion import Champion, Seat, has_champion, made_ready
from crp_pipeline.signals.decision import Inputs, decide, live_features
from crp_pipeline.signals.desk import Desk, Visit
from crp_pipeline.signals.follow import Follower, until_asked_to_end
from crp_pipeline.signals.log import SignalLog, logged_coins
from crp_pipeline.signals.newest import newest_inputs, newest_open, settle_s, unsettled_s
from crp_pipeline.signals.outcomes import live_numbers, outcome_frame, score
from crp_pipeline.signals.signal import Signal
from crp_pipeline.signals.store import FileStore, Newest, RedisStore, put_online

__all__ = [
    "Champion",
    "Desk",
    "FileStore",
    "Follower",
    "Inputs",
    "Newest",
    "RedisStore",
    "Seat",
    "Signal",
    "SignalLog",
    "Visit",
    "decide",
    "has_champion",
    "live_features",
    "live_numbers",
    "logged_coins",
    "made_ready",
    "newest_inputs",
    "newest_open",
    "outcome_frame",
    "put_online",
    "score",
    "settle_s",
    "unsettled_s",
    "until_asked_to_end",
]
