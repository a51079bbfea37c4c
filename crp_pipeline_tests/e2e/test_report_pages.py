"""The report pages as their reader meets them: opened from a file on a desk and on a phone, by day and by night, and printed."""

import re
from contextlib import contextmanager

import pytest

from crp_pipeline.reporting.fleet import write_fleet_report
from crp_pipeline.reporting.report import write_coin_report
from crp_pipeline.settings import GateConfig
from crp_pipeline_tests.finished_night import finish_night

pytestmark = pytest.mark.browser

COINS = ("BTC-USDT", "ETH-USDT")
DESK, PHONE, PAPER = 1280, 390, 688
MILLISECONDS_TO_DRAW = 60_000
MARKS = ".js-line, .point, .heatmaplayer image, .boxlayer path, .errorbar"
"""What plotly draws for a number."""
DRAWN = f"""canvases => canvases.map(canvas => ({{
  name: canvas.id,
  marks: Array.from(canvas.querySelectorAll("{MARKS}")).filter(mark => {{
    const box = mark.getBoundingClientRect();
    return box.width + box.height > 0;
  }}).length,
  width: canvas.querySelector(".main-svg")?.getBoundingClientRect().width ?? 0,
  room: canvas.getBoundingClientRect().width,
}}))"""
OVERLAPPING = """canvases => canvases.flatMap(canvas => {
  const texts = Array.from(canvas.querySelectorAll(".ytick text, .y2tick text")).map(text => text.getBoundingClientRect());
  const tight = texts.slice(1).filter((box, place) => {
    const before = texts[place];
    return Math.min(box.bottom, before.bottom) - Math.max(box.top, before.top) > 5 && box.left < before.right && before.left < box.right;
  });
  return tight.length ? [`${canvas.id}: ${tight.length} labels over one another`] : [];
})"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a coin and that of the fleet, by name."""
    root = tmp_path_factory.mktemp("report_pages")
    for coin in COINS:
        places = finish_night(root, coin=coin)
        coin_page = write_coin_report(places, coin)
    return {"coin": coin_page, "fleet": write_fleet_report(places, [*COINS, "SOL-USDT"], config=GateConfig())}


@contextmanager
def opened(browser, path, *, width=DESK, scheme="light"):
    """A page whose figures are all drawn, and what went wrong with it or was asked of the network."""
    faults = []
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("request", lambda request: None if is_own(request.url) else faults.append(f"asked for {request.url}"))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready=yes]", timeout=MILLISECONDS_TO_DRAW)
        yield page, faults


def is_own(address: str) -> bool:
    return address.startswith(("file:", "data:", "blob:"))


def drawn_in(page) -> list[dict]:
    return page.locator(".canvas").evaluate_all(DRAWN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", ["coin", "fleet"])
def test_every_figure_is_drawn_without_a_fault_or_a_request(browser, pages, tmp_path, name, width, scheme):
    with opened(browser, pages[name], width=width, scheme=scheme) as (page, faults):
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        drawn = drawn_in(page)
        assert drawn
        assert [it["name"] for it in drawn if it["marks"] == 0] == []
        assert [it for it in drawn if it["width"] > it["room"] + 1] == []
        assert page.locator(".canvas").evaluate_all(OVERLAPPING) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert set(page.locator(".canvas").evaluate_all("all => all.map(it => it.dataset.drawn)")) == {scheme}
        assert faults == []


def test_the_figures_follow_the_theme_of_the_reader(browser, pages):
    with opened(browser, pages["fleet"]) as (page, faults):
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector(".canvas[data-drawn=dark]")
        assert "rgb(20, 25, 31)" in page.locator(".canvas .main-svg").first.evaluate("it => it.style.background")
        assert faults == []


def test_a_printed_page_is_light_whatever_the_theme(browser, pages):
    with opened(browser, pages["coin"], scheme="dark") as (page, faults):
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        drawn = drawn_in(page)
        assert set(page.locator(".canvas").evaluate_all("all => all.map(it => it.dataset.drawn)")) == {"light"}
        assert all(it["marks"] and it["width"] <= 680 for it in drawn)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": PAPER, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "a table is wider than the paper"
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert faults == []


def test_zooming_into_the_candles_fits_the_prices_to_what_is_seen(browser, pages):
    with opened(browser, pages["coin"]) as (page, faults):
        chart = page.locator("#plot-trades")
        before = chart.evaluate("it => it._fullLayout.yaxis.range")
        chart.locator(".rangeselector .button", has_text=re.compile("^all$")).click()
        page.wait_for_timeout(500)
        after = chart.evaluate("it => it._fullLayout.yaxis.range")
        low, high = chart.evaluate("it => [Math.min(...it._fullData[0].low), Math.max(...it._fullData[0].high)]")
        assert after != before
        assert after[0] < low < high < after[1]
        assert faults == []


def test_the_row_of_a_coin_leads_to_its_page(browser, pages):
    with opened(browser, pages["fleet"]) as (page, _):
        page.get_by_role("link", name=COINS[1]).click()
        page.wait_for_selector("body[data-ready=yes]", timeout=MILLISECONDS_TO_DRAW)
        assert page.title().startswith(COINS[1])


def test_without_scripts_the_page_says_where_the_numbers_are(browser, pages):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(pages["coin"].as_uri())
        assert page.get_by_text("The pictures need JavaScript").is_visible()


def test_with_scripts_the_page_does_not_speak_of_them(browser, pages):
    with opened(browser, pages["fleet"]) as (page, _):
        assert not page.get_by_text("The pictures need JavaScript").is_visible()
