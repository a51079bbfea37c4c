"""Why a step failed: the sentence that was written for its reader, whoever passed it on."""

import pytest
from dagster_shared.error import SerializableErrorInfo

from crp_pipeline.defs.causes import cause_of


def chain(*classes):
    """An error, what it was made from, and so on; each says its class."""
    name, *others = classes
    return SerializableErrorInfo(f"{name}: said\n", [], name, chain(*others) if others else None)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("DagsterExecutionStepExecutionError", "StorageError", "OSError"), "StorageError"),
        (("DagsterExecutionStepExecutionError", "DagsterResourceFunctionError", "StorageError"), "StorageError"),
        (("DataContractError", "ValueError"), "DataContractError"),
        (("DagsterExecutionInterruptedError",), "DagsterExecutionInterruptedError"),
    ],
)
def test_what_is_told_is_the_first_error_that_is_not_dagsters(classes, told):
    assert cause_of(chain(*classes)) == f"{told}: said"
