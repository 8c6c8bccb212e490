"""A plugin of coverage: it looks away while installed packages are imported, which took half as long again.

`dev-mode-dirs` in pyproject.toml makes it importable for every process of an environment that has trainkit as
sources.
"""

from __future__ import annotations

import sys
from importlib._bootstrap_external import SourceFileLoader


def coverage_init(registry, options):
    """Called by coverage in each process before it starts to trace."""
    load = SourceFileLoader.exec_module

    def exec_module(self, module):
        tracer = sys.gettrace()
        if type(tracer).__name__ != "CTracer" or "site-packages" not in (module.__file__ or ""):
            return load(self, module)
        sys.settrace(None)
        try:
            return load(self, module)
        finally:
            sys.settrace(tracer)

    SourceFileLoader.exec_module = exec_module
