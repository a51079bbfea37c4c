"""`crp serve` and `crp predict`: the same value over HTTP and on the shell, and nothing for who must not have it."""

import hashlib
import json
import os
import re
import signal as signals
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import uvicorn

from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import is_loopback
from crp_pipeline.signals import SignalLog
from crp_pipeline.signals.log import HEAD, LOG
from crp_pipeline.signals.server import create_app, refuse_open_door, serve
from crp_pipeline_tests.live import COIN, LEARNED, OTHER, LiveCoin, closed_at
from crp_pipeline_tests.unit.test_signal_stores import CLOSED, decision, free_port, no_decision

BARS = LEARNED + 30


class Site:
    """What answers at an address."""

    def __init__(self, url, token=None):
        self.url, self.token = url, token

    def ask(self, path, *, token=None, method="GET"):
        """(status, document, headers)"""
        token = token or self.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urlopen(Request(self.url + path, headers=headers, method=method), timeout=20) as answer:
                return answer.status, json.load(answer), dict(answer.headers)
        except HTTPError as error:
            with error:
                return error.code, json.load(error), dict(error.headers)


@contextmanager
def site(settings, *, token=None, clock=None):
    """The application behind a real server in a thread of this process."""
    app = create_app(settings, token=token, clock=clock)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", ws="none", lifespan="off"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Site(f"http://127.0.0.1:{port}", token)
    finally:
        server.should_exit = True
        thread.join(10)


def wait_until(condition, seconds=60.0):
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


@pytest.fixture(scope="module")
def live(tmp_path_factory, live_parts):
    it = LiveCoin(tmp_path_factory.mktemp("served"), live_parts)
    for n_bars in range(BARS - 3, BARS + 1):
        it.at(n_bars).decide()
    return it


@pytest.fixture(scope="module")
def served(live):
    with site(live.settings, clock=live.clock) as it:
        yield it


def test_the_server_answers_and_counts_its_coins(served):
    assert served.ask("/health")[:2] == (200, {"status": "ok", "coins": 1})


def test_the_coins_are_listed_with_their_newest_decision(served, live):
    newest = live.lines()[-1]
    told = {
        "coin": COIN,
        "closed_at": newest.to_dict()["closed_at"],
        "signal": newest.signal,
        "version": live.version,
        "reason": "",
    }
    assert served.ask("/coins")[1] == [told]


def test_the_newest_decision_is_the_one_that_was_written_down(served, live):
    status, document, headers = served.ask(f"/signal/{COIN}")
    assert (status, document) == (200, live.lines()[-1].to_dict())
    assert headers["age"] == "20"


def test_an_answer_reads_back_to_the_bit(served, live):
    from crp_pipeline.signals import Signal

    assert Signal.from_dict(served.ask(f"/signal/{COIN}")[1]) == live.lines()[-1]


def test_a_decision_that_is_no_longer_valid_is_served_as_none(live):
    late = live.clock.now + timedelta(hours=2)
    with site(live.settings, clock=lambda: late) as it:
        document = it.ask(f"/signal/{COIN}")[1]
        assert (document["signal"], document["stop"], document["version"]) == (None, None, live.version)
        assert it.ask("/coins")[1][0]["signal"] is None
        assert it.ask(f"/history/{COIN}?limit=1")[1] == [live.lines()[-1].to_dict()]


def test_the_history_is_the_log_newest_first(served, live):
    lines = [it.to_dict() for it in live.lines()]
    assert served.ask(f"/history/{COIN}")[1] == lines[::-1]
    assert served.ask(f"/history/{COIN}?limit=2")[1] == lines[:-3:-1]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x"])
def test_a_limit_out_of_range_is_refused_in_a_sentence(served, limit):
    status, document, _ = served.ask(f"/history/{COIN}?limit={limit}")
    assert (status, document["detail"].split(":")[0]) == (422, "limit")


def test_the_champion_is_told_with_what_made_it_one(served, live):
    document = served.ask(f"/champion/{COIN}")[1]
    assert (document["coin"], document["version"]) == (COIN, live.version)
    assert datetime.fromisoformat(document["promoted_at"]) == datetime.fromisoformat(live.book.history(COIN)[-1].at)


