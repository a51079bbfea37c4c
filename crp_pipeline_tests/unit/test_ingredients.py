"""What a version is made again from: kept once, found by its hash, and gone with the last version that names it."""

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crp_pipeline.errors import DataContractError
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import ingredients
from crp_pipeline.registry.ingredients import (
    TABLES,
    TableStore,
    TableTold,
    find_table,
    ingredients_told,
    keep_ingredients,
    prune_ingredients,
)
from crp_pipeline.storage import frame_hash, write_parquet
from crp_pipeline_tests.registered_version import version_settings

COIN, OTHER = "BTC-USDT", "ETH-USDT"


def bars(n, *, start="2024-01-01", seed=0):
    """The first bars of a history that goes on for as long as anybody asks."""
    times = pd.date_range(start, periods=n, freq="5min", tz="UTC", name="open_time").as_unit("ns")
    values = np.random.default_rng(seed).normal(100, 1, (n, 5)).round(2)
    table = pd.DataFrame(values, index=times, columns=["open", "high", "low", "close", "volume"])
    return table.assign(is_repaired=False, segment=np.zeros(n, dtype=np.int64))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(ingredients, "ROWS_PER_CHUNK", 64)


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "store")


def chunks(store):
    return {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.parquet")}


# one store


@hypothesis.settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 300), start=st.integers(0, 200))
def test_what_is_kept_is_found_again_to_the_bit(tmp_path_factory, n, start):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingredients, "ROWS_PER_CHUNK", 32)
        store, table = TableStore(tmp_path_factory.mktemp("store")), bars(600).iloc[start : start + n]
        store.keep(table)
        pd.testing.assert_frame_equal(store.find(frame_hash(table)), table, check_exact=True, check_freq=False)


def test_a_gap_a_missing_value_and_a_flag_survive(store, small_chunks):
    table = bars(300).drop(index=bars(300).index[70:150])
    table.loc[table.index[10], "volume"] = np.nan
    table.loc[table.index[20], "is_repaired"] = True
    store.keep(table)
    assert frame_hash(store.find(frame_hash(table))) == frame_hash(table)


@pytest.mark.usefixtures("small_chunks")
def test_a_night_adds_its_last_chunks_alone(store):
    store.keep(bars(640))
    before = chunks(store)
    store.keep(bars(650))
    after = chunks(store)
    assert {name: after[name] for name in before} == before, "nothing is written twice"
    assert len(after) - len(before) == 1
    for n in (640, 650):
        table = bars(650).iloc[:n]
        store.keep(table)
        assert store.find(frame_hash(table)) is not None


@pytest.mark.usefixtures("small_chunks")
def test_a_restated_bar_and_a_later_start_cost_a_chunk_each(store):
    table = bars(640)
    store.keep(table)
    before = len(chunks(store))
    restated = table.copy()
    restated.iloc[200, 0] += 1
    store.keep(restated)
    assert len(chunks(store)) - before == 1
    store.keep(table.iloc[10:])
    assert len(chunks(store)) - before == 2
    assert {frame_hash(it) for it in (table, restated, table.iloc[10:])} == {
        frame_hash(store.find(frame_hash(it))) for it in (table, restated, table.iloc[10:])
    }


