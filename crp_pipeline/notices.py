"""Who is told what: the log always, a webhook or a mailbox where the settings name one.

A notice that cannot be delivered is one more line of the log, without a password, a token or the path of the webhook, which is
as good as one. Nobody is stopped by it, and it is not sent again: the log has it.
"""

import json
import smtplib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from crp_pipeline.settings.operations import NotifyConfig, Occasion

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


def tell(notice: Notice, config: NotifyConfig, *, log: Log) -> None:
    """Write the notice into the log, and send it to whom the settings name for its occasion; a failure raises nothing."""
    log(f"{notice.occasion}: {notice.title}")
    if notice.occasion not in config.on:
        return
    if config.webhook is not None:
        _attempt(lambda: _post(notice, config), f"the webhook at {_host(config)}", log)
    if config.email_to:
        _attempt(lambda: _mail(notice, config), f"the mail server {config.smtp_host}:{config.smtp_port}", log)


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
    # a local webhook is not asked for by way of a proxy that the environment names
    with build_opener(_NoRedirect, ProxyHandler()).open(request, timeout=config.timeout_s):
        pass


def _mail(notice: Notice, config: NotifyConfig) -> None:
    """One plain mail to every mailbox."""
    message = EmailMessage()
    message["Subject"] = f"crp_pipeline {notice.occasion}: {notice.title}"
    message["From"], message["To"] = config.email_from, ", ".join(config.email_to)
    message.set_content("\n\n".join(filter(None, (notice.title, notice.text))))
    door = smtplib.SMTP_SSL if config.smtp_port == TLS_PORT else smtplib.SMTP
    with door(config.smtp_host, config.smtp_port, timeout=config.timeout_s) as server:
        _log_in(server, config)
        server.send_message(message)


def _log_in(server: smtplib.SMTP, config: NotifyConfig) -> None:
    """Encrypt where the server can, and give the password to none that cannot."""
    server.ehlo()
    encrypted = isinstance(server, smtplib.SMTP_SSL)
    if not encrypted and server.has_extn("starttls"):
        server.starttls()
        server.ehlo()
        encrypted = True
    if config.smtp_user is None or config.smtp_password is None:
        return
    if not encrypted:
        raise smtplib.SMTPNotSupportedError("it does not encrypt, and the password is not sent in the clear")
    server.login(config.smtp_user, config.smtp_password.get_secret_value())


def _attempt(send: Callable[[], None], whom: str, log: Log) -> None:
    try:
        send()
    except (OSError, HTTPException, smtplib.SMTPException, ValueError) as error:
        log(f"{whom} did not take a notice: {_reason(error)}")


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
