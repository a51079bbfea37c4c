"""Everything that can go wrong, as one tree.

    CrpError
    ├── DataContractError          a table breaks a rule that later stages rely on
    │   └── SilentExchangeError    an exchange that did not answer, or not in its language, however often it was asked
    ├── InsufficientHistoryError   too few rows for what was asked
    ├── TrainingError              a fit that cannot go on: its loss is not a number, or a batch does not fit in memory
    ├── TuningError                a study that cannot be begun, or that found nothing
    ├── NotFittedError             a model was asked before it learned
    ├── BundleError                a stored model is missing, altered or of another kind
    ├── DiskError                  a file or folder that the disk does not take
    ├── StorageError               a storage that machines share does not answer, is not as it was left or has moved on
    ├── LedgerError                a ledger of trials that is missing, shortened or altered, or an event it cannot keep
    └── RegistryError              a promotion, rollback or version that must not be

Each message is one sentence that names the coin or file, the row, the value and the rule. Bad market data is a failed asset
check, a broken contract an exception from this tree, a rejected model a `Verdict`: never an exception.
"""


class CrpError(Exception):
    """Base of every error that this package raises on purpose."""


class DataContractError(CrpError):
    """A table breaks a rule that later stages rely on."""


class SilentExchangeError(DataContractError):
    """An exchange did not answer, or not in its language, however often it was asked; it may later."""


class InsufficientHistoryError(CrpError):
    """There are too few rows for what was asked."""


class TrainingError(CrpError):
    """A fit cannot go on."""


class TuningError(CrpError):
    """A study cannot be begun, or every trial of it failed."""


class NotFittedError(CrpError):
    """A model was asked to predict or save before it learned."""


class BundleError(CrpError):
    """A stored model is missing, altered or of another kind."""


class DiskError(CrpError):
    """A file or folder cannot be written."""


class StorageError(CrpError):
    """A storage that machines share does not answer, is not as it was left or has moved on."""


class LedgerError(CrpError):
    """A ledger of trials is missing, shortened or altered, or is told what it cannot keep."""


class RegistryError(CrpError):
    """A promotion, rollback or version that must not be."""
