"""The web UI as its user meets it: one coin is materialized with the mouse, then its checks and pictures are looked at."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.web_server import wait_until, web_server

pytestmark = pytest.mark.browser

ROOMS = ("candles", "features", "labels", "splits", "models", "ensemble", "backtest", "gate", "registry")
COIN = "EDGE-DEMO"
SECONDS_TO_MATERIALIZE, MILLISECONDS_TO_SHOW = 300, 60_000
RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } assetSelection { path } } } } }"
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { status } } } }"


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    home = tmp_path_factory.mktemp("web_ui")
    with web_server(home, small_settings(home / "data")) as it:
        yield it


@pytest.fixture(scope="module")
def context(browser, server):
    with browser.new_context(base_url=server.url, viewport={"width": 1600, "height": 1400}) as it:
        it.set_default_timeout(MILLISECONDS_TO_SHOW)
        yield it


@contextmanager
def opened(context, picture: Path):
    """A page that must have had no errors when it is closed; how it looked at the end is kept."""
    errors, page = [], context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("response", lambda response: errors.append(f"{response.status} {response.url}") if response.status >= 400 else None)
    try:
        yield page
    finally:
        page.screenshot(path=picture)
        page.close()
    assert errors == []


@pytest.fixture
def page(context, tmp_path):
    with opened(context, tmp_path / "page.png") as it:
        yield it


@pytest.fixture(scope="module")
def materialized(context, server, tmp_path_factory):
    """One coin through the whole corridor, launched from the lineage page: the runs that came of it."""
    folder = tmp_path_factory.mktemp("materialize_all")
    with opened(context, folder / "launched.png") as page:
        page.goto("/asset-groups~%2Bkey%3Asummary", wait_until="domcontentloaded")
        page.locator(f'foreignObject [data-tooltip="{ROOMS[0]}"]').wait_for()
        page.get_by_role("button", name="Materialize all").click()
        dialog = page.get_by_role("dialog").filter(has_text="Partition selection")
        dialog.get_by_text("Select a partition").click()
        dialog.locator(f'label:has([title="{COIN}"])').click()
        dialog.get_by_text("1 partition", exact=True).wait_for()
        page.screenshot(path=folder / "dialog.png")
        dialog.get_by_role("button", name="Launch").click()
        page.get_by_text("Launched run").or_(page.get_by_text("Created backfill")).first.wait_for()
    return wait_until(lambda: finished_runs(server), seconds=SECONDS_TO_MATERIALIZE, what=f"{COIN} from the web UI")


@pytest.fixture(scope="module")
def verdict(server, materialized):
    return json.loads((server.home / "data" / "gate" / f"{COIN}.json").read_text())


def finished_runs(server) -> list[dict]:
    """Every run, once all of them and the backfills that may have asked for them have ended."""
    runs = server.ask(RUNS)["runsOrError"]["results"]
    backfills = server.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
    running = [run for run in runs if run["status"] not in {"SUCCESS", "FAILURE", "CANCELED"}]
    return [] if running or any(backfill["status"] == "REQUESTED" for backfill in backfills) else runs


def partitions_of(runs: list[dict]) -> set[str]:
    return {tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "dagster/partition"}


def assets_of(runs: list[dict]) -> set[str]:
    return {"/".join(key["path"]) for run in runs for key in run["assetSelection"]}


def open_metadata(page, asset: str, key: str):
    """The dialog behind `[Show Markdown]` of one entry of the coin's latest materialization."""
    page.goto(f"/assets/{asset}?view=partitions&partition={COIN}", wait_until="domcontentloaded")
    page.locator("tr").filter(has=page.get_by_text(key, exact=True)).get_by_text("[Show Markdown]").click()
    return page.get_by_role("dialog")


def width_when_decoded(picture) -> int:
    return picture.evaluate("async image => { await image.decode(); return image.naturalWidth; }")


def test_the_lineage_shows_the_nine_rooms_in_its_list_and_in_its_graph(page):
    page.goto("/asset-groups", wait_until="domcontentloaded")
    for room in ROOMS:
        page.locator(f'[title="{room}"]').wait_for()
        page.locator(f'foreignObject [data-tooltip="{room}"]').wait_for()


def test_materializing_the_corridor_of_one_coin_from_the_page_runs_it_for_that_coin_alone(materialized):
    assert {run["status"] for run in materialized} == {"SUCCESS"}
    assert partitions_of(materialized) == {COIN}
    made = assets_of(materialized)
    assert {"market", "summary", "models/lightgbm", *ROOMS} - {"models"} <= made
    assert not made & {"models/xgboost", "models/catboost"}, "the filter of the README leaves out what no roster names"


def test_the_coin_that_was_not_asked_for_is_still_missing(page, materialized):
    page.goto("/assets/gate?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Materialized (1)").wait_for()
    page.get_by_text("Missing (1)").wait_for()


def test_every_criterion_is_a_check_in_the_state_that_the_verdict_gave_it(page, verdict):
    page.set_viewport_size({"width": 1600, "height": 4_000})  # the page lists only what is in view
    page.goto("/assets/gate?view=checks", wait_until="domcontentloaded")
    findings = {finding["name"]: finding["passed"] for finding in verdict["findings"]}
    page.get_by_text(f"Checks ({len(findings)})").wait_for()
    for name, passed in findings.items():
        page.locator(f'[title="{name}"] + span').get_by_text("Succeeded" if passed else "Failed").wait_for()


def test_a_check_says_what_it_asks_and_for_which_coin(page, verdict):
    page.goto("/assets/gate?view=checks&checkDetail=deflated_sharpe_ratio", wait_until="domcontentloaded")
    [finding] = [it for it in verdict["findings"] if it["name"] == "deflated_sharpe_ratio"]
    page.get_by_text(finding["meaning"]).wait_for()
    page.get_by_text(COIN, exact=True).first.wait_for()


@pytest.mark.parametrize(
    "asset", ["candles", "features", "labels", "splits", "models/lightgbm", "ensemble", "backtest", "gate"]
)
def test_the_picture_of_a_room_is_drawn_in_the_page(page, materialized, asset):
    picture = open_metadata(page, asset, "picture").locator("img")
    assert picture.get_attribute("src").startswith("data:image/png;base64,")
    assert width_when_decoded(picture) > 300


def test_the_gate_names_its_verdict_first(page, verdict):
    page.goto(f"/assets/gate?view=partitions&partition={COIN}", wait_until="domcontentloaded")
    page.get_by_role("cell", name=verdict["outcome"], exact=True).wait_for()


@pytest.mark.parametrize("asset", ["market", "summary"])
def test_what_is_made_from_all_coins_says_so(page, server, asset):
    page.goto(f"/assets/{asset}", wait_until="domcontentloaded")
    [described] = [
        it
        for it in server.ask("{ assetNodes { assetKey { path } description } }")["assetNodes"]
        if it["assetKey"]["path"] == [asset]
    ]
    page.get_by_text(described["description"]).wait_for()


def test_the_night_has_its_schedule_and_its_sensor(page):
    page.goto("/automation", wait_until="domcontentloaded")
    for path in ("schedules/nightly", "sensors/night_watch"):
        page.locator(f'a[href$="/{path}"]').wait_for()
