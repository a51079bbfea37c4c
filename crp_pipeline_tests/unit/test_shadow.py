"""Fresh decisions: who decides which bars, what is written down, and what of it counts."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.contracts import CHALLENGER, CHAMPION, PROBABILITIES, FreshDecisionSchema, check_frame
from crp_pipeline.ensemble import Stack
from crp_pipeline.errors import BundleError, DataContractError, RegistryError
from crp_pipeline.features import CATALOG
from crp_pipeline.gate import Outcome
from crp_pipeline.gate.challenge import Contender, challenge_evidence
from crp_pipeline.metrics import mixture_e_value
from crp_pipeline.models import MODEL_CLASSES, load_bundle, samples_of
from crp_pipeline.registry import Registry, champion_of, fingerprint, fingerprint_of, gather, standing
from crp_pipeline.shadow import (
    ShadowLog,
    can_read,
    columns_id,
    decide_fresh_bars,
    fresh_bars,
    fresh_frame,
    load_version,
)
from crp_pipeline.storage import MANIFEST, read_parquet, seal, write_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.shadows import (
    COIN,
    HORIZON,
    KNOWS_NOTHING,
    KNOWS_SOME,
    NIGHT,
    NOW,
    candidate,
    market,
    register,
    shadows_exist,
    verdict,
)

LEARNED = 720
"""Bars of the market that the versions learned from."""
MARKET = market(LEARNED + 30 * NIGHT, seed=1, strength=1.0)
A, B = "a-set-1", "b-set-1"
"""Recipes of the champion and of the challenger, with their features."""


@pytest.fixture(scope="module", autouse=True)
def shadows():
    with pytest.MonkeyPatch.context() as patch:
        shadows_exist(patch)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A candidate that knows nothing and one that knows some, of the first `LEARNED` bars."""
    known, root = MARKET.until(LEARNED), tmp_path_factory.mktemp("trained")
    return candidate(known, root / "nothing", *KNOWS_NOTHING), candidate(known, root / "some", *KNOWS_SOME)


@pytest.fixture
def book(tmp_path):
    return Registry(tmp_path / "registry")


@pytest.fixture
def log(tmp_path):
    return ShadowLog(tmp_path / "shadow" / COIN)


@pytest.fixture
def crowned(book, trained):
    """(champion, shadow): who knows nothing reigns, who knows some runs in the shadow."""
    nothing, some = trained
    return register(book, nothing, Outcome.PROMOTE, recipe="a"), register(book, some, Outcome.SHADOW, recipe="b")


def night(book, log, number, *, of=MARKET, ready=None):
    """The `number`-th night after the versions learned."""
    known = of.until(LEARNED + number * NIGHT)
    ready = known.ready if ready is None else ready[: len(known.features)]
    return decide_fresh_bars(book, COIN, known.features, ready=ready, interval="1h", log=log, now=NOW + timedelta(days=number))


def lines(log_folder):
    return (log_folder / COIN / "decisions.jsonl").read_bytes().splitlines(keepends=True)


# versions that decide


def test_a_version_decides_what_its_models_and_its_stack_say(book, crowned):
    version = load_version(book, COIN, crowned[1])
    folder, times = book.folder(COIN, crowned[1]), MARKET.candles.index[LEARNED + 5 : LEARNED + 40]
    forecasts = {}
    for name in version.stack.models:
        model, card = load_bundle(folder / "models" / name)
        shown = samples_of(MARKET.features[card["features"]]).take(np.arange(LEARNED + 5, LEARNED + 40))
        forecasts[name] = pd.DataFrame(model.probabilities(shown), index=times, columns=list(PROBABILITIES))
    expected = Stack.load(folder / "stack.json").decide(forecasts)
    assert_frame_equal(version.decide(MARKET.features, times), expected, rtol=0, atol=1e-12)
    assert expected["confidence"].notna().all()


def test_a_version_knows_until_the_last_bar_of_the_night_that_made_it(book, crowned):
    assert {load_version(book, COIN, name).knows_until for name in crowned} == {MARKET.candles.index[LEARNED - 1]}


