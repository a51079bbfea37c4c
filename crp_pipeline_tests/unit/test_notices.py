"""What reaches a webhook and a mailbox, against real servers on the loopback interface, and what is never told to anyone."""

import json
import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crp_pipeline.notices import MAX_TEXT, MAX_TITLE, Notice, tell
from crp_pipeline.settings import NotifyConfig

FAILED = Notice("failure", "BTC-USDT", "BTC-USDT: candles failed", "the exchange is silent")


@contextmanager
def serving(server):
    """The server in a thread of its own, and its address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Webhook(ThreadingHTTPServer):
    """Keeps what is posted to it and answers with one status."""

    def __init__(self, status=200, location=None, pause_s=0.0):
        super().__init__(("127.0.0.1", 0), WebhookHandler)
        self.status, self.location, self.pause = status, location, threading.Event()
        self.pause_s, self.got = pause_s, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hooks/SECRET-TOKEN"


class WebhookHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], body))
        self.server.pause.wait(self.server.pause_s)
        self.send_response(self.server.status, "SECRET-TOKEN is not welcome")
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.do_POST()

    def log_message(self, *_):
        pass


class MailServer(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as a mail takes; what it is told to refuse it answers with 550."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, refuses=()):
        super().__init__(("127.0.0.1", 0), MailHandler)
        self.refuses, self.commands, self.mails = refuses, [], []
        self.answers = {"EHLO": "250 AUTH LOGIN"}

    @property
    def port(self):
        return self.server_address[1]


class MailHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 test")
        self.converse()

    def converse(self):
        for line in self.rfile:
            command = line.decode().strip()
            self.server.commands.append(command)
            verb = command.split(" ")[0].split(":")[0].upper()
            if verb in self.server.refuses:
                self.say(f"550 no {command}")
            elif verb == "DATA":
                self.say("354 go on")
                self.server.mails.append(message_from_bytes(b"".join(iter(self.line_of_mail, b"")), policy=policy.default))
                self.say("250 kept")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say(self.server.answers.get(verb, "250 ok"))

    def line_of_mail(self):
        line = self.rfile.readline()
        return b"" if line == b".\r\n" else line

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


class DrippingServer(socketserver.ThreadingTCPServer):
    """Answers whatever it is asked with a byte now and then, and never with a line."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), DrippingHandler)
        self.asked, self.is_over = 0, threading.Event()

    @property
    def port(self):
        return self.server_address[1]


class DrippingHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.server.asked += 1
        with suppress(OSError):
            while not self.server.is_over.wait(0.02):
                self.wfile.write(b"2")


def told(*notices, **config):
    """Lines of the log."""
    lines = []
    tell(notices, NotifyConfig(**{"timeout_s": 2.0, **config}), log=lines.append)
    return lines


def mailed(server, notice=FAILED, **config):
    return told(
        notice, email_to=("desk@example.org", "night@example.org"), smtp_host="127.0.0.1", smtp_port=server.port, **config
    )


def test_without_anybody_to_tell_the_log_is_told():
    assert told(FAILED) == ["failure: BTC-USDT: candles failed"]


def test_a_webhook_gets_one_json_document():
    with serving(Webhook()) as server:
        assert told(FAILED, webhook=server.url) == ["failure: BTC-USDT: candles failed"]
    [(path, kind, body)] = server.got
    assert (path, kind) == ("/hooks/SECRET-TOKEN", "application/json")
    assert json.loads(body) == {
        "occasion": "failure",
        "coin": "BTC-USDT",
        "title": "BTC-USDT: candles failed",
        "text": "BTC-USDT: candles failed\nthe exchange is silent",
    }


def test_every_mailbox_gets_one_plain_mail():
    with serving(MailServer()) as server:
        assert mailed(server, email_from="crp@example.org") == ["failure: BTC-USDT: candles failed"]
    [mail] = server.mails
    assert (mail["From"], mail["To"]) == ("crp@example.org", "desk@example.org, night@example.org")
    assert mail["Subject"] == "crp_pipeline failure: BTC-USDT: candles failed"
    assert mail.get_content().split() == ["BTC-USDT:", "candles", "failed", "the", "exchange", "is", "silent"]
    assert [it for it in server.commands if it.upper().startswith("RCPT")] == [
        "rcpt TO:<desk@example.org>",
        "rcpt TO:<night@example.org>",
    ]


def test_several_notices_are_one_post_and_one_mail():
    fine = Notice("failure", "ETH-USDT", "ETH-USDT: no candles")
    with serving(Webhook()) as server, serving(MailServer()) as mail:
        lines = told(
            FAILED, fine, webhook=server.url, email_to=("desk@example.org",), smtp_host="127.0.0.1", smtp_port=mail.port
        )
    assert lines == ["failure: BTC-USDT: candles failed", "failure: ETH-USDT: no candles"]
    title = "2 notices: BTC-USDT: candles failed; ETH-USDT: no candles"
    [(_, _, body)], [mailed] = server.got, mail.mails
    assert json.loads(body) == {
        "occasion": "failure",
        "coin": None,
        "title": title,
        "text": f"{title}\nBTC-USDT: candles failed\nthe exchange is silent\nETH-USDT: no candles",
    }
    assert mailed["Subject"] == f"crp_pipeline failure: {title}"


