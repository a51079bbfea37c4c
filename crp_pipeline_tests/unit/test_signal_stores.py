"""Where bots read the newest decision: files, and a real Redis that may be locked, out of reach or killed at any moment."""

import os
import shutil
import signal as signals
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from traceback import format_exception

import pandas as pd
import pytest
from pydantic import SecretStr

from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import SettingsError, SignalsConfig, load_settings
from crp_pipeline.signals import FileStore, Newest, RedisStore, Signal, put_online
from crp_pipeline.signals.store import KEY, place_of

CLOSED = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def decision(hours=0, **changes):
    closed = CLOSED + hours * HOUR
    values = {
        "coin": "BTC-USDT",
        "open_time": closed - HOUR,
        "closed_at": closed,
        "decided_at": closed + timedelta(seconds=3),
        "valid_until": closed + HOUR,
        "signal": 1,
        "confidence": 0.1 + 0.2,
        "tier": "high",
        "p_short": 1 / 3,
        "p_neutral": 0.1,
        "p_long": 17 / 30,
        "expected_return": -1e-17,
        "close": 64_321.123456789,
        "stop": 63_000.1,
        "target": 66_000.3,
        "version": "0123456789abcdef",
        "data_hash": "fedcba9876543210",
        "latency_ms": 3_000.5,
        "compute_ms": 21.25,
    }
    return Newest(Signal(**{**values, **changes}), {"rsi_14": 0.1 * 3, "hour_sine": -1.0})


NOTHING = dict.fromkeys(
    ("signal", "confidence", "p_short", "p_neutral", "p_long", "expected_return", "close", "stop", "target", "data_hash")
)


def no_decision(hours=0):
    made = decision(hours, **NOTHING, tier="none", reason="BTC-USDT has no champion", version=None)
    return Newest(made.signal, {})


class RedisServer:
    def __init__(self, process, port, password):
        self.process, self.port, self.password = process, port, password

    @property
    def url(self):
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def store(self, **how):
        return RedisStore(self.url, **{"timeout_s": 2.0, **how})

    def kill(self):
        self.process.send_signal(signals.SIGKILL)
        self.process.wait(10)


@contextmanager
def redis_server(folder, *, password=""):
    program = shutil.which("redis-server") or pytest.skip("redis-server is not on the PATH")
    port = free_port()
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    if password:
        words += ["--requirepass", password]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = monotonic() + 20
        while not answers(port):
            assert process.poll() is None, "redis-server did not start"
            assert monotonic() < deadline, "redis-server did not answer within 20 s"
            sleep(0.02)
        yield RedisServer(process, port, password)
    finally:
        process.kill()
        process.wait(10)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as it:
        yield it


@pytest.fixture(params=["files", "redis"])
def store(request, tmp_path):
    if request.param == "files":
        yield FileStore(tmp_path)
    else:
        running = request.getfixturevalue("server")
        it = running.store()
        it._client.flushall()
        yield it
        it.close()


def settings_with(url, **changes):
    return load_settings(online_store=None if url is None else SecretStr(url), signals=SignalsConfig(**changes))


def test_what_is_put_is_read_back_to_the_bit(store):
    assert store.get("BTC-USDT") is None
    for newest in (decision(), decision(1, stop=None, target=None, signal=0), no_decision(2)):
        store.put(newest)
        assert store.get("BTC-USDT") == newest
    assert store.get("ETH-USDT") is None


def test_nothing_of_the_decision_before_is_left(store):
    store.put(decision())
    store.put(no_decision(1))
    found = store.get("BTC-USDT")
    assert (found.signal.stop, found.signal.version, found.features) == (None, None, {})


def test_an_older_decision_does_not_take_the_place_of_a_newer_one(store):
    store.put(decision(2))
    for older in (decision(1), no_decision(1), no_decision(2)):
        store.put(older)
    assert store.get("BTC-USDT") == decision(2)


def test_a_decision_follows_no_decision_about_its_bar(store):
    store.put(no_decision())
    store.put(decision())
    assert store.get("BTC-USDT").signal.signal == 1