def test_the_decisions_that_a_version_kept_tell_what_it_knows_even_if_its_stack_does_not(book, trained, tmp_path):
    models, stack, decisions = trained[0]
    document = json.loads(stack.read_text())
    for member in document["members"]:
        member["in_office_from"] = member["learned_until"] = str(MARKET.candles.index[400])
    (tmp_path / "early.json").write_text(json.dumps(document))
    version = register(book, (models, tmp_path / "early.json", decisions), Outcome.PROMOTE, recipe="a")
    assert load_version(book, COIN, version).knows_until == MARKET.candles.index[LEARNED - 1]


@pytest.mark.parametrize("bar", [0, 500, LEARNED - HORIZON - 1, LEARNED - 1])
def test_a_version_refuses_a_bar_that_it_may_have_learned_from(book, crowned, bar):
    version = load_version(book, COIN, crowned[0])
    with pytest.raises(DataContractError, match=rf"version {crowned[0]} knows bars until .* and must not decide"):
        version.decide(MARKET.features, MARKET.candles.index[bar : LEARNED + 3])


def test_an_altered_version_decides_nothing(book, log, crowned):
    (book.folder(COIN, crowned[1]) / "models" / "logistic" / "golden.npz").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"logistic/golden\.npz has been altered"):
        night(book, log, 1)
    assert log.read() == []


# night after night


def test_without_a_champion_there_is_an_empty_frame_of_the_schema(book, log, trained):
    register(book, trained[1], Outcome.SHADOW, recipe="b")
    fresh = night(book, log, 1)
    assert (len(fresh.decisions), fresh.added, log.read()) == (0, 0, [])
    check_frame(fresh.decisions, FreshDecisionSchema, what="nothing")
    assert standing(book, COIN) is None
    assert champion_of(book, COIN) is None


def test_every_night_both_decide_the_bars_that_have_come(book, log, crowned):
    champion, shadow = crowned
    for number in (1, 2, 3):
        fresh = night(book, log, number)
        assert fresh.added == 2 * NIGHT
        assert fresh.silent == {}
    for role, name, recipe in ((CHAMPION, champion, A), (CHALLENGER, shadow, B)):
        own = fresh.decisions[fresh.decisions["role"] == role]
        assert list(own["open_time"]) == list(MARKET.candles.index[LEARNED : LEARNED + 3 * NIGHT])
        assert (set(own["version"]), set(own["recipe"])) == ({name}, {recipe})
        expected = load_version(book, COIN, name).decide(MARKET.features, pd.DatetimeIndex(own["open_time"]))
        told = ["signal", *PROBABILITIES, "confidence"]
        np.testing.assert_allclose(own[told].to_numpy(float), expected[told].to_numpy(float), rtol=0, atol=1e-12)
    assert [line.at for line in log.read()] == [f"2024-02-0{day}T00:15:00+00:00" for day in (1, 2, 3)]


def test_a_bar_that_had_closed_when_a_version_was_registered_is_not_fresh_to_it(book, log, trained):
    """Its training ended thirty hours before it was registered, in which anybody could have looked at the market."""
    late = NOW + timedelta(hours=30)
    register(book, trained[0], Outcome.PROMOTE, recipe="a")
    shadow = register(book, trained[1], Outcome.SHADOW, recipe="b", now=late)
    own = night(book, log, 3).decisions.query("role == 'challenger'")
    assert list(own["open_time"]) == list(MARKET.candles.index[LEARNED + 30 : LEARNED + 3 * NIGHT])
    assert own["open_time"].iloc[0] + pd.Timedelta("1h") > load_version(book, COIN, shadow).registered == late
    register(book, trained[1], Outcome.SHADOW, recipe="b", now=late + timedelta(days=9))
    assert load_version(book, COIN, shadow).registered == late, "whoever is registered again is no younger"


def test_a_night_that_is_run_again_adds_nothing(book, log, crowned):
    night(book, log, 1)
    before = lines(log._folder.parent)
    assert night(book, log, 1).added == 0
    assert lines(log._folder.parent) == before


