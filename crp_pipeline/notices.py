"""Who is told what: the log always, a webhook or a mailbox where the settings name one.

A notice that cannot be delivered is one more line of the log, without a password, a token or the path of the webhook, which is
as good as one. Nobody is stopped by it, and it is not sent again: the log has it. Who does not answer in time is not waited
for, however slowly the bytes come: whoever tells has seconds, and tells everything again when it does not end in them.
"""

import json
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from functools import partial
from http.client import HTTPException
from threading import Thread
from time import monotonic
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from crp_pipeline.settings.operations import NotifyConfig, Occasion, is_loopback

Log = Callable[[str], object]

MAX_TITLE, MAX_TEXT = 200, 4_000
"""Characters that are sent; a chat room takes no more."""
CUT = " ..."
REDIRECTS = range(300, 400)
TLS_PORT = 465
"""Where a mail server encrypts from the first byte on (RFC 8314)."""


@dataclass(frozen=True)
class Notice:
    """One occasion, told in a line and in some more; both are cut to what a chat room takes, and hold no control characters."""

    occasion: Occasion
    coin: str | None
    title: str
    text: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", _cut(" ".join(_printable(self.title).split()), MAX_TITLE))
        object.__setattr__(self, "text", _cut(_printable(self.text), MAX_TEXT))


def tell(notices: Sequence[Notice], config: NotifyConfig, *, log: Log) -> None:
    """Write each into the log, and send those that are asked for as one to whom the settings name; a failure raises nothing.

    It takes `timeout_s` at most, whoever answers or does not.
    """
    for notice in notices:
        log(f"{notice.occasion}: {notice.title}")
    asked_for = [notice for notice in notices if notice.occasion in config.on]
    if not asked_for:
        return
    until = monotonic() + config.timeout_s
    for whom, sent in [(whom, _begun(send)) for whom, send in _channels(together(asked_for), config)]:
        try:
            sent.result(max(0.0, until - monotonic()))
        except (OSError, HTTPException, smtplib.SMTPException, ValueError) as error:
            log(f"{whom} did not take a notice: {_reason(error)}")


def together(notices: Sequence[Notice]) -> Notice:
    """Several as one: of no coin, and cut as any other; one stays as it is."""
    first, *others = notices
    if not others:
        return first
    text = "\n".join("\n".join(filter(None, (notice.title, notice.text))) for notice in notices)
    return Notice(first.occasion, None, f"{len(notices)} notices: {'; '.join(notice.title for notice in notices)}", text)


def _channels(notice: Notice, config: NotifyConfig) -> Iterator[tuple[str, Callable[[], None]]]:
    """Whom the settings name, and how the notice is sent there."""
    if config.webhook is not None:
        yield f"the webhook at {_host(config)}", partial(_post, notice, config)
    if config.email_to:
        yield f"the mail server {config.smtp_host}:{config.smtp_port}", partial(_mail, notice, config)


def _begun(send: Callable[[], None]) -> Future[None]:
    """What becomes of sending, in a thread that keeps no process from ending."""
    sent = Future[None]()

    def attempt() -> None:
        try:
            send()
        except Exception as error:  # noqa: BLE001
            sent.set_exception(error)
        else:
            sent.set_result(None)

    Thread(target=attempt, daemon=True).start()
    return sent


class _NoRedirect(HTTPRedirectHandler):
    """Follows nobody elsewhere: the address in the settings is the one that is told."""

    def redirect_request(self, *_: object) -> None:
        """No request."""


def _post(notice: Notice, config: NotifyConfig) -> None:
    """One JSON document; `text` is what chat rooms show."""
    assert config.webhook is not None
    told = asdict(notice) | {"text": "\n".join(filter(None, (notice.title, notice.text)))}
    body, kind = json.dumps(told).encode(), {"Content-Type": "application/json", "User-Agent": "crp-pipeline"}
    request = Request(config.webhook.get_secret_value(), data=body, headers=kind, method="POST")  # noqa: S310
    # a proxy that the environment names cannot reach this machine's own webhook
    no_proxy = [ProxyHandler({})] if is_loopback(_host(config)) else []
    try:
        build_opener(_NoRedirect, *no_proxy).open(request, timeout=config.timeout_s).close()
    except HTTPError as answer:
        answer.close()
        raise


def _mail(notice: Notice, config: NotifyConfig) -> None:
    """One plain mail to every mailbox."""
    message = EmailMessage()
    message["Subject"] = f"crp_pipeline {notice.occasion}: {notice.title}"
    message["From"], message["To"] = config.email_from, ", ".join(config.email_to)
    message.set_content("\n\n".join(filter(None, (notice.title, notice.text))))
    with _door(config) as server:
        _log_in(server, config)
        server.send_message(message)


def _door(config: NotifyConfig) -> smtplib.SMTP:
    """A connection to the mail server; one that encrypts from the first byte on has shown whose it is."""
    if config.smtp_port == TLS_PORT:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(config.smtp_host, config.smtp_port, timeout=config.timeout_s, context=context)
    return smtplib.SMTP(config.smtp_host, config.smtp_port, timeout=config.timeout_s)


def _log_in(server: smtplib.SMTP, config: NotifyConfig) -> None:
    """Encrypt where the server can, once its certificate has shown whose it is; give the password to none that cannot.

    What this machine's own server is told without a password leaves no machine, and is told in the clear.
    """
    server.ehlo()
    encrypted = isinstance(server, smtplib.SMTP_SSL)
    is_here = is_loopback(config.smtp_host) and config.smtp_password is None
    if not encrypted and not is_here and server.has_extn("starttls"):
        server.starttls(context=ssl.create_default_context())
        server.ehlo()
        encrypted = True
    if config.smtp_user is None or config.smtp_password is None:
        return
    if not encrypted:
        raise smtplib.SMTPNotSupportedError("it does not encrypt, and the password is not sent in the clear")
    server.login(config.smtp_user, config.smtp_password.get_secret_value())


def _reason(error: BaseException | str) -> str:
    """What went wrong, in words that hold neither an address nor what a server answered, which may repeat a secret."""
    match error:
        case HTTPError():
            words = f"HTTP {error.code}" + (", and redirects are not followed" if error.code in REDIRECTS else "")
        case URLError():
            words = _reason(error.reason)
        case smtplib.SMTPNotSupportedError():
            words = str(error)
        case smtplib.SMTPResponseException():
            words = f"SMTP {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            words = f"SMTP {', '.join(sorted({str(code) for code, _ in error.recipients.values()}))}"
        case smtplib.SMTPServerDisconnected():
            words = "it does not answer, or not as a mail server does"
        case ssl.SSLCertVerificationError():
            words = f"its certificate is not trusted: {error.verify_message}"
        case TimeoutError():
            words = "no answer in time"
        case OSError(strerror=str() as told):
            words = told
        case _:
            words = type(error).__name__
    return words


def _host(config: NotifyConfig) -> str:
    return "nowhere" if config.webhook is None else str(urlsplit(config.webhook.get_secret_value()).hostname)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - len(CUT)] + CUT