@pytest.mark.parametrize("page", ["signal", "history", "champion"])
@pytest.mark.parametrize(
    ("coin", "status"),
    [
        (OTHER, 404),
        ("NOPE", 404),
        ("btc-usdt", 422),
        ("..", 422),
        ("%2e%2e", 422),
        ("..%2f..%2fetc%2fpasswd", 404),
        ("BTC-USDT%00", 422),
        ("BTC-USDT%0a", 422),
        ("BTC--USDT", 422),
        ("A" * 65, 422),
        (quote("БТЦ"), 422),
        ("%27%3B--", 422),
    ],
)
def test_what_is_no_coin_is_one_sentence(served, live, page, coin, status):
    found, document, _ = served.ask(f"/{page}/{coin}")
    assert found == status
    assert isinstance(document["detail"], str)
    assert str(live.root) not in document["detail"]
    assert "Traceback" not in document["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(served, method):
    assert served.ask(f"/signal/{COIN}", method=method)[0] == 405


def test_no_other_page_may_read_the_answers(served):
    assert not [name for name in served.ask("/health")[2] if name.lower().startswith("access-control")]


def test_the_description_names_every_page(served):
    paths = served.ask("/openapi.json")[1]["paths"]
    assert set(paths) == {"/health", "/coins", "/signal/{coin}", "/history/{coin}", "/champion/{coin}"}
    assert {method for page in paths.values() for method in page} == {"get"}


def test_asking_writes_nothing(served, live):
    before = {path: path.stat().st_mtime_ns for path in live.root.rglob("*") if path.is_file()}
    for page in ("/health", "/coins", f"/signal/{COIN}", f"/history/{COIN}", f"/champion/{COIN}", f"/signal/{OTHER}"):
        served.ask(page)
    assert {path: path.stat().st_mtime_ns for path in live.root.rglob("*") if path.is_file()} == before


def test_damage_is_told_without_a_path_or_a_trace(tmp_path):
    live = LiveCoin(tmp_path)
    live.desk.log(COIN).append(decision().signal)
    (live.places.signals(COIN) / LOG).write_bytes(b"broken\n")
    with site(live.settings) as it:
        status, document, _ = it.ask(f"/signal/{COIN}")
    assert (status, list(document)) == (503, ["detail"])
    assert "/" not in document["detail"]


DAMAGE = {
    "broken": lambda folder: (folder / LOG).write_bytes(b"broken\n"),
    "gone": lambda folder: (folder / LOG).unlink(),
    "of another release": lambda folder: rewrite(folder, later_field=1),
    "cut short": lambda folder: rewrite(folder, open_time=None),
}


def rewrite(folder, **changes):
    """The last line with other fields, its hash the head: nothing but its content is wrong."""
    lines = (folder / LOG).read_bytes().split(b"\n")[:-1]
    document = {name: value for name, value in {**json.loads(lines[-1]), **changes}.items() if value is not None}
    last = json.dumps(document, sort_keys=True).encode()
    (folder / LOG).write_bytes(b"\n".join([*lines[:-1], last, b""]))
    (folder / HEAD).write_text(hashlib.sha256(last).hexdigest())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_of_one_coin_hides_no_other_and_is_told_in_the_servers_own_log(tmp_path, damage, caplog):
    live = LiveCoin(tmp_path)
    for coin in (COIN, OTHER):
        live.desk.log(coin).append(replace(decision().signal, coin=coin))
    DAMAGE[damage](live.places.signals(COIN))
    words = "what is stored of this coin is not in order: crp registry verify tells"
    with site(live.settings, clock=lambda: CLOSED) as it:
        assert it.ask("/health")[:2] == (200, {"status": "ok", "coins": 2})
        status, [damaged, sound], _ = it.ask("/coins")
        assert it.ask(f"/signal/{COIN}")[:2] == (503, {"detail": words})
        assert it.ask(f"/signal/{OTHER}")[0] == 200
    assert (status, sound["coin"], sound["signal"], sound["reason"]) == (200, OTHER, 1, "")
    assert damaged == {"coin": COIN, "closed_at": None, "signal": None, "version": None, "reason": words}
    own_log = [record.message for record in caplog.records if record.name == "crp_pipeline.signals.server"]
    assert len(own_log) == 2
    assert all(line.startswith(f"{COIN}: ") and "log of live decisions" in line for line in own_log)


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_shell_tells_which_log_is_damaged(crp, monkeypatch, tmp_path, damage):
    live = LiveCoin(tmp_path)
    for coin in (COIN, OTHER):
        live.desk.log(coin).append(replace(decision().signal, coin=coin))
    DAMAGE[damage](live.places.signals(COIN))
    monkeypatch.setenv("CRP_DATA_DIR", str(live.settings.data_dir))
    code, out, err = crp("registry", "verify")
    sound = f"{OTHER}: the 1 lines of the log of live decisions are as they were written"
    assert (code, out.splitlines()) == (1, ["the registry has no coins", sound])
    assert re.fullmatch(rf"crp: {COIN}: .*log of live decisions.*\n", err)


def test_the_shell_verifies_versions_and_decisions_of_a_coin(crp, live):
    lines = len(live.lines())
    told = [
        f"{COIN}: every version and the journal are as they were written",
        f"{COIN}: the {lines} lines of the log of live decisions are as they were written",
    ]
    assert crp("registry", "verify", "--coin", COIN) == (0, "\n".join(told) + "\n", "")


def test_an_error_of_ours_is_told_without_a_path_or_a_trace(tmp_path, monkeypatch):
    live = LiveCoin(tmp_path)
    live.desk.log(COIN).append(decision().signal)
    monkeypatch.setattr(SignalLog, "latest", lambda *_: 1 / 0)
    with site(live.settings) as it:
        assert it.ask(f"/signal/{COIN}")[:2] == (500, {"detail": "the server could not answer; its own log tells why"})


# the token


def test_with_a_token_every_page_asks_for_it(live):
    with site(live.settings, token="s3cret", clock=live.clock) as it:
        for page in ("/health", "/coins", f"/signal/{COIN}", "/openapi.json", "/nowhere", "/signal/btc"):
            for token in ("wrong", "s3cre", "s3crets", "S3CRET", "x" * 9_000):
                status, document, headers = Site(it.url).ask(page, token=token)
                assert (status, document) == (401, {"detail": "send the token as Authorization: Bearer"})
                assert headers["www-authenticate"] == "Bearer"
            assert Site(it.url).ask(page)[0] == 401
        assert it.ask(f"/signal/{COIN}")[:2] == (200, live.lines()[-1].to_dict())


def test_tokens_are_compared_in_constant_time(live, monkeypatch):
    asked = []
    monkeypatch.setattr("crp_pipeline.signals.server.compare_digest", lambda *it: asked.append(it) or False)
    with site(live.settings, token="s3cret") as it:
        assert it.ask("/health")[0] == 401
    assert asked == [(b"Bearer s3cret", b"Bearer s3cret")]


def test_a_token_may_hold_any_letter(live):
    with site(live.settings, token="Schlüssel 鍵") as it:
        given = "Schlüssel 鍵".encode().decode("latin-1")
        assert Site(it.url).ask("/health", token=given)[0] == 200
        for other in ("Schl\xfcssel", "Schlussel"):
            assert Site(it.url).ask("/health", token=other)[0] == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_a_host_that_others_reach_needs_a_token(live, host):
    assert not is_loopback(host)
    for token in (None, ""):
        with pytest.raises(DataContractError, match=r"set CRP_SERVE_TOKEN, or serve on 127\.0\.0\.1"):
            serve(live.settings, host=host, port=1, token=token)
    refuse_open_door(host, "s3cret")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_alone_needs_none(host):
    refuse_open_door(host, None)


# the shell


@pytest.fixture
def crp(live, crp, monkeypatch):
    """`crp` on the live coin's data."""
    for name, value in environment(live).items():
        monkeypatch.setenv(name, value)
    return crp


def environment(live):
    values = live.settings.model_dump(mode="json", include={"source", "coins", "data_dir", "files_dir", "horizon", "labels"})
    values["walk_forward"] = {"train_size": 600, "test_size": 130, "embargo": 6}
    values["labels"] = {"volatility_window": live.settings.labels.volatility_window}
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return {f"CRP_{name.upper()}": value for name, value in told.items()} | {"CRP_CLOCK": live.clock.now.isoformat()}


def test_the_shell_tells_what_the_server_tells(crp, served):
    code, out, err = crp("predict", "--coin", COIN, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == served.ask(f"/signal/{COIN}")[1]


def test_the_shell_decides_a_bar_that_nobody_has_decided_and_the_server_tells_that(crp, served, live, monkeypatch):
    live.at(BARS + 1)
    monkeypatch.setenv("CRP_CLOCK", live.clock.now.isoformat())
    told = json.loads(crp("predict", "--coin", COIN, "--json")[1])
    assert datetime.fromisoformat(told["closed_at"]) == closed_at(BARS + 1)
    assert told == served.ask(f"/signal/{COIN}")[1]


def test_in_words_there_is_a_line_for_each_thing_that_is_known(crp):
    out = crp("predict", "--coin", COIN)[1]
    assert re.search(r"^signal +-?[01]$", out, re.MULTILINE)
    assert re.search(r"^age_s +\d+$", out, re.MULTILINE)
    assert "None" not in out


@pytest.mark.parametrize(
    "words",
    [[], ["--coin", COIN, "--csv", "x.csv"], ["--from", "x"], ["--csv", "x"], ["--coin", COIN, "--from", "x", "--csv", "y"]],
)
def test_it_is_either_a_coin_or_a_saved_model(crp, words):
    code, _, err = crp("predict", *words)
    assert code == 2
    assert "name either --coin, or --from and --csv" in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize("coin", ["../x", "btc"])
def test_what_is_no_coin_is_one_sentence_on_the_shell(crp, coin):
    assert crp("predict", "--coin", coin) == (
        1,
        "",
        f"crp: {coin!r} is not the name of a coin, which is capitals and digits parted by single dashes\n",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--coin", COIN, "--last", "3"], "--last goes with --from and --csv"),
        (["--from", "x", "--csv", "y", "--json"], "--json goes with --coin"),
    ],
)
def test_an_option_of_the_other_form_is_refused(crp, words, told):
    code, _, err = crp("predict", *words)
    assert code == 2
    assert told in " ".join(err.replace("│", " ").split())


def test_a_coin_that_nobody_knows_is_refused_and_leaves_nothing_behind(crp, live):
    before = sorted(live.root.rglob("*"))
    told = f"crp: BTC-UDST is not configured; there are {COIN}, {OTHER}\n"
    assert crp("predict", "--coin", "BTC-UDST") == (1, "", told)
    assert sorted(live.root.rglob("*")) == before


def test_a_retired_coin_is_asked_nothing(crp, monkeypatch):
    monkeypatch.setenv("CRP_RETIRED", json.dumps([OTHER]))
    assert crp("predict", "--coin", OTHER) == (1, "", f"crp: {OTHER} is retired and decides nothing\n")


def test_the_shell_refuses_an_open_door(crp, monkeypatch):
    monkeypatch.delenv("CRP_SERVE_TOKEN", raising=False)
    assert crp("serve", "--host", "0.0.0.0")[::2] == (
        1,
        "crp: host 0.0.0.0 can be reached from elsewhere: set CRP_SERVE_TOKEN, or serve on 127.0.0.1\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "s3cret"])
def test_crp_serve_answers_as_a_process_of_its_own(live, tmp_path, token):
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CRP_")}
    told = environment(live) | ({"CRP_SERVE_TOKEN": token} if token else {})
    words = [sys.executable, "-c", "from crp_pipeline.cli import main; main()", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, env={**ours, **told}, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or listens(port), 120)
        it = Site(f"http://127.0.0.1:{port}", token)
        assert it.ask(f"/signal/{COIN}")[:2] == (200, SignalLog(live.places.signals(COIN)).latest()[-1].to_dict())
        assert token is None or Site(it.url).ask("/health")[0] == 401
    finally:
        process.send_signal(signals.SIGINT)
        process.wait(20)
    assert token is None or token not in (tmp_path / "log").read_text()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_no_decision_is_served_with_its_reason(tmp_path):
    live = LiveCoin(tmp_path)
    live.desk.log(COIN).append(no_decision().signal)
    with site(live.settings, clock=lambda: datetime(2024, 5, 1, 12, 1, tzinfo=UTC)) as it:
        document = it.ask(f"/signal/{COIN}")[1]
    assert (document["signal"], document["reason"]) == (None, "BTC-USDT has no champion")