def test_a_bar_keeps_the_first_decision_that_was_taken_about_it(book, log, crowned):
    first = night(book, log, 1).decisions
    restated = market(LEARNED + 30 * NIGHT, seed=9)
    later = night(book, log, 2, of=restated).decisions
    assert_frame_equal(later.iloc[: len(first)], first)
    assert len(later) == 2 * len(first)


def test_without_a_shadow_the_champion_decides_alone(book, log, trained):
    register(book, trained[0], Outcome.PROMOTE, recipe="a")
    fresh = night(book, log, 1)
    assert set(fresh.decisions["role"]) == {CHAMPION}
    assert fresh.silent == {CHALLENGER: "there is none"}


def test_a_shadow_does_not_decide_the_bars_before_it_came(book, log, trained):
    """Its training ended long before, and nobody may say afterwards what it would have done."""
    register(book, trained[0], Outcome.PROMOTE, recipe="a")
    night(book, log, 3)
    register(book, trained[1], Outcome.SHADOW, recipe="b")
    own = night(book, log, 4).decisions.query("role == 'challenger'")
    assert list(own["open_time"]) == list(MARKET.candles.index[LEARNED + 3 * NIGHT : LEARNED + 4 * NIGHT])


def test_a_bar_that_is_not_ready_is_not_decided(book, log, crowned):
    ready = MARKET.ready.copy()
    ready[LEARNED + 3 : LEARNED + 7] = False
    assert night(book, log, 1, ready=ready).added == 2 * (NIGHT - 4)


def test_a_version_of_other_features_is_silent_and_says_why(book, log, trained, crowned):
    shadow = register(book, trained[1], Outcome.SHADOW, recipe="b", feature_set_id="set-0")
    fresh = night(book, log, 1)
    assert set(fresh.decisions["role"]) == {CHAMPION}
    assert fresh.silent == {CHALLENGER: f"version {shadow} learned from features that are no longer computed as they were"}


def test_a_champion_that_cannot_read_todays_features_is_flat_and_can_be_followed(book, log, trained, tmp_path):
    """Or nobody of another recipe, which every candidate of tonight is, could ever be held against it."""
    champion = register(book, trained[0], Outcome.PROMOTE, recipe="a", feature_set_id="set-0")
    register(book, trained[1], Outcome.SHADOW, recipe="b")
    for number in (1, 2):
        fresh = night(book, log, number)
    own, flat = (fresh.decisions.query("role == @role") for role in (CHALLENGER, CHAMPION))
    assert fresh.silent == {CHAMPION: f"version {champion} learned from features that are no longer computed as they were"}
    assert sorted(flat["open_time"]) == sorted(own["open_time"]) == list(MARKET.candles.index[LEARNED : LEARNED + 2 * NIGHT])
    assert (flat["signal"] == 0).all()
    assert flat[[*PROBABILITIES, "confidence"]].isna().to_numpy().all()
    settings, known = (
        small_settings(tmp_path, horizon=HORIZON, labels={"volatility_window": 20}),
        MARKET.until(LEARNED + 2 * NIGHT),
    )
    told = (fresh.decisions, known.candles, known.labels, settings)
    assert challenge_evidence(Contender(B, None), champion_of(book, COIN), *told)["fresh_rounds"] == 2


def forget(monkeypatch, *model_types):
    """Bundles of these types are of a later version of this package."""
    known = {name: kind for name, kind in MODEL_CLASSES.items() if name not in model_types}
    monkeypatch.setattr("crp_pipeline.models.bundle.MODEL_CLASSES", known)


@pytest.mark.parametrize("seat", [CHAMPION, CHALLENGER])
def test_a_version_that_loads_no_more_is_silent_says_why_and_blocks_nobody(book, log, crowned, monkeypatch, seat):
    version, model_type = dict(zip((CHAMPION, CHALLENGER), zip(crowned, ("prior", "lightgbm"), strict=True), strict=True))[seat]
    forget(monkeypatch, model_type)
    fresh = night(book, log, 1)
    assert list(fresh.silent) == [seat]
    assert fresh.silent[seat].startswith(f"version {version} no longer loads: ")
    assert fresh.silent[seat].endswith(f"holds a '{model_type}' model, which this version does not know")
    told = fresh.decisions.query("role == @seat")
    assert len(fresh.decisions) - len(told) == NIGHT, "the other decides as ever"
    assert len(told) == (NIGHT if seat == CHAMPION else 0)
    assert (told["signal"] == 0).all()
    assert told["confidence"].isna().all()


