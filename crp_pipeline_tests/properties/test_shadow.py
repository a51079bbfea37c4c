"""Whatever the nights bring, the log grows at its end, keeps first decisions and shows any byte that was changed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.contracts import CHALLENGER, CHAMPION
from crp_pipeline.errors import DataContractError
from crp_pipeline.shadow import ShadowLog, fresh_frame

START = pd.Timestamp("2024-01-01", tz="UTC")


def frame(first, n_bars, seed, *, roles=(CHAMPION, CHALLENGER), reign=1):
    rng = np.random.default_rng(seed)
    return fresh_frame(
        {
            "open_time": START + pd.Timedelta(hours=first + bar),
            "role": role,
            "recipe": role,
            "version": f"v{seed}",
            "reign": reign,
            "signal": int(rng.integers(-1, 2)),
            "p_short": rng.random(),
            "p_neutral": rng.random(),
            "p_long": rng.random(),
            "confidence": rng.random() if rng.random() < 0.9 else None,
        }
        for role in roles
        for bar in range(n_bars)
    )


nights = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.integers(0, 99)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(told=nights)
def test_a_log_keeps_the_first_decision_on_each_bar_and_rewrites_no_byte(told, tmp_path_factory):
    log, kept, before = ShadowLog(tmp_path_factory.mktemp("log")), {}, b""
    for first, n_bars, seed in told:
        made = frame(first, n_bars, seed)
        newest = max(kept, default=START - pd.Timedelta(days=1))
        fresh = made[made["open_time"] > newest]
        assert log.append(1, made) == len(fresh)
        kept |= dict.fromkeys(fresh["open_time"], f"v{seed}")
        path = log._folder / "decisions.jsonl"
        now = path.read_bytes() if path.exists() else b""
        assert now.startswith(before)
        before = now
    found = log.decisions(1)
    assert len(found) == 2 * len(kept)
    assert dict(zip(found["open_time"], found["version"], strict=True)) == kept


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_any_byte_that_is_changed_or_missing_is_noticed(place, flip, cut, tmp_path_factory):
    log = ShadowLog(tmp_path_factory.mktemp("log"))
    for night in range(3):
        log.append(1, frame(2 * night, 2, night))
    path = log._folder / "decisions.jsonl"
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + (b"" if cut else bytes([whole[at] ^ flip])) + whole[at + 1 :])
    with pytest.raises(DataContractError):
        log.read()