@pytest.mark.usefixtures("small_chunks")
def test_what_is_damaged_or_missing_is_not_found(store):
    table = bars(300)
    name = frame_hash(table)
    assert store.find(name) is None
    store.keep(table)
    path = min(store.folder.glob("*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert store.find(name) is None
    write_parquet(path, bars(5))
    assert store.find(name) is None, "a sound file of other content"
    path.unlink()
    assert store.find(name) is None
    (store.folder / f"{name}.json").write_text("[1")
    assert store.find(name) is None


@pytest.mark.usefixtures("small_chunks")
def test_a_keeping_that_was_cut_off_is_finished_by_the_next(store):
    table = bars(300)
    store.keep(table)
    sorted(store.folder.glob("*.parquet"))[2].unlink()
    store.keep(table)
    assert store.find(frame_hash(table)) is not None


@pytest.mark.usefixtures("small_chunks")
def test_what_is_damaged_is_written_anew_by_the_next_keeping(store):
    table = bars(300)
    store.keep(table)
    first, second, *_ = sorted(store.folder.glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:90])
    write_parquet(second, bars(5))
    (store.folder / f"{frame_hash(table)}.json").write_text("[1")
    store.keep(table)
    assert store.find(frame_hash(table)) is not None


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damage", ["[1", "7", "null"])
def test_a_damaged_list_of_a_table_that_stays_is_named_and_nothing_is_removed(damage, store):
    stays, goes = bars(300), bars(300, seed=1)
    store.keep(stays)
    store.keep(goes)
    path = store.folder / f"{frame_hash(stays)}.json"
    path.write_text(damage)
    before = sorted(store.folder.iterdir())
    with pytest.raises(DataContractError, match=f"{path} is no list of chunks"):
        store.drop(lambda: {frame_hash(stays)})
    assert sorted(store.folder.iterdir()) == before
    assert store.drop(set) == sorted([frame_hash(stays), frame_hash(goes)]), "one that goes need not be read"


@pytest.mark.usefixtures("small_chunks")
def test_chunks_go_with_the_last_table_that_needs_them(store):
    long, short = bars(300), bars(300).iloc[:200]
    store.keep(long)
    store.keep(short)
    assert store.drop(lambda: {frame_hash(short)}) == [frame_hash(long)]
    assert store.find(frame_hash(short)) is not None
    assert store.find(frame_hash(long)) is None
    assert store.drop(set) == [frame_hash(short)]
    assert list(chunks(store)) == []


# a coin's


@pytest.fixture
def settings(tmp_path):
    return version_settings(tmp_path)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "data")


def store_night(places, n, *, coins=(COIN, OTHER), seed=0, with_feeds=True):
    """Tables of a night, and decisions that tell them."""
    market = pd.DataFrame({coin: bars(n, seed=seed)["close"] for coin in coins})
    write_parquet(places.frame("market"), stamp(market, "market"))
    for coin in coins:
        candles = stamp(bars(n, seed=seed), "candles", coin=coin)
        feeds = bars(n, seed=100 + seed)[["volume"] if with_feeds else []].rename(columns={"volume": "funding_rate"})
        feeds.iloc[:20] = np.nan
        write_parquet(places.candles(coin), candles)
        write_parquet(places.frame("feeds", coin=coin), stamp(feeds, "feeds", behind=[candles]))
        decisions = pd.DataFrame({"signal": 0}, index=candles.index)
        write_parquet(places.decisions(coin), stamp(decisions, "ensemble", behind=[candles, market, feeds]))


def card_of(places, settings, *, coin=COIN, outcome="PROMOTE"):
    return {"verdict": {"outcome": outcome}, "ingredients": ingredients_told(places, coin, settings)}


def found(places, card, *, coin=COIN, n=300):
    """Names of the tables that there still are."""
    told = {name: TableTold.from_dict(card["ingredients"][name]) for name in TABLES}
    return [name for name in TABLES if find_table(places, coin, name, told[name], bars=bars(n).index) is not None]


@pytest.mark.parametrize("with_feeds", [True, False])
@pytest.mark.parametrize("outcome", ["PROMOTE", "SHADOW"])
def test_what_a_good_version_was_made_from_outlasts_a_history_that_is_another(places, settings, outcome, with_feeds):
    store_night(places, 300, with_feeds=with_feeds)
    card = card_of(places, settings, outcome=outcome)
    assert keep_ingredients(places, COIN, card, settings) == []
    store_night(places, 300, seed=1, with_feeds=not with_feeds)
    assert found(places, card) == list(TABLES)


@pytest.mark.parametrize("outcome", ["REJECT", "INSUFFICIENT_EVIDENCE", "IMPOSSIBLE"])
def test_a_rejected_version_keeps_nothing_and_is_found_while_the_stored_tables_last(places, settings, outcome):
    store_night(places, 300)
    card = card_of(places, settings, outcome=outcome)
    keep_ingredients(places, COIN, card, settings)
    assert not places.registry.exists()
    store_night(places, 310, coins=(COIN, OTHER, "SOL-USDT"))
    write_parquet(places.candles(COIN), bars(310, seed=1))
    assert found(places, card) == ["market", "feeds"]
    write_parquet(places.candles(COIN), bars(310))
    assert found(places, card) == list(TABLES)


def test_a_table_that_changed_since_the_decisions_were_made_is_told_and_not_kept(places, settings):
    store_night(places, 300)
    write_parquet(places.candles(COIN), bars(300, seed=3))
    card = card_of(places, settings)
    assert keep_ingredients(places, COIN, card, settings) == ["candles"]
    assert found(places, card) == ["market", "feeds"]


def test_tables_that_have_gone_on_since_the_decisions_were_made_are_told_and_kept_until_the_last_decided_bar(places, settings):
    store_night(places, 300)
    told = card_of(places, settings)
    decisions = places.decisions(COIN).read_bytes()
    store_night(places, 310)
    places.decisions(COIN).write_bytes(decisions)
    card = card_of(places, settings)
    assert card == told
    assert keep_ingredients(places, COIN, card, settings) == []
    store_night(places, 300, seed=1)
    assert found(places, card) == list(TABLES)


def test_a_market_table_that_is_kept_already_stays_for_the_coin_that_needs_it_as_well(places, settings):
    store_night(places, 300)
    cards = {coin: card_of(places, settings, coin=coin) for coin in (COIN, OTHER)}
    keep_ingredients(places, COIN, cards[COIN], settings)
    store_night(places, 300, seed=5)
    assert "market" not in keep_ingredients(places, OTHER, cards[OTHER], settings)
    prune_ingredients(places, COIN, [])
    assert "market" in found(places, cards[OTHER], coin=OTHER)


def test_keeping_twice_writes_once(places, settings):
    store_night(places, 300)
    card = card_of(places, settings)
    keep_ingredients(places, COIN, card, settings)
    before = {path: path.stat().st_mtime_ns for path in places.registry.rglob("*") if path.suffix in {".json", ".parquet"}}
    keep_ingredients(places, COIN, card, settings)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_ingredients_go_with_the_last_version_that_names_them(places, settings):
    cards = []
    for n in (300, 310):
        store_night(places, n, seed=n)
        cards.append(card_of(places, settings))
        keep_ingredients(places, COIN, cards[-1], settings)
    assert prune_ingredients(places, COIN, cards) == []
    gone = prune_ingredients(places, COIN, cards[1:])
    assert sorted(gone) == sorted(cards[0]["ingredients"][name]["hash"] for name in TABLES)
    store_night(places, 300, seed=77)
    assert found(places, cards[0]) == []
    assert found(places, cards[1], n=310) == list(TABLES)


def test_a_market_table_is_kept_once_and_goes_with_the_last_coin(places, settings):
    store_night(places, 300)
    cards = {coin: card_of(places, settings, coin=coin) for coin in (COIN, OTHER)}
    for coin, card in cards.items():
        keep_ingredients(places, coin, card, settings)
    assert len(list(places.market_ingredients.glob("*.json"))) == 1
    market = cards[COIN]["ingredients"]["market"]["hash"]
    assert market not in prune_ingredients(places, COIN, [])
    store_night(places, 300, seed=5)
    assert "market" in found(places, cards[OTHER], coin=OTHER)
    assert market in prune_ingredients(places, OTHER, [])
    assert list(places.market_ingredients.glob("*.parquet")) == []


def test_pruning_where_nothing_was_ever_kept_creates_nothing(places):
    assert prune_ingredients(places, COIN, []) == []
    assert not places.registry.exists()


def test_the_folder_of_markets_is_no_coin(places, settings):
    from crp_pipeline.registry import Registry

    store_night(places, 300)
    keep_ingredients(places, COIN, card_of(places, settings), settings)
    assert Registry(places.registry).coins() == []
