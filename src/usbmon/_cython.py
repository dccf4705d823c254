"""What `_kernel` uses of the ``cython`` module, for running its sources as plain Python.

Cython replaces these names when it compiles; interpreted, they do nothing. Not a copy of
``Cython.Shadow``: only what the kernel needs, so that the package does not depend on Cython.
"""

from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F")

compiled = False


class _Type:
    """Stands for any C type: an annotation, possibly of a buffer (``uchar[::1]``), or a cast."""

    def __getitem__(self, _key: object) -> "_Type":
        return self


void = uchar = ushort = int = uint = longlong = ulonglong = bint = Py_ssize_t = const = pointer = (
    _Type()
)


def cfunc(function: _F) -> _F:
    return function


inline = cfunc


def exceptval(*_args: object, **_kwargs: object) -> Callable[[_F], _F]:
    return cfunc


def declare(_type: object, value: Any) -> Any:
    return value


def cast(_type: object, value: Any) -> Any:
    return value


class _NoGil:
    """``with nogil:`` and ``@nogil`` both."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_exc: object) -> None: ...

    def __call__(self, function: _F) -> _F:
        return function


nogil = _NoGil()