def test_a_server_that_answers_byte_by_byte_keeps_nobody_waiting():
    with serving(DrippingServer()) as server:
        url, began = f"http://127.0.0.1:{server.port}/SECRET-TOKEN", time.monotonic()
        notices = [Notice("stale", f"C{number}", f"C{number}: old") for number in range(50)]
        lines = told(*notices, webhook=url, email_to=("a@b.org",), smtp_host="127.0.0.1", smtp_port=server.port, timeout_s=0.5)
        seconds = time.monotonic() - began
        server.is_over.set()
    assert (seconds < 1.0, server.asked) == (True, 2)
    assert lines[50:] == [
        "the webhook at 127.0.0.1 did not take a notice: no answer in time",
        f"the mail server 127.0.0.1:{server.port} did not take a notice: no answer in time",
    ]


def test_a_webhook_of_this_machine_is_not_looked_for_behind_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(Webhook()) as server:
        assert len(told(FAILED, webhook=server.url)) == 1
    assert len(server.got) == 1


def test_an_occasion_that_is_not_asked_for_is_only_logged():
    with serving(Webhook()) as server, serving(MailServer()) as mail:
        assert mailed(mail, webhook=server.url, on=("drift",)) == ["failure: BTC-USDT: candles failed"]
    assert (server.got, mail.mails) == ([], [])


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_a_webhook_that_refuses_is_one_sentence_without_its_token(status):
    with serving(Webhook(status)) as server:
        [_, line] = told(FAILED, webhook=server.url)
    assert line == f"the webhook at 127.0.0.1 did not take a notice: HTTP {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "file", "ftp"])
def test_a_webhook_sends_nobody_elsewhere(status, scheme):
    with serving(Webhook()) as elsewhere:
        location = elsewhere.url if scheme == "http" else f"{scheme}:///etc/hostname"
        with serving(Webhook(status, location)) as server:
            [_, line] = told(FAILED, webhook=server.url)
    assert line == f"the webhook at 127.0.0.1 did not take a notice: HTTP {status}, and redirects are not followed"
    assert (len(server.got), elsewhere.got) == (1, [])


def test_a_webhook_that_nobody_serves_is_one_sentence():
    with Webhook() as server:
        url = server.url
    [_, line] = told(FAILED, webhook=url)
    assert line == "the webhook at 127.0.0.1 did not take a notice: Connection refused"


def test_a_webhook_that_does_not_answer_is_not_waited_for():
    with serving(Webhook(pause_s=30.0)) as server:
        [_, line] = told(FAILED, webhook=server.url, timeout_s=0.2)
        server.pause.set()
    assert line == "the webhook at 127.0.0.1 did not take a notice: no answer in time"


def test_a_server_that_does_not_speak_the_protocol_is_one_sentence():
    with serving(MailServer()) as server:
        [_, line] = told(FAILED, webhook=f"http://127.0.0.1:{server.port}/SECRET-TOKEN")
        assert line == "the webhook at 127.0.0.1 did not take a notice: BadStatusLine"
    with serving(Webhook()) as server:
        [_, line] = told(FAILED, email_to=("a@b.org",), smtp_host="127.0.0.1", smtp_port=server.server_port, timeout_s=0.3)
    assert line.endswith(("did not take a notice: no answer in time", "it does not answer, or not as a mail server does"))


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_mail_server_that_refuses_is_one_sentence(verb):
    with serving(MailServer(refuses=(verb,))) as server:
        [_, line] = mailed(server)
    assert line == f"the mail server 127.0.0.1:{server.port} did not take a notice: SMTP 550"


def test_a_password_is_not_sent_in_the_clear():
    with serving(MailServer()) as server:
        [_, line] = mailed(server, smtp_user="night", smtp_password="SECRET-PASSWORD")
    assert line.endswith("did not take a notice: it does not encrypt, and the password is not sent in the clear")
    assert not any("AUTH" in it.upper() or "SECRET" in it for it in server.commands)
    assert server.mails == []


def test_one_that_fails_does_not_keep_the_other_from_being_told():
    with serving(Webhook(500)) as server, serving(MailServer()) as mail:
        assert len(mailed(mail, webhook=server.url)) == 2
    assert len(mail.mails) == 1


def test_a_title_cannot_forge_a_header_and_is_cut():
    notice = Notice("drift", None, "drift\r\nBcc: everybody@example.org\x00" + "x" * 999, "y" * 9_999)
    assert (len(notice.title), len(notice.text)) == (MAX_TITLE, MAX_TEXT)
    with serving(MailServer()) as server:
        assert len(mailed(server, notice)) == 1
    assert server.mails[0]["Bcc"] is None
    assert server.mails[0]["Subject"].startswith("crp_pipeline drift: drift Bcc: everybody@example.org xxx")
    assert len([it for it in server.commands if it.upper().startswith("RCPT")]) == 2


def test_words_of_any_script_arrive():
    with serving(Webhook()) as server, serving(MailServer()) as mail:
        mailed(mail, Notice("summary", None, "Nacht über Tōkyō", "Gewinn: 3 €"), webhook=server.url)
    assert json.loads(server.got[0][2])["title"] == "Nacht über Tōkyō"
    assert mail.mails[0]["Subject"] == "crp_pipeline summary: Nacht über Tōkyō"
    assert "3 €" in mail.mails[0].get_content()


def test_settings_do_not_show_whom_they_tell():
    config = NotifyConfig(webhook="https://example.org/SECRET-TOKEN", smtp_password="SECRET-PASSWORD")
    assert "SECRET" not in repr(config)
