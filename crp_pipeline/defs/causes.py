"""Why a step failed, in the words of whoever found it."""

from dagster_shared.error import SerializableErrorInfo


def cause_of(error: SerializableErrorInfo) -> str:
    """The message of the first error that is not Dagster's, which only says where; not of what that one was made from."""
    while error.cause is not None and str(error.cls_name).startswith("Dagster"):
        error = error.cause
    return error.message.strip()
