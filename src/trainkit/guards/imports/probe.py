"""Run by `python -c`: imports sys.argv[1], then writes to sys.argv[2] what came along, and from where.

Nothing is imported before the target that a bare interpreter has not loaded: it would be hidden.
"""

import sys
import time


class _Witness:
    """A finder that finds nothing: it notes the line that asks for each module first."""

    def __init__(self) -> None:
        self.importers: dict[str, tuple[str, str, int]] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename.startswith("<frozen importlib"):
            frame = frame.f_back
        importer = frame.f_globals.get("__name__", "?")
        if frame.f_code.co_filename.endswith("importlib/__init__.py") and frame.f_back:  # import_module
            frame = frame.f_back
            importer = frame.f_globals.get("__name__", "?")
        self.importers.setdefault(name, (importer, frame.f_code.co_filename, frame.f_lineno))


def main() -> None:
    """Import the target and write {"modules": [[name, file]], "importers": {...}, "cpu_s", "wall_s"}."""
    target, output, witnessed = sys.argv[1:]
    before = set(sys.modules)
    witness = _Witness()
    if witnessed == "witnessed":
        sys.meta_path.insert(0, witness)
    cpu, wall = time.process_time(), time.perf_counter()
    __import__(target)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    modules = [(name, module) for name, module in sys.modules.items() if name not in before]

    import json

    rows = [[name, getattr(module, "__file__", None) or ""] for name, module in modules]
    with open(output, "w") as file:  # noqa: PTH123
        json.dump({"modules": rows, "importers": witness.importers, "cpu_s": cpu, "wall_s": wall}, file)


main()