BROKEN = {
    "no table": lambda path: path.write_bytes(b"broken"),
    "no row": lambda path: pd.read_parquet(path).iloc[:0].to_parquet(path),
    "no bar": lambda path: pd.read_parquet(path).drop(columns="open_time").to_parquet(path),
    "no time": lambda path: pd.read_parquet(path).assign(open_time="noon").to_parquet(path),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_damaged_file_is_told_to_a_reader_and_written_anew(tmp_path, broken):
    store = FileStore(tmp_path)
    store.put(decision(2))
    BROKEN[broken](tmp_path / "BTC-USDT.parquet")
    with pytest.raises(DataContractError, match=r"BTC-USDT\.parquet (cannot be read|holds no decision)"):
        store.get("BTC-USDT")
    store.put(decision(1))
    assert store.get("BTC-USDT") == decision(1)


@pytest.mark.parametrize("changes", [{"open_time": None}, {"open_time": "noon"}, {"signal": "up"}], ids=str)
def test_a_hash_of_another_release_is_told_to_a_reader_and_written_anew(server, tmp_path, changes):
    store = server.store()
    store._client.flushall()
    store.put(decision(2))
    for name, value in changes.items():
        if value is None:
            store._client.hdel(KEY + "BTC-USDT", name)
        else:
            store._client.hset(KEY + "BTC-USDT", name, value)
    with pytest.raises(DataContractError, match="crp:signal:BTC-USDT holds no decision of this release"):
        store.get("BTC-USDT")
    assert put_online(settings_with(server.url), tmp_path, decision(1)) == ""
    assert store.get("BTC-USDT") == decision(1)
    store.close()


def test_a_decision_that_comes_again_without_its_features_takes_none_away(store):
    store.put(decision())
    store.put(Newest(decision().signal, {}))
    assert store.get("BTC-USDT") == decision()


def test_a_decision_takes_the_place_of_no_decision_about_a_later_bar(store):
    """As in the log: a clock that was ahead for a moment keeps no decision from its readers."""
    store.put(no_decision(5))
    store.put(no_decision(4))
    assert store.get("BTC-USDT") == no_decision(5)
    store.put(decision(1))
    assert store.get("BTC-USDT") == decision(1)


def test_a_reader_sees_how_old_it_is(store):
    store.put(decision())
    assert store.get("BTC-USDT").age_s(CLOSED + timedelta(minutes=5)) == 300.0


def test_a_coin_is_one_hash_that_does_not_expire(server):
    with_client = server.store()
    with_client._client.flushall()
    with_client.put(decision())
    client = with_client._client
    assert client.keys() == [KEY + "BTC-USDT"]
    assert (client.type(KEY + "BTC-USDT"), client.ttl(KEY + "BTC-USDT")) == ("hash", -1)
    assert client.hget(KEY + "BTC-USDT", "signal") == "1"
    assert float(client.hget(KEY + "BTC-USDT", "feature_rsi_14")) == 0.1 * 3
    with_client.close()


def test_a_reader_never_sees_half_of_a_decision(server):
    """A reader beside a writer: every hash it sees is whole, decision and features of one bar."""
    from threading import Thread

    writer, reader, seen = server.store(), server.store(), set()
    writer._client.flushall()
    told = [Newest(decision(bar, p_long=float(bar)).signal, {"bar": float(bar)}) for bar in range(150)]
    work = Thread(target=lambda: [writer.put(it) for it in told])
    work.start()
    while work.is_alive():
        found = reader.get("BTC-USDT")
        if found is not None:
            assert found.features == {"bar": found.signal.p_long}
            seen.add(found.signal.p_long)
    work.join()
    assert len(seen) > 3, "or nothing was seen"
    writer.close()
    reader.close()


def test_another_writer_in_between_is_noticed_and_the_later_bar_stays(server, monkeypatch):
    first, second = server.store(), server.store()
    first._client.flushall()
    first.put(decision(0))
    from redis.client import Pipeline

    multi, once = Pipeline.multi, []

    def while_another_writes(pipeline):
        if not once:
            once.append(True)
            second.put(decision(5))
        return multi(pipeline)

    monkeypatch.setattr(Pipeline, "multi", while_another_writes)
    first.put(decision(1))
    assert first.get("BTC-USDT") == decision(5)
    first.close()
    second.close()


def test_the_settings_lead_to_redis_and_to_the_files(server, tmp_path):
    store = server.store()
    store._client.flushall()
    assert put_online(settings_with(server.url), tmp_path, decision()) == ""
    assert store.get("BTC-USDT") == FileStore(tmp_path).get("BTC-USDT") == decision()
    store.close()


def test_without_an_online_store_there_are_the_files(tmp_path):
    assert put_online(settings_with(None), tmp_path, decision()) == ""
    assert FileStore(tmp_path).get("BTC-USDT") == decision()


def test_a_locked_redis_opens_with_its_password_and_says_nothing_of_it_without(tmp_path):
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis", password="s3cret") as locked:
        assert put_online(settings_with(locked.url), tmp_path, decision()) == ""
        store = locked.store()
        assert store.get("BTC-USDT") == decision()
        store.close()
        for url in (locked.url.replace("s3cret", "wr0ng"), f"redis://127.0.0.1:{locked.port}/0"):
            said = put_online(settings_with(url), tmp_path, decision(1))
            assert said.startswith(f"the online store redis://127.0.0.1:{locked.port} did not take BTC-USDT: Authentication")
            assert "wr0ng" not in said


def test_a_redis_that_is_killed_costs_a_sentence_and_the_file_stands(tmp_path):
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as running:
        settings = settings_with(running.url)
        assert put_online(settings, tmp_path, decision()) == ""
        running.kill()
        begun = monotonic()
        said = put_online(settings, tmp_path, decision(1))
        assert monotonic() - begun < 1.0
        assert said == f"the online store redis://127.0.0.1:{running.port} did not take BTC-USDT: ConnectionError"
        assert FileStore(tmp_path).get("BTC-USDT") == decision(1)


@pytest.mark.parametrize("state", ["stopped", "silent"])
def test_a_redis_that_does_not_answer_is_waited_for_a_moment(tmp_path, state):
    """Stopped in mid-run, it still accepts connections and answers nothing, as does whoever listens there in its place."""
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as running, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        os.kill(running.process.pid, signals.SIGSTOP)
        port = running.port if state == "stopped" else silent.getsockname()[1]
        begun = monotonic()
        said = put_online(settings_with(f"redis://127.0.0.1:{port}/0", online_timeout_s=0.2), tmp_path, decision())
        assert monotonic() - begun < 1.0
        assert said == f"the online store redis://127.0.0.1:{port} did not take BTC-USDT: TimeoutError"
        os.kill(running.process.pid, signals.SIGCONT)


@pytest.mark.parametrize(
    "url",
    ["http://user:s3cret@host", "memcached://s3cret@host:1", "s3cret", "redis://s3cret@[::1", "redis://:s3cret@host:port"],
)
def test_another_kind_of_store_is_refused_when_settings_are_loaded_without_its_secret(url):
    with pytest.raises(DataContractError, match="must be a URL that begins with redis://"):
        RedisStore(url, timeout_s=0.1)
    with pytest.raises(
        SettingsError, match=r"^online_store = what was given is not allowed: it must be a URL that begins"
    ) as caught:
        settings_with(url)
    assert "s3cret" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:secret@host:6379/3?password=x", "redis://host:6379"),
        ("rediss://:secret@host", "rediss://host"),
        ("unix://:secret@/run/redis.sock", "unix://"),
        ("redis://:a@b@host:port/0", "redis://host"),
        ("redis://:secret@[::1", "(no URL)"),
    ],
)
def test_a_place_is_told_without_what_opens_it(url, place):
    assert place_of(url) == place


def test_the_settings_do_not_show_the_store():
    assert "secret" not in repr(replace(decision(), features={})) + repr(settings_with("redis://:secret@host"))