def test_a_version_whose_answers_are_others_than_when_it_was_stored_is_silent(book, log, crowned, monkeypatch):
    kind = MODEL_CLASSES["lightgbm"]
    answer = kind.predict
    monkeypatch.setattr(kind, "predict", lambda self, X: answer(self, X)[:, ::-1])
    assert "answers its golden inputs differently" in night(book, log, 1).silent[CHALLENGER]


def test_a_stack_of_a_form_that_is_no_longer_known_is_silent(book, log, crowned, monkeypatch):
    monkeypatch.setattr(Stack, "load", lambda path: json.loads(path.read_text())["of tomorrow"])
    assert set(night(book, log, 1).silent) == {CHAMPION, CHALLENGER}


@pytest.mark.parametrize("seat", [0, 1])
def test_altered_bytes_of_a_version_stay_an_error_even_where_it_would_load_no_more(book, log, crowned, monkeypatch, seat):
    forget(monkeypatch, "prior", "lightgbm")
    stack = book.folder(COIN, crowned[seat]) / "stack.json"
    stack.write_bytes(stack.read_bytes() + b" ")
    with pytest.raises(BundleError, match="altered since the manifest was made"):
        night(book, log, 1)
    assert log.read() == []


def test_a_version_reads_another_feature_set_in_which_its_own_columns_mean_the_same(tmp_path):
    bundle = tmp_path / "models" / "prior"
    (bundle / "a.txt").parent.mkdir(parents=True)
    seal(bundle, {"features": [CATALOG[3].name, CATALOG[1].name]})
    known = columns_id(tmp_path)
    assert len(known) == 16
    assert can_read({"feature_set_id": "old", "columns_id": known}, tmp_path, "of today")
    assert not can_read({"feature_set_id": "old", "columns_id": "of another definition"}, tmp_path, "of today")
    assert not can_read({"feature_set_id": "old"}, tmp_path, "of today")
    seal(bundle, {"features": [CATALOG[3].name, "gone"]})
    assert columns_id(tmp_path) == ""
    assert not can_read({"feature_set_id": "old", "columns_id": known}, tmp_path, "of today")
    assert not can_read({"feature_set_id": "old", "columns_id": ""}, tmp_path, "of today")


# who counts


def test_the_shadow_is_the_latest_good_version_of_another_recipe(book, trained):
    nothing, some = trained
    champion = register(book, nothing, Outcome.PROMOTE, recipe="a")
    assert standing(book, COIN).shadow is None
    register(book, some, Outcome.SHADOW, recipe="b")
    latest = register(book, some, Outcome.SHADOW, recipe="c")
    register(book, some, Outcome.SHADOW, recipe="a")
    register(book, some, Outcome.REJECT, recipe="d")
    found = standing(book, COIN)
    assert (found.champion, found.recipe, found.shadow, found.shadow_recipe) == (champion, A, latest, "c-set-1")


def test_a_shadow_is_not_told_as_rejected(book, crowned):
    champion, shadow = crowned
    assert [(entry.action, entry.version) for entry in book.history(COIN)] == [
        ("register", champion),
        ("promote", champion),
        ("register", shadow),
    ]
    assert book.history(COIN)[-1].reason.startswith("SHADOW: champion_margin is -19")
    with pytest.raises(RegistryError, match="cannot be promoted on a verdict of SHADOW"):
        book.promote(COIN, shadow, verdict(Outcome.SHADOW))


def test_a_refreshed_model_carries_the_reign_on_and_another_recipe_begins_one(book, trained):
    nothing, some = trained
    reigns = []
    for recipe, night_number in (("a", 0), ("a", 1), ("b", 2), ("b", 3), ("a", 4)):
        register(book, nothing if recipe == "a" else some, Outcome.PROMOTE, recipe=recipe, night=night_number)
        reigns.append(standing(book, COIN).reign)
    assert reigns == [2, 2, 6, 6, 10]


