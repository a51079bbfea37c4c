import base64
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crp_pipeline.errors import DataContractError
from crp_pipeline.explanation import load_explanation, save_explanation
from crp_pipeline.places import Places
from crp_pipeline.reporting import document
from crp_pipeline.reporting.document import Fact, Headline, Page, Section, Table, Words, html_of, write_page
from crp_pipeline.reporting.fleet import fleet_page, write_fleet_report
from crp_pipeline.reporting.plots import Plot, line, named, packed, thinned
from crp_pipeline.reporting.report import SECTIONS, coin_page, write_coin_report
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.sections import trades as trades_module
from crp_pipeline.reporting.sections.trades import drawn_candles
from crp_pipeline.reporting.sections.verdict import failed_first, why
from crp_pipeline.reporting.tables import shown, to_html
from crp_pipeline.reporting.verdicts import findings_table
from crp_pipeline.settings import GateConfig
from crp_pipeline.storage import read_parquet, write_parquet
from crp_pipeline_tests.explained import RULE
from crp_pipeline_tests.finished_night import candles_of, finish_night, untraded
from crp_pipeline_tests.stored_night import verdict_of

COIN, OTHER = "BTC-USDT", "ETH-USDT"
HOSTILE = "<script>alert(1)</script>&\"'"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)


class Tables(HTMLParser):
    """Cells of every table by the id of its figure."""

    def __init__(self):
        super().__init__()
        self.cells, self._figure, self._cell = {}, None, None

    def handle_starttag(self, tag, attrs):
        name = dict(attrs).get("id") or ""
        if tag == "figure" and name.startswith("table-"):
            self._figure = name.removeprefix("table-")
            self.cells[self._figure] = []
        if tag == "tr" and self._figure:
            self.cells[self._figure].append([])
        if tag in {"td", "th"} and self._figure:
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in {"td", "th"} and self._cell is not None:
            self.cells[self._figure][-1].append(self._cell)
            self._cell = None


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The finished night of two coins, which no test changes."""
    root = tmp_path_factory.mktemp("night")
    finish_night(root, coin=OTHER)
    return finish_night(root)


@pytest.fixture
def own(places, tmp_path):
    """A copy of the night to change."""
    return Places(shutil.copytree(places.root, tmp_path / "data"))


@pytest.fixture(scope="module")
def page(places):
    return coin_page(CoinResults.load(places, COIN))


@pytest.fixture(scope="module")
def written(places):
    return write_coin_report(places, COIN)


@pytest.fixture(scope="module")
def own_html(page):
    """The page without plotly's own script, which is not ours to judge."""
    return html_of(page).replace(document.plotly_script(), "")


def words_of(page) -> str:
    return " ".join(block.text for section in page.sections for block in section.blocks if isinstance(block, Words))


def keys_of(page) -> set[str]:
    return {plot.key for plot in page.plots()}


