"""A mail server is told nothing before its certificate has shown whose it is."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crp_pipeline import notices
from crp_pipeline_tests.unit.test_notices import FAILED, MailHandler, MailServer, serving, told

PASSWORD = {"smtp_user": "night", "smtp_password": "SECRET-PASSWORD"}


def self_signed(folder, host):
    """A key and a certificate that nobody vouches for, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{host}.pem"
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class TlsServer(MailServer):
    """A mail server that encrypts: at once, or when it is asked to by STARTTLS."""

    def __init__(self, pem, *, at_once):
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.at_once, self.RequestHandlerClass = at_once, TlsHandler
        self.answers = {"EHLO": "250-test\r\n250 AUTH PLAIN", "AUTH": "235 come in"}

    def handle_error(self, *_):
        """Who refuses the certificate hangs up."""


class TlsHandler(MailHandler):
    def encrypt(self):
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def setup(self):
        if self.server.at_once:
            self.encrypt()
        else:
            super().setup()

    def handle(self):
        self.say("220 test")
        if not self.server.at_once:
            self.rfile.readline()
            self.say("250-test\r\n250 STARTTLS")
            self.server.commands.append(self.rfile.readline().decode().strip())
            self.say("220 go on")
            super().finish()
            self.encrypt()
        self.converse()

    def finish(self):
        super().finish()
        self.request.close()


@pytest.fixture(params=[True, False], ids=["at once", "starttls"])
def mailing(request, tmp_path, monkeypatch):
    """Tells a server whose certificate is of the given address; returns the server and the lines of the log."""

    def mail(host="127.0.0.1", *, is_trusted):
        pem = self_signed(tmp_path, host)
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with serving(TlsServer(pem, at_once=request.param)) as server:
            if request.param:
                monkeypatch.setattr(notices, "TLS_PORT", server.port)
            lines = told(FAILED, email_to=("desk@example.org",), smtp_host="127.0.0.1", smtp_port=server.port, **PASSWORD)
        return server, lines

    return mail


@pytest.mark.parametrize(
    ("host", "is_trusted", "why"),
    [
        ("127.0.0.1", False, "self-signed certificate"),
        ("127.0.0.2", True, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ],
    ids=["unknown", "another's"],
)
def test_a_server_that_cannot_show_whose_it_is_is_told_nothing(mailing, host, is_trusted, why):
    server, [_, line] = mailing(host, is_trusted=is_trusted)
    assert line.endswith(f"did not take a notice: its certificate is not trusted: {why}")
    assert [it for it in server.commands if it != "STARTTLS"] == []
    assert server.mails == []


def test_a_server_that_is_trusted_gets_password_and_mail(mailing):
    server, lines = mailing(is_trusted=True)
    assert len(lines) == 1
    assert [it.split()[:2] for it in server.commands if it.startswith("AUTH")] == [["AUTH", "PLAIN"]]
    assert len(server.mails) == 1


def test_a_server_of_this_machine_is_told_without_a_certificate_where_no_password_is_needed(tmp_path):
    server = MailServer()
    server.answers = {"EHLO": "250-test\r\n250 STARTTLS"}
    with serving(server):
        assert len(told(FAILED, email_to=("desk@example.org",), smtp_host="127.0.0.1", smtp_port=server.port)) == 1
    assert "STARTTLS" not in server.commands
    assert len(server.mails) == 1