def test_a_rollback_to_the_same_recipe_begins_a_reign_too(book, trained):
    for night_number in (0, 1):
        register(book, trained[0], Outcome.PROMOTE, recipe="a", night=night_number)
    before = standing(book, COIN).reign
    book.rollback(COIN)
    assert (before, standing(book, COIN).reign) == (2, len(book.history(COIN)))


def test_a_rollback_begins_a_reign_and_what_was_decided_before_does_not_count(book, log, trained):
    nothing, some = trained
    first = register(book, nothing, Outcome.PROMOTE, recipe="a")
    register(book, some, Outcome.SHADOW, recipe="b")
    night(book, log, 2)
    register(book, some, Outcome.PROMOTE, recipe="b", night=2)
    night(book, log, 3)
    assert book.rollback(COIN) == first
    fresh = night(book, log, 4).decisions
    assert list(fresh["open_time"].unique()) == list(MARKET.candles.index[LEARNED + 3 * NIGHT : LEARNED + 4 * NIGHT])
    assert set(fresh["reign"]) == {len(book.history(COIN))}
    assert (set(fresh.query("role == 'champion'")["recipe"]), set(fresh.query("role == 'challenger'")["recipe"])) == ({A}, {B})
    assert len(log.read()) == 3


def test_a_challenger_that_knows_more_is_proved_night_by_night_and_the_e_value_is_the_one_of_its_rounds(
    book, log, crowned, tmp_path
):
    settings = small_settings(tmp_path, horizon=HORIZON, labels={"volatility_window": 20})
    values = []
    for number in range(1, 31):
        fresh, known = night(book, log, number).decisions, MARKET.until(LEARNED + number * NIGHT)
        if number % 5:
            continue
        tonight = Contender(B, champion_of(book, COIN).decisions)
        found = challenge_evidence(tonight, champion_of(book, COIN), fresh, known.candles, known.labels, settings)
        values.append(found["e_value"])
        assert found["e_value"] == mixture_e_value(int(found["fresh_wins"]), int(found["fresh_pairs"]))
        assert (found["has_champion"], found["same_recipe"], found["fresh_rounds"]) == (1, 0, number)
    assert (values[-1] >= 20) == (found["champion_margin"] >= 0)
    assert values[-1] > 20 > values[0]


# the log


@pytest.fixture
def written(book, log, crowned, tmp_path):
    """A log of three nights, and its file."""
    for number in (1, 2, 3):
        night(book, log, number)
    return log, tmp_path / "shadow" / COIN / "decisions.jsonl"


def test_a_frame_comes_back_as_it_was_written(written):
    log, _ = written
    frame = log.decisions(2)
    assert len(frame) == 3 * 2 * NIGHT
    check_frame(frame, FreshDecisionSchema, what="the log")
    assert log.decisions(1).empty


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_altered_line_is_named(written, number):
    log, path = written
    told = path.read_bytes().splitlines(keepends=True)
    assert b'"signal": 1' in told[number - 1] or b'"signal": 0' in told[number - 1] or b'"signal": -1' in told[number - 1]
    told[number - 1] = told[number - 1].replace(b'"open_time": "2024', b'"open_time": "2025', 1)
    path.write_bytes(b"".join(told))
    place = "ends after line 3" if number == 3 else f"line {number + 1} of the log of fresh decisions does not follow"
    with pytest.raises(DataContractError, match=f"{COIN}: .*{place}"):
        log.read()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_line_is_named(written, number):
    log, path = written
    told = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(told[: number - 1] + told[number:]))
    place = "ends after line 2" if number == 3 else f"line {number} of the log of fresh decisions does not follow"
    with pytest.raises(DataContractError, match=f"{COIN}: .*{place}"):
        log.read()


def test_a_line_that_is_none_is_named(written):
    log, path = written
    path.write_bytes(path.read_bytes().replace(b'"decisions"', b'"opinions"', 1))
    with pytest.raises(DataContractError, match=r"line 1 of the log of fresh decisions cannot be read"):
        log.read()


def test_nothing_is_written_onto_a_damaged_log(written, book):
    log, path = written
    path.write_bytes(path.read_bytes().replace(b"2024-02-01", b"2024-02-09", 1))
    before = path.read_bytes()
    with pytest.raises(DataContractError):
        night(book, log, 4)
    assert path.read_bytes() == before