def as_stored(csv: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """A table read from its file, with the kinds of its columns given back."""
    for name, kind in frame.dtypes.items():
        if pd.api.types.is_datetime64_any_dtype(kind):
            csv[name] = pd.to_datetime(csv[name], utc=True)
        elif pd.api.types.is_object_dtype(kind):
            csv[name] = [
                None if pd.isna(it) else float(it) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", str(it)) else it for it in csv[name]
            ]
    return csv


def test_every_table_on_the_page_has_its_file_with_the_same_numbers(places, page, written):
    parser = Tables()
    parser.feed(written.read_text())
    assert set(parser.cells) == {table.key for table in page.tables()}
    for table in page.tables():
        csv = pd.read_csv(places.report_tables(COIN) / f"{table.key}.csv", keep_default_na=False, na_values=[""])
        assert len(csv) == len(table.frame), table.key
        for name in table.frame.select_dtypes("number"):
            np.testing.assert_allclose(csv[name], table.frame[name], rtol=1e-12, err_msg=f"{table.key}.{name}")
        seen = [[shown(cell) for cell in row] for row in table.view(table.frame).itertuples(index=False)]
        assert parser.cells[table.key][1:] == seen, table.key


def test_the_json_beside_the_page_holds_every_row_of_every_table(places, page, written):
    told = json.loads((places.report_tables(COIN) / "tables.json").read_text())
    assert {key: len(table["rows"]) for key, table in told.items()} == {table.key: len(table.frame) for table in page.tables()}
    assert told["comparison"]["rows"][0]["win_rate"] == pytest.approx(page_table(page, "comparison").frame["win_rate"].iloc[0])


def page_table(page, key):
    return next(table for table in page.tables() if table.key == key)


def test_a_table_that_is_no_more_loses_its_file(own):
    stale = own.report_tables(COIN) / "gone.csv"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("old")
    write_coin_report(own, COIN)
    assert not stale.exists()


def test_the_page_asks_the_network_for_nothing(own_html):
    assert "http://" not in own_html
    assert "https://" not in own_html
    assert "default-src 'none'" in own_html
    assert not re.search(r"<(script|img|link)[^>]+(src|href)=", own_html)


def test_the_verdict_stands_before_everything_else(own_html):
    body = own_html.partition("<body>")[2]
    assert body.index("PROMOTE") < body.index("<nav") < body.index('<section id="findings"')


def test_every_chapter_has_something_to_show(page):
    assert len(page.sections) == len(SECTIONS)
    for section in page.sections:
        assert any(not isinstance(block, Words) for block in section.blocks), section.title


def test_every_figure_has_a_title_with_the_number_of_its_finding(page, places):
    fleet = fleet_page(places, [COIN], config=GateConfig())
    for plot in (*page.plots(), *fleet.plots()):
        assert re.search(r"\d", plot.title), plot.key
        assert plot.traces, plot.key


def test_what_compares_with_a_champion_says_that_there_is_none(own_html):
    assert own_html.count("no champion yet") == 3
    assert "1,000,000,000" not in own_html


def test_with_a_champion_the_rule_that_does_not_apply_says_so(places):
    results = CoinResults.load(places, COIN)
    results.verdict.evidence["has_champion"] = 1.0
    assert set(findings_table(results.verdict).query("stage == 'champion'")["value"]) == {"does not apply"}
    results.verdict.evidence["has_champion"] = 0.0


def test_what_failed_is_told_first_and_its_stage_before_the_others():
    told = failed_first(findings_table(verdict_of(COIN, trades=5.0, permutation_p=0.9)))
    assert told["criterion"].iloc[0] == "trades"
    stages = list(dict.fromkeys(told["stage"]))
    assert stages[:2] == ["evidence", "skill"]
    assert told.groupby("stage", sort=False)["passed"].apply(lambda it: it.is_monotonic_increasing).all()


def test_the_reason_is_one_sentence_with_its_meaning():
    assert why(verdict_of(COIN, permutation_p=0.9)) == (
        "Permutation p is 0.9, needs <= 0.05 (chance of this result with sides dealt at random (1 for one side only))."
    )


def test_a_coin_that_was_never_run_is_one_clear_error(tmp_path):
    with pytest.raises(DataContractError, match=r"^SOL-USDT was never run under .*: materialize candles .* SOL-USDT") as raised:
        write_coin_report(Places(tmp_path), "SOL-USDT")
    assert "\n" not in str(raised.value)
    assert not Places(tmp_path).report("SOL-USDT").exists()


def test_a_coin_that_was_run_in_part_is_told_what_is_missing(own):
    own.frame("sentinels", coin=COIN).unlink()
    own.verdict(COIN).unlink()
    with pytest.raises(DataContractError, match=f"^{COIN} has no stored sentinels, gate under"):
        write_coin_report(own, COIN)


def test_a_coin_without_trades_says_so_and_draws_no_empty_chart(tmp_path):
    page = coin_page(CoinResults.load(finish_night(tmp_path, change=untraded), COIN))
    assert f"{COIN} made no trade: 0 of 1,500 decisions took a side" in words_of(page)
    assert "No decision took a side where the label is known" in words_of(page)
    assert not keys_of(page) & {"equity", "trades", "groups", "win-rates", "calibration"}
    assert {"confusion", "feasibility", "folds"} <= keys_of(page)
    assert write_page(page, tmp_path / "page.html", tmp_path / "tables").exists()


def test_a_fold_that_tests_one_class_only_is_named(own):
    labels = read_parquet(own.frame("labels", coin=COIN))
    tested = read_parquet(own.frame("models", "prior", coin=COIN))["fold"] == 1
    labels.loc[tested & labels["signal"].notna(), "signal"] = 1.0
    write_parquet(own.frame("labels", coin=COIN), labels)
    page = coin_page(CoinResults.load(own, COIN))
    assert "One class only came in the test block of fold 1: it tells no skill." in words_of(page)


def test_labels_of_one_class_alone_say_why_there_is_no_curve(own):
    labels = read_parquet(own.frame("labels", coin=COIN))
    labels["signal"] = labels["signal"].where(labels["signal"].isna(), 1.0)
    write_parquet(own.frame("labels", coin=COIN), labels)
    page = coin_page(CoinResults.load(own, COIN))
    assert "a ROC curve needs a second class" in words_of(page)
    assert not keys_of(page) & {"roc", "precision-recall"}


def test_a_feature_without_any_value_is_named(page):
    assert "1 of 2 features have no value on any bar: blank." in words_of(page)


def test_a_backtest_without_walks_at_higher_costs_says_what_to_do(own):
    own.stress(COIN, "ladder").unlink()
    assert "materialize `backtest` again" in words_of(coin_page(CoinResults.load(own, COIN)))


def test_a_damaged_ledger_is_told_and_hides_no_chapter(own):
    (own.ledger / COIN).mkdir(parents=True)
    (own.ledger / COIN / "trials.jsonl").write_text("{broken\n")
    page = coin_page(CoinResults.load(own, COIN))
    assert "The trial ledger cannot be read" in words_of(page)
    assert len(page.sections) == len(SECTIONS)


def test_a_hostile_name_of_a_feature_stays_text(own):
    path = own.frame("features", coin=COIN)
    write_parquet(path, read_parquet(path).rename(columns={"blank": HOSTILE}))
    text = write_coin_report(own, COIN).read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text


@given(text=TEXTS)
def test_no_text_can_end_its_element(text):
    plot = Plot("plot", text, [line([0, 1], [0, 1], text)], {"yaxis": named([text])})
    head = Headline(text, "REJECT", "REJECT", [text], [Fact(text, text, text)], text)
    table = Table("table", text, pd.DataFrame({text: [text]}), links={text: text})
    section = Section("key", text, [Words(text), plot, table])
    told = document._headline(head) + document._contents([section]) + document._section(section)
    skeleton = document._headline(Headline("", "REJECT", "REJECT", [""], [Fact("", "")], ""))
    skeleton += document._contents([Section("key", "", [])])
    tags = re.findall(r"<\s*/?\s*[a-zA-Z]+", told)
    assert {tag.strip("</ ") for tag in tags} <= {
        *("header", "h", "span", "p", "dl", "div", "dt", "dd", "nav", "ol", "li", "a", "section", "figure", "figcaption"),
        *("script", "table", "thead", "tbody", "tr", "th", "td"),
    }
    assert told.count("<script") == told.count("</script>") == 1


def test_no_text_in_a_figure_can_end_its_script():
    told = Plot("plot", "1", [{"text": ["</script><script>alert(1)</script>"]}]).to_json()
    assert "<" not in told
    assert json.loads(told)["data"][0]["text"] == ["</script><script>alert(1)</script>"]


@given(text=TEXTS)
def test_a_cell_shows_its_text_and_nothing_else(text):
    parser = Tables()
    parser.feed(f'<figure id="table-one">{to_html(pd.DataFrame({"name": [text]}))}</figure>')
    assert parser.cells["one"][1] == [text]


def test_a_page_that_is_too_large_says_what_it_is_made_of(page, tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MOST_BYTES", 4_900_000)
    with pytest.raises(
        DataContractError, match=r"BTC-USDT: the report would have \d\.\d+ MB, 4\.\d+ MB of them plotly's script"
    ):
        write_page(page, tmp_path / "page.html", tmp_path / "tables")
    assert not (tmp_path / "page.html").exists()


def test_a_page_has_room_for_its_data_within_six_megabytes(written):
    assert written.stat().st_size < document.MOST_BYTES == 6_000_000


def test_two_tables_of_one_name_are_refused(page, tmp_path):
    table = Table("twice", "title", pd.DataFrame({"a": [1]}))
    with pytest.raises(DataContractError, match="two tables of the report are called twice"):
        write_page(Page(page.headline, [Section("one", "One", [table, table])]), tmp_path / "page.html", tmp_path / "tables")


@given(values=st.lists(st.floats(allow_nan=True, width=32), max_size=20))
def test_a_packed_array_holds_the_numbers_that_went_in(values):
    told = packed(values)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(told["bdata"]), "<f4"), np.array(values, "<f4"))


