"""What a feature set is, as 16 hexadecimal digits.

A model may only be asked about a table whose columns mean what they meant when it learned. The identity is therefore
taken from the definition itself, in the order of the columns: name, family, lookback, warm-up, TA-Lib's version, and
the code, which is

- the source of `compute` without comments, docstrings and layout, and what it closes over (`window = 20`);
- the same for each function, property or method of `Bars` and constant of this package (or of the feature's own) that it
  names.

Bytecode differs between Python versions and line numbers between edits, so neither is part of it, but for code without
source. Code of other packages and classes are named only, and of versions only TA-Lib's counts. The code of a bound method is
more than its function, so that those and instances that are called are refused.
"""

import ast
import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import pandas as pd
import talib

from crp_pipeline.features.feature import Bars, Feature

OWN_PACKAGE = __name__.partition(".")[0]
Seen = frozenset[object]


def feature_set_id(features: Sequence[Feature]) -> str:
    """Content hash of the definitions in this order: the same ones give the same id, in any process.

    Raises `TypeError` when a feature's code depends on a value without stable content, such as an open file or a method.
    """
    # the C library states its build date after its version, which differs between wheels of one release
    version = f"TA-Lib {talib.__version__} {talib.__ta_version__.split()[0]!r}"
    lines = [version, *(_definition(feature) for feature in features)]
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def _definition(feature: Feature) -> str:
    head = (feature.name, str(feature.family), feature.lookback, feature.warm_up)
    return f"{head!r} {_content(feature.compute, frozenset())}"


def _content(value: object, seen: Seen) -> str:
    """Text that is the same exactly when the value is."""
    value = _unwrapped(value)
    match value:
        case FunctionType() if _is_own(value, seen):
            return _function(value, seen)
        case partial():
            return f"partial{_content((value.func, value.args, value.keywords), seen)}"
        case tuple() | list():
            return f"{type(value).__name__}({', '.join(_content(item, seen) for item in value)})"
        case dict():
            return f"dict({', '.join(f'{key!r}: {_content(item, seen)}' for key, item in value.items())})"
        case _ if is_dataclass(value) and not isinstance(value, type) and not callable(value):
            values = tuple(getattr(value, field.name) for field in fields(value))
            return f"{type(value).__name__} {_content(values, seen)}"
        case _:
            return _atom(value)


def _unwrapped(value: object) -> object:
    """The function behind a cache or a compiler; any other value itself."""
    wrapped = getattr(value, "__wrapped__", None)
    is_code = isinstance(value, FunctionType | MethodType)
    return wrapped if isinstance(wrapped, FunctionType) and not is_code else value


def _atom(value: object) -> str:
    match value:
        case Enum():
            return str(value)
        case None | bool() | int() | float() | str() | bytes() | np.generic() | pd.Timedelta() | pd.Timestamp():
            return repr(value)
        case np.ndarray():
            return f"array({value.dtype}, {value.shape}, {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()})"
        case ModuleType() | np.ufunc():
            return f"{type(value).__name__} {value.__name__}"
        case _ if callable(value) and hasattr(value, "__qualname__") and not isinstance(value, MethodType):
            return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    raise TypeError(f"a feature's code depends on {value!r}, a {type(value).__name__} without stable content")


def _function(function: FunctionType, seen: Seen) -> str:
    if function in seen:
        return function.__name__
    seen |= {function}
    parts = [_source(function)]
    parts += [f"{name}={_content(value, seen)}" for name, value in _closure(function)]
    parts += [_content(value, seen) for value in (function.__defaults__, function.__kwdefaults__) if value]
    parts += [f"{name}={_content(value, seen)}" for name, value in _mentioned(function)]
    return f"<{'; '.join(parts)}>"


def _closure(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _mentioned(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Globals, properties and methods of `Bars` and, through a module of ours, its members that the code names."""
    names = _names(function.__code__)
    modules = [function.__globals__[name] for name in names if _is_own_module(function.__globals__.get(name))]
    for name in names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
        attribute = inspect.getattr_static(Bars, name, None)
        if isinstance(attribute, cached_property):
            yield f"bars.{name}", attribute.func
        if isinstance(attribute, property):
            yield f"bars.{name}", attribute.fget
        if isinstance(attribute, FunctionType):
            yield f"bars.{name}", attribute
        yield from ((name, vars(module)[name]) for module in modules if name in vars(module))


def _names(code: CodeType) -> list[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return sorted({*code.co_names, *(name for nested in inner for name in _names(nested))})


def _is_own(function: FunctionType, seen: Seen) -> bool:
    """Whether its code counts: it is `compute` itself, or of this package or that of a function on the way here."""
    roots = {other.__module__.partition(".")[0] for other in seen if isinstance(other, FunctionType)}
    return not seen or function.__module__.partition(".")[0] in roots | {OWN_PACKAGE}


def _is_own_module(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__.partition(".")[0] == OWN_PACKAGE


def _source(function: FunctionType) -> str:
    """The function's code as written, laid out anew; its bytecode where it was typed at a prompt and has no source."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(code)
    except OSError:
        return _bytecode(code)
    written = [w for w in _written_functions("".join(lines)) if (w.name, w.line) == (code.co_name, code.co_firstlineno)]
    if len(written) > 1:
        positions = set(code.co_positions())
        written = [w for w in written if w.result in positions]
    if len(written) != 1:
        where = f"{code.co_filename}, line {code.co_firstlineno}"
        raise TypeError(f"{function.__qualname__} is not the only function that starts at {where}, or the file has changed")
    return written[0].text


def _bytecode(code: CodeType) -> str:
    """Instructions with the names and constants that they refer to by number, nested functions among these."""
    return f"{code.co_code.hex()} {code.co_names} [{', '.join(map(_constant, code.co_consts))}]"


def _constant(value: object) -> str:
    if isinstance(value, CodeType):
        return _bytecode(value)
    if isinstance(value, frozenset):  # whose order differs between processes
        return f"frozenset({sorted(map(repr, value))})"
    return repr(value)


@dataclass(frozen=True)
class _Written:
    """A function as it stands in a file; `result` is where a lambda's expression lies, which its bytecode knows."""

    name: str
    line: int
    result: tuple[int | None, ...]
    text: str


@lru_cache(maxsize=64)
def _written_functions(source: str) -> tuple[_Written, ...]:
    functions = (ast.FunctionDef, ast.Lambda)
    return tuple(_written(node) for node in ast.walk(ast.parse(source)) if isinstance(node, functions))


def _written(node: ast.FunctionDef | ast.Lambda) -> _Written:
    if isinstance(node, ast.Lambda):
        body = node.body
        place = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
        return _Written("<lambda>", node.lineno, place, ast.unparse(node))
    first_line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return _Written(node.name, first_line, (), ast.unparse(_without_docstrings(node)))


def _without_docstrings(function: ast.FunctionDef) -> ast.FunctionDef:
    bare = copy.deepcopy(function)
    for node in ast.walk(bare):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return bare
