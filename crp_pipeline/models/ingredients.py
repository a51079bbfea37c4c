"""What a fit or a selection is made from, one function per ingredient: together they decide what comes out.

Rows count as the block holds them and values as these rows and the bars behind them hold them, so that neither a later bar nor
another fold's rows matter, nor a label that is not learned from. The number of threads and the device are no ingredients: they
may change the last digits of a model, and what is past is read back whatever the machine. The code is one, without comments
and docstrings: that of the model's own module, of what it imports of this package and of the fit.
"""

import ast
import importlib.util
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.contracts import Floats, Ints, Samples
from crp_pipeline.models.base import ModelSpec
from crp_pipeline.models.block import Block
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.provenance import library_versions
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import purged_tail

MACHINE = ("n_threads", "device")
"""Parameters that say how a fit is computed and not what."""
OWN_PACKAGE = __name__.partition(".")[0]
WITHOUT_A_SAY = tuple(
    f"{OWN_PACKAGE}.{name}."
    for name in (
        *("errors", "settings", "storage", "provenance", "splits"),
        *("models.catalog", "models.selection", "models.ingredients", "models.record", "models.recall", "models.search"),
    )
)
"""Modules whose say in a fit is an ingredient already: which rows, which columns, which parameters."""


def of_fit(spec: ModelSpec, block: Block, reach: int, *, seed: int, validation_share: float | None) -> dict[str, Any]:
    """What a model of one block is made from."""
    return {
        "recipe": recipe_facts(spec),
        "seed": seed,
        "validation_share": validation_share,
        "columns": list(block.samples.columns),
        "values": values(block.samples, block.rows, reach),
        "rows": rows(block.samples, block.learn, block.watch, reach),
        "targets": digest(block.y[block.rows], block.signal[block.rows]),
        "weights": digest(block.weight[block.rows]),
        "libraries": library_versions(),
        "code": code(MODEL_CLASSES[spec.model_type].__module__, Block.__module__),
    }


def of_selection(
    samples: Samples, labels: pd.DataFrame, block: Ints, *, config: SelectionConfig, ranker: ModelSpec, seed: int
) -> dict[str, Any]:
    """What the selection on the rows of one block is made from."""
    times, ends = (pd.DatetimeIndex(column).as_unit("ns").asi8[block] for column in (labels.index, labels["label_end"]))
    return {
        "settings": asdict(config),
        "recipe": recipe_facts(ranker),
        "seed": seed,
        "columns": list(samples.columns),
        "values": values(samples, block, 1),
        "rows": digest(block - block[0], times, ends),
        "targets": digest(labels["signal"].to_numpy()[block]),
        "weights": digest(labels["weight"].to_numpy()[block]),
        "libraries": library_versions(),
        # the inner split is made by the selection itself
        "code": code(MODEL_CLASSES[ranker.model_type].__module__, f"{OWN_PACKAGE}.models.selection", purged_tail.__module__),
    }


def recipe_facts(spec: ModelSpec) -> dict[str, Any]:
    """Model type, variant and every parameter but those of the machine."""
    variants = MODEL_CLASSES[spec.model_type].variants
    parameters = asdict(variants[spec.variant].but(spec.params)) if variants else {}
    told = {name: value for name, value in parameters.items() if name not in MACHINE}
    return {"model_type": spec.model_type, "variant": spec.variant, "parameters": told}


def values(samples: Samples, block: Ints, reach: int) -> str:
    """Hash of the features from the first bar that some row of the block looks at to the block's last."""
    return digest(samples.history[_first(block, reach) : block.max() + 1])


def rows(samples: Samples, learn: Ints, watch: Ints, reach: int) -> str:
    """Hash of where the rows lie among these bars, and where these have holes."""
    block = np.concatenate([learn, watch])
    first = _first(block, reach)
    starts = np.arange(0) if samples.segment_start is None else samples.segment_start[first : block.max() + 1]
    return digest(learn - first, watch - first, np.maximum(starts - first, 0))


def looked_at(samples: Samples, reach: int) -> NDArray[np.uint64]:
    """Digest, per sample, of the `reach` bars that a forecast there looks at: (n,); the same where a hole is nearer."""
    if len(samples) == 0:
        return np.empty(0, dtype=np.uint64)
    first = _first(samples.rows, reach)
    bars = b"".join(_short(bar.data) for bar in np.ascontiguousarray(samples.history[first : samples.rows.max() + 1]))
    ends = 8 * (samples.rows - first + 1)
    begins = np.where(samples.behind() >= reach - 1, ends - 8 * reach, ends)
    found = [_short(bars[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.frombuffer(b"".join(found), dtype=np.uint64)


def digest(*arrays: Floats | Ints) -> str:
    """Sixteen hexadecimal digits that change with any value, shape or type."""
    found = sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def code(*modules: str) -> str:
    """Hash of these modules and of all of this package that they import, but `WITHOUT_A_SAY`."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in _with_imports(modules).items()}
    return sha256("\n".join(f"{name}\n{_bare(sources[name])}" for name in sorted(sources)).encode()).hexdigest()[:16]


def _first(block: Ints, reach: int) -> int:
    return max(int(block.min()) - reach + 1, 0)


def _short(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=8).digest()


def _with_imports(modules: Iterable[str]) -> dict[str, Path]:
    """Files of the modules and of what they import, by name."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is not None and name not in found:
            found[name] = path
            waiting += [other for other in _imported(path.read_text(encoding="utf-8")) if not _is_silent(other)]
    return found


def _is_silent(module: str) -> bool:
    return f"{module}.".startswith(WITHOUT_A_SAY)


def _file(module: str) -> Path | None:
    """The source of a module, found without importing it; None for a name that is no module."""
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*inner)
    candidates = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


@lru_cache(maxsize=64)
def _imported(source: str) -> tuple[str, ...]:
    """Modules of this package that a source imports, wherever it does; names that may be modules among them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return tuple(sorted(name for name in found if name.startswith(f"{OWN_PACKAGE}.")))


@lru_cache(maxsize=64)
def _bare(source: str) -> str:
    """The code without comments, layout and docstrings."""
    return ast.unparse(_WithoutDocstrings().visit(ast.parse(source)))


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node