@given(n=st.integers(0, 500), most=st.integers(2, 60))
def test_thinning_keeps_both_ends_and_never_too_many(n, most):
    kept = thinned(n, most)
    assert len(kept) == min(n, len(kept)) <= most
    assert not n or (kept[0], kept[-1]) == (0, n - 1)


def test_candles_put_together_keep_every_extreme(monkeypatch):
    monkeypatch.setattr(trades_module, "MOST_BARS", 400)
    candles = candles_of()
    told, rule = drawn_candles(candles, candles.index[0], "1h")
    assert rule == "4h"
    assert len(told) <= 400
    assert (told["high"].max(), told["low"].min()) == (candles["high"].max(), candles["low"].min())
    assert (told["open"].iloc[0], told["close"].iloc[-1]) == (candles["open"].iloc[0], candles["close"].iloc[-1])


def test_the_fleet_page_has_a_row_for_every_coin_and_links_to_those_with_a_page(own):
    own.report(COIN).parent.mkdir(exist_ok=True)
    own.report(COIN).touch()
    page = fleet_page(own, ["BTC-USDT", "ETH-USDT", "SOL-USDT"], config=GateConfig(), failed={"ETH-USDT": "features"})
    told = page_table(page, "verdicts")
    assert told.frame["coin"].tolist() == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    assert told.frame["verdict"].tolist() == ["PROMOTE", "NO VERDICT", "NO VERDICT"]
    assert told.links == {"BTC-USDT": "BTC-USDT.html"}
    assert "2 coins have no verdict tonight." in page.headline.sentences
    assert '<a href="BTC-USDT.html">BTC-USDT</a>' in html_of(page)


