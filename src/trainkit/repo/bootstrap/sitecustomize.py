"""Runs at the start of each Python process of a guarded command: standard library only.

Python imports it because its folder is first on PYTHONPATH. It runs the file named by
TRAINKIT_PRELOAD, hands over to the environment's own sitecustomize, and at exit writes which source
files of the project were loaded to the folder TRAINKIT_SOURCES. It never raises into the program.
"""

import atexit
import os
import sys


def _write_sources() -> None:
    try:
        import json  # late: the fewer modules we bring, the less we hide

        own, foreign = os.environ["TRAINKIT_TREE"] + os.sep, os.environ["TRAINKIT_ORIGIN"] + os.sep
        loaded: dict[str, list[str]] = {"own": [], "foreign": []}
        for name, module in list(sys.modules.items()):
            # At exit the script has lost its __file__; its loader still knows.
            path = getattr(module, "__file__", None) or getattr(
                getattr(module, "__loader__", None), "path", None
            )
            if not path or name.startswith("_trainkit_") or name == __name__:
                continue
            path = os.path.realpath(path)
            if path.startswith(own):
                loaded["own"].append(path)
            elif path.startswith(foreign) and "site-packages" not in path:
                loaded["foreign"].append(path)
        path = os.path.join(os.environ["TRAINKIT_SOURCES"], f"{os.getpid()}")
        with open(path, "w") as file:
            json.dump(loaded, file)
        os.replace(path, f"{path}.json")  # whole or not at all: a child may be killed right here
    except Exception as error:
        print(f"trainkit: could not write the loaded sources: {error!r}", file=sys.stderr)


def _run(path: str, name: str) -> None:
    """Run a file as runpy would, without the 20 modules that runpy brings along."""
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    exec(code, {"__name__": name, "__file__": path})  # noqa: S102


def _run_shadowed() -> None:
    """Run the sitecustomize that this one hides, if the environment has one."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        path = os.path.join(folder, "sitecustomize.py")
        if os.path.abspath(folder) != here and os.path.isfile(path):
            _run(path, "sitecustomize")
            return


def _redirect_editable_installs() -> None:
    """Let what an editable install of the project adds to the search mean the same place in the tree."""
    origin, tree = os.environ["TRAINKIT_ORIGIN"], os.environ["TRAINKIT_TREE"]

    def move(path: object) -> object:
        if isinstance(path, str) and (path + os.sep).startswith(origin + os.sep):
            moved = tree + path[len(origin) :]
            inside = (path + os.sep).startswith(tree + os.sep) or "site-packages" in path
            return path if inside or not os.path.exists(moved) else moved
        return path

    sys.path[:] = list(dict.fromkeys(move(path) for path in sys.path))  # type: ignore[misc]
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            mapping = getattr(module, "MAPPING", {})
            for package, path in list(mapping.items()):
                mapping[package] = move(path)


if os.environ.get("TRAINKIT_SOURCES"):
    atexit.register(_write_sources)
    _exit, _started = os._exit, os.getpid()

    def _write_and_exit(status: int) -> None:
        if os.getpid() == _started:  # forked children leave so each time, and have loaded what we have
            _write_sources()
        _exit(status)

    os._exit = _write_and_exit  # type: ignore[assignment]
    _redirect_editable_installs()
_run_shadowed()
if os.environ.get("TRAINKIT_PRELOAD"):
    try:
        _run(os.environ["TRAINKIT_PRELOAD"], "_trainkit_preload")
    except Exception as error:
        print(f"trainkit: preload failed: {error!r}", file=sys.stderr)
