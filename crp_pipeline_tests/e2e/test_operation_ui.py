"""The web UI on a bad morning: what is switched on, a backfill of all coins, one of them red, and its re-execution."""

import pytest

from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.test_bad_files import BARS, bars_of
from crp_pipeline_tests.e2e.test_web_ui import MILLISECONDS_TO_SHOW, finished_runs, opened
from crp_pipeline_tests.e2e.web_server import wait_until, web_server

pytestmark = pytest.mark.browser

BAD, GOOD = "AAA-USDT", "BBB-USDT"
SECONDS_TO_FINISH = 300
RUNS = """{ runsOrError { ... on Runs { results {
  runId status rootRunId tags { key value } stepStats { stepKey status }
} } } }"""
SWITCHES = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  schedules { name scheduleState { status } } sensors { name sensorState { status } }
} } } }"""

SWITCHED_ON = '[data-index]:has(a[href$="s/{}"]) input[type=checkbox]:checked'
"""The switch in the row of a schedule or sensor, where it is on."""


def spoil(folder):
    """A file whose prices nobody could have traded at."""
    BARS.assign(high=1e-6).to_parquet(folder / f"{BAD}.parquet")


def mend(folder):
    bars_of(0).to_parquet(folder / f"{BAD}.parquet")


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    home = tmp_path_factory.mktemp("operation")
    (home / "raw").mkdir()
    bars_of(1).to_parquet(home / "raw" / f"{GOOD}.parquet")
    spoil(home / "raw")
    with web_server(home, small_settings(home / "data", source="files", files_dir=home / "raw", coins=(BAD, GOOD))) as it:
        yield it


@pytest.fixture(scope="module")
def context(browser, server):
    with browser.new_context(base_url=server.url, viewport={"width": 1600, "height": 1400}) as it:
        it.set_default_timeout(MILLISECONDS_TO_SHOW)
        yield it


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def page(context, pictures, request):
    with opened(context, pictures / f"{request.node.name}.png") as it:
        yield it


@pytest.fixture(scope="module")
def backfilled(context, server, pictures):
    """Both coins' labels, and the candles behind them, asked for by one click on the lineage page."""
    with opened(context, pictures / "backfill.png") as page:
        page.goto("/asset-groups~%2Bkey%3Alabels", wait_until="domcontentloaded")
        page.locator('foreignObject [data-tooltip="labels"]').wait_for()
        page.get_by_role("button", name="Materialize all").click()
        dialog = page.get_by_role("dialog").filter(has_text="Partition selection")
        dialog.get_by_text("Select a partition").click()
        dialog.get_by_text("Select all").click()
        page.screenshot(path=pictures / "dialog.png")
        dialog.get_by_role("button", name="Launch").click()
        page.get_by_text("Created backfill").or_(page.get_by_text("Launched")).first.wait_for()
    wait_until(lambda: finished_runs(server), seconds=SECONDS_TO_FINISH, what="the backfill of both coins")
    return runs_by_coin(server)


def runs_by_coin(server):
    found = {}
    for run in reversed(server.ask(RUNS)["runsOrError"]["results"]):
        coins = [tag["value"] for tag in run["tags"] if tag["key"] == "dagster/partition"]
        found.setdefault(coins[0] if coins else None, []).append(run)
    return found


def test_schedules_and_sensors_are_on(page, server):
    [repository] = server.ask(SWITCHES)["repositoriesOrError"]["nodes"]
    states = {it["name"]: it["scheduleState"]["status"] for it in repository["schedules"]}
    states |= {it["name"]: it["sensorState"]["status"] for it in repository["sensors"]}
    assert {name for name, status in states.items() if status != "RUNNING"} == {"on_change"}, "the alternative to the schedule"
    page.goto("/automation", wait_until="domcontentloaded")
    for name in states.keys() - {"on_change"}:
        page.locator(SWITCHED_ON.format(name)).wait_for(state="attached")
    assert page.locator(SWITCHED_ON.format("on_change")).count() == 0


def test_a_backfill_over_all_coins_runs_each_by_itself(backfilled):
    assert set(backfilled) == {BAD, GOOD}
    assert {coin: [run["status"] for run in runs] for coin, runs in backfilled.items()} == {
        BAD: ["FAILURE"],
        GOOD: ["SUCCESS"],
    }


def test_the_coin_of_the_bad_file_is_red_and_the_other_green(page, backfilled):
    page.goto("/assets/candles?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Failed (1)").wait_for()
    page.get_by_text("Materialized (1)").wait_for()


def test_the_failed_coin_is_re_executed_from_its_failure_by_a_click(page, backfilled, server):
    [failed] = backfilled[BAD]
    mend(server.home / "raw")
    page.goto(f"/runs/{failed['runId']}", wait_until="domcontentloaded")
    page.get_by_role("button", name="Re-execute all").locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem", name="From failure").click()
    page.get_by_role("button", name="Confirm").click()
    wait_until(lambda: len(runs_by_coin(server)[BAD]) == 2, seconds=60, what="the re-execution")
    wait_until(lambda: finished_runs(server), seconds=SECONDS_TO_FINISH, what="the re-execution")
    again = runs_by_coin(server)[BAD][-1]
    assert (again["status"], again["rootRunId"]) == ("SUCCESS", failed["runId"])
    page.goto("/assets/candles?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Materialized (2)").wait_for()