def test_a_coin_without_a_readable_backtest_hides_no_other_coin_of_the_fleet(own):
    (own.value("backtest", coin="ETH-USDT") / "equity.parquet").unlink()
    page = fleet_page(own, ["BTC-USDT", "ETH-USDT"], config=GateConfig())
    assert "ETH-USDT has no readable backtest" in words_of(page)
    assert "equity-0" in keys_of(page)


def test_a_fleet_of_which_no_coin_was_run_is_one_clear_error(tmp_path):
    with pytest.raises(DataContractError, match="none of 2 coins has a verdict under"):
        write_fleet_report(Places(tmp_path), ["BTC-USDT", "ETH-USDT"], config=GateConfig())


def title_of(page, key):
    return next(plot.title for plot in page.plots() if plot.key == key)


def test_what_the_forecasts_are_made_of_is_told_model_by_model_with_n_and_rule(page):
    assert title_of(page, "importance-lightgbm") == "lightgbm: momentum is 100.0% of what it says; 40 bars"
    told = (
        "lightgbm: short 0.20, neutral 0.20, long 0.60; +0.90 log-odds for the decision, most by momentum (+0.80) of 2 features"
    )
    assert title_of(page, "why-lightgbm") == told
    assert (
        title_of(page, "lags-attention_lstm")
        == "attention_lstm: half of what it says comes from the latest 1 of 4 bars; 1 folds"
    )
    assert "speaks for long where it is high (rank correlation +1.00); 40 bars" in title_of(page, "beeswarm-lightgbm")
    drawn = [plot for plot in page.plots() if plot.key.split("-")[0] in {"importance", "beeswarm", "dependence", "lags"}]
    assert len(drawn) == 7
    assert all(RULE in plot.note for plot in drawn)


def test_a_coin_of_which_nothing_was_explained_or_tuned_is_told_so_in_words(tmp_path):
    places = finish_night(tmp_path)
    places.frame("explanation", coin=COIN).unlink()
    (places.value("tuning", "lightgbm", coin=COIN).with_suffix(".json")).unlink()
    sections = {section.key: section for section in coin_page(CoinResults.load(places, COIN)).sections}
    [nothing] = sections["explanation"].blocks
    assert nothing.text == f"Nothing was explained of {COIN}: materialize the asset explanation, then report."
    [untuned] = sections["tuning"].blocks
    assert untuned.text.startswith(f"No model of {COIN} was tuned")


def test_a_gain_by_tuning_stands_beside_its_interval_n_and_the_trials_it_took(page):
    assert title_of(page, "tuning-gains") == "lightgbm gains +0.0100 nats (-0.0100 to +0.0300, n 900) by 30 trials"


def test_models_that_could_not_be_explained_say_why_and_draw_nothing(tmp_path):
    places = finish_night(tmp_path)
    found = load_explanation(places, COIN)
    refused = found.models.assign(refused="the folds of " + found.models["model"] + " are not kept")
    save_explanation(places, replace(found, models=refused, contributions={}))
    sections = {section.key: section for section in coin_page(CoinResults.load(places, COIN)).sections}
    assert [block.text for block in sections["explanation"].blocks] == [
        "Not explained: the folds of lightgbm are not kept.",
        "Not explained: the folds of attention_lstm are not kept.",
    ]
