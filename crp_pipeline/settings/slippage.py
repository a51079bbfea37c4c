"""An empirical distribution of slippage, from a file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crp_pipeline.errors import DataContractError

LARGEST_BPS = 1_000.0


def read_slippage(path: Path) -> NDArray[np.float64]:
    """(n,) adverse basis points of observed fills: the only column of a CSV file with a header, or of a parquet file.

    Raises `DataContractError` naming file, row (1 is the first below the header) and value of the first that is not a number
    from 0 to 1,000. A fill that was better than the quote counts as 0: nothing is credited.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataContractError(f"{path} cannot be read as slippage: {error}") from error
    if table.shape[1] != 1 or table.empty:
        raise DataContractError(f"{path} has {len(table)} rows in {table.shape[1]} columns: write one column of adverse bps")
    cells = table.iloc[:, 0]
    if pd.notna(pd.to_numeric(str(cells.name), errors="coerce")):
        raise DataContractError(f"{path}: the first line is {cells.name}, which must name the column of adverse bps")
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    allowed = (values >= 0) & (values <= LARGEST_BPS)
    if not allowed.all():
        row = int(np.argmin(allowed))
        rule = f"must be a number from 0 to {LARGEST_BPS:g} (adverse bps; 0 for a fill that was better)"
        raise DataContractError(f"{path}: row {row + 1}: {cells.name} = {cells.iloc[row]} {rule}")
    return np.asarray(values)
