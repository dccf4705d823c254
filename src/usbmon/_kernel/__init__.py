"""The hot loops: buffers in, numbers and filled buffers out; no I/O, no objects of ours.

Each module here is plain Python that Cython compiles as it stands. Where no compiler was at hand,
or ``USBMON_KERNEL=interpreted`` asks for it, the same files run interpreted: slower by a factor of
some hundred, and with the same results.
"""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

MODULES = ("lines", "pairs", "records", "tally", "textprint", "textscan")


def _is_compiled() -> bool:
    if os.environ.get("USBMON_KERNEL") == "interpreted":
        return False
    folder = os.path.dirname(__file__)
    return all(
        any(os.path.exists(os.path.join(folder, name + suffix)) for suffix in EXTENSION_SUFFIXES)
        for name in MODULES
    )


def _interpret() -> None:
    """Load the sources, with our stand-in for Cython's own ``cython`` module, where installed."""
    from importlib.util import module_from_spec, spec_from_file_location

    from usbmon import _cython

    theirs = sys.modules.get("cython")
    sys.modules["cython"] = _cython
    try:
        for name in MODULES:
            path = os.path.join(os.path.dirname(__file__), name + ".py")
            spec = spec_from_file_location(f"{__name__}.{name}", path)
            assert spec is not None
            assert spec.loader is not None
            module = module_from_spec(spec)
            sys.modules[spec.name] = module
            globals()[name] = module
            spec.loader.exec_module(module)
    finally:
        if theirs is None:
            del sys.modules["cython"]
        else:
            sys.modules["cython"] = theirs


KERNEL = "compiled" if _is_compiled() else "interpreted"
if KERNEL == "interpreted":
    _interpret()
