"""Run at the start of a process that is to be recorded: arms the recorder once torch is imported."""

import importlib.util
import os
import sys
from pathlib import Path

_ALIAS = "_trainkit_trace"


def _load_package() -> None:
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        _ALIAS, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_ALIAS] = module
    spec.loader.exec_module(module)


if os.environ.get("TRAINKIT_TRACE"):
    _load_package()
    importlib.import_module(f"{_ALIAS}.arm").arm(Path(os.environ["TRAINKIT_TRACE"]))
