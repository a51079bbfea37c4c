"""What may hold a secret: it is given to whom it is for, and neither written down nor repeated."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer

HIDDEN = "**********"
"""What stands for a secret, as pydantic writes its own."""
NAMES = frozenset({"webhook", "smtp_password", "online_store", "mlflow", "notify", "storage", "exchange", "client_options"})
"""Settings that are not repeated when they are refused."""


def _without_credentials(address: str) -> str:
    if "@" in address:
        raise ValueError("it must name no user and no password, which the storage reads from variables of its own")
    return address


Address = Annotated[str, AfterValidator(_without_credentials)]
"""Where something lies, without who may go there."""


def _hidden(options: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(options, HIDDEN)


Options = Annotated[dict[str, Any], PlainSerializer(_hidden, when_used="json")]
"""Options of a library by name, among which may be a key or the password of a proxy; as JSON their names alone."""
