"""What may hold a secret: it is given to whom it is for, and neither written down nor repeated."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer

HIDDEN = "**********"
"""What stands for a secret, as pydantic writes its own."""
NAMES = frozenset({"webhook", "smtp_password", "online_store", "mlflow", "notify", "exchange", "client_options"})
"""Settings that are not repeated when they are refused."""


def _hidden(options: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(options, HIDDEN)


Options = Annotated[dict[str, Any], PlainSerializer(_hidden, when_used="json")]
"""Options of a library by name, among which may be a key or the password of a proxy; as JSON their names alone."""