def test_a_write_that_was_cut_off_is_finished_or_dropped(written, book):
    log, path = written
    head = path.with_name("decisions.head")
    whole, before = path.read_bytes(), head.read_text()
    path.write_bytes(whole + b'{"at": "2024-')
    assert len(log.read()) == 3
    assert night(book, log, 4).added == 2 * NIGHT
    assert path.read_bytes().startswith(whole)
    head.write_text(before)
    assert night(book, log, 5).added == 2 * NIGHT
    assert len(log.read()) == 5


def append_in_turn(folder):
    frame = fresh_frame(
        {
            "open_time": pd.Timestamp("2024-06-01", tz="UTC") + pd.Timedelta(hours=hour),
            "role": CHAMPION,
            "recipe": A,
            "version": "v",
            "reign": 2,
            "signal": 1,
            "confidence": None,
            **dict.fromkeys(PROBABILITIES),
        }
        for hour in range(3)
    )
    for _ in range(4):
        ShadowLog(folder).append(2, frame, now=NOW)


def test_runs_that_write_at_once_write_each_bar_once(tmp_path):
    with ThreadPoolExecutor(3) as writers:
        list(writers.map(append_in_turn, [tmp_path / COIN] * 3))
    assert len(ShadowLog(tmp_path / COIN).decisions(2)) == 3
    assert len(ShadowLog(tmp_path / COIN).read()) == 1


def test_a_bar_without_a_decision_is_written_down_as_undecided(tmp_path):
    append_in_turn(tmp_path / COIN)
    frame = ShadowLog(tmp_path / COIN).decisions(2)
    assert frame[["confidence", *PROBABILITIES]].isna().all(axis=None)


def test_fresh_bars_begin_after_all_that_is_known_and_all_that_was_decided(book, crowned):
    version, times = load_version(book, COIN, crowned[0]), MARKET.candles.index
    assert list(fresh_bars(version, MARKET.features, interval="1h", ready=MARKET.ready)) == list(times[LEARNED:])
    assert list(fresh_bars(version, MARKET.features, interval="1h", ready=MARKET.ready, after=times[3])) == list(
        times[LEARNED:]
    )
    assert list(fresh_bars(version, MARKET.features, interval="1h", ready=MARKET.ready, after=times[LEARNED + 9])) == list(
        times[LEARNED + 10 :]
    )


# decisions are part of a version


def test_a_version_keeps_what_it_decided_out_of_fold(book, crowned, trained):
    kept = champion_of(book, COIN)
    assert_frame_equal(kept.decisions, read_parquet(trained[0][2]))
    assert (kept.recipe, kept.reign) == (A, 2)


def test_a_champion_that_kept_no_decisions_has_none(book, trained):
    models, stack, _ = trained[0]
    register(book, (models, stack, None), Outcome.PROMOTE, recipe="a")
    assert champion_of(book, COIN).decisions is None


def test_the_fingerprint_changes_with_the_decisions(trained, tmp_path):
    models, stack, decisions = trained[0]
    other = read_parquet(decisions).assign(signal=0)
    write_parquet(tmp_path / "other.parquet", other)
    found = {fingerprint(models, stack, decisions=path) for path in (None, decisions, tmp_path / "other.parquet")}
    assert len(found) == 3
    folder = gather(models, stack, tmp_path / "gathered", decisions=decisions)
    assert fingerprint_of(folder) == fingerprint(models, stack, decisions=decisions)
    (folder / "decisions.parquet").unlink()
    assert fingerprint_of(folder) == fingerprint(models, stack)


def test_a_card_alone_is_proved_by_the_name_of_its_version(book, crowned):
    assert book.card_alone(COIN, crowned[0]) == book.card(COIN, crowned[0])
    manifest = book.folder(COIN, crowned[0]) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"recipe": "a"', '"recipe": "b"'))
    with pytest.raises(RegistryError, match="no version"):
        book.card_alone(COIN, crowned[0])
    with pytest.raises(RegistryError, match="no version"):
        book.card_alone(COIN, "0" * 16)
