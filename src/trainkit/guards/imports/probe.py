"""Runs at the start of each Python process of a measured command: what is imported, by which lines.

Brings no module along that a bare interpreter has not loaded: it would be hidden. Mode `witness` notes every
load (in the function that Python itself calls for each, whether a statement, `import_module` or C code asks)
and every import statement that runs; `bare` counts only; `calls` counts calls of Python functions.
"""

import sys  # and no `from __future__`: that is a module, too

_BEFORE = set(sys.modules) - {"atexit"}  # the bootstrap brings that one

import _frozen_importlib as importlib_core  # noqa: E402  # type: ignore[import-not-found]
import _frozen_importlib_external as importlib_files  # noqa: E402  # type: ignore[import-not-found]
import atexit  # noqa: E402
import builtins  # noqa: E402
import gc  # noqa: E402
import marshal  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
from _thread import _local  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

for _name in {"gc", "atexit"} - _BEFORE:  # built in: whoever asks for them gets them again
    sys.modules.pop(_name, None)

_clock = time.process_time_ns
_IMPORTLIB = "<frozen importlib"
_IMPORT_MODULE = f"importlib{os.sep}__init__.py"
_NUM_LINKS = 24
# Seen as the import system's own, ours vanish from tracebacks and from what warnings point at.
_INTERNAL = "<frozen importlib._bootstrap>"


def _open_statm() -> int:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


class Load:
    """One module while it is being loaded, and what it took."""

    def __init__(self, name: str, within: str, links: list[tuple[str, str, int]]) -> None:
        self.name, self.within, self.links = name, within, links
        self.start = self.total = self.children = self.outside = self.collected = 0
        self.pages = self.outside_pages = 0
        self.loaded = False

    def row(self) -> "tuple[Any, ...]":
        """Give what is written: times in nanoseconds without collections, memory in pages, children apart."""
        own = self.total - self.children
        return (self.name, self.within, self.start, own, self.total, self.pages, self.loaded, self.links)


class Witness:
    """Wraps the two functions that every import goes through."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.edges: dict[tuple[str, str, int, str, str], None] = {}
        self.seen: set[tuple[str, int, int, str, str]] = set()
        self.compiled: list[str] = []
        self.collections = [0, 0]
        self.begun = 0
        self.threads = _local()
        self.statm = _open_statm()
        self.load: Callable[..., ModuleType] = importlib_core._find_and_load  # type: ignore[attr-defined]
        self.statement: Callable[..., ModuleType] = builtins.__import__

    def arm(self) -> None:
        """Begin."""
        for function in (Witness.find_and_load, Witness.import_statement):
            function.__code__ = function.__code__.replace(co_filename=_INTERNAL)
        importlib_core._find_and_load = self.find_and_load  # type: ignore[attr-defined]
        # A function, not a bound method: some programs ask for its __code__ or set attributes.
        builtins.__import__ = lambda name, globals=None, locals=None, fromlist=(), level=0: (  # noqa: A006
            self.import_statement(name, globals, locals, fromlist, level)
        )
        builtins.__import__.__code__ = builtins.__import__.__code__.replace(co_filename=_INTERNAL)
        compile_source = importlib_files.SourceLoader.source_to_code

        def source_to_code(loader: "Any", data: "Any", path: "Any", *rest: "Any", **options: "Any") -> "Any":
            self.compiled.append(str(path))
            return compile_source(loader, data, path, *rest, **options)

        importlib_files.SourceLoader.source_to_code = source_to_code  # type: ignore[assignment,method-assign]
        gc.callbacks.append(self.note_collection)
        sys.setrecursionlimit(sys.getrecursionlimit() * 3 // 2)  # our frames take none of the program's

    def stack(self) -> list[Load]:
        """Give what this thread is loading, outermost first."""
        try:
            found: list[Load] = self.threads.stack
        except AttributeError:
            found = self.threads.stack = []
        return found

    def find_and_load(self, name: str, import_: "Any") -> "ModuleType":
        """Stand in for the function that loads a module: C and importlib call it by its name."""
        stack = self.stack()
        # One that only waits for its parent package has not asked for it: the line that asked for both has.
        waiting = [load for load in stack if load.name.startswith(name + ".")]
        within = next((load.name for load in reversed(stack) if load not in waiting), "")
        within = within or find_origin(sys._getframe(0))
        if name in sys.modules:
            self.note_edge(name, within, find_links(sys._getframe(0), 1)[0])
            return self.load(name, import_)
        load = Load(name, within, find_links(sys._getframe(0), _NUM_LINKS))
        self.loads.append(load)
        self.note_edge(name, within, load.links[0])
        stack.append(load)
        pages = self.read_pages()
        load.start = _clock()
        try:
            module = self.load(name, import_)
            load.loaded = True
            return module
        finally:
            spent = _clock() - load.start
            stack.pop()
            self.close(load, stack, spent, self.read_pages() - pages)

    def close(self, load: Load, stack: list[Load], spent: int, pages: int) -> None:
        """Take what was spent from those it was spent within; a collection is nobody's."""
        load.total = spent - load.outside - load.collected
        pages -= load.outside_pages
        load.pages += pages
        for outer in reversed(stack):
            if not outer.name.startswith(load.name + "."):
                outer.children += load.total
                outer.collected += load.collected
                outer.pages -= pages
                return
            outer.outside += load.total + load.collected
            outer.outside_pages += pages

    def import_statement(
        self, name: str, variables: "Any", local: "Any", fromlist: "Any", level: int
    ) -> "ModuleType":
        """Stand in for `__import__`, which each import statement calls: note what it asks for."""
        module = self.statement(name, variables, local, fromlist, level)
        frame = sys._getframe(1).f_back
        if frame is None:  # before any Python code runs: `python -m` asks for runpy
            self.pass_over(name)
            return module
        code, stack = frame.f_code, self.stack()
        within = stack[-1].name if stack else ""
        key = (code.co_filename, code.co_firstlineno, frame.f_lasti, name, within)
        if key not in self.seen:
            self.seen.add(key)
            place = (frame.f_globals.get("__name__", "?"), code.co_filename, frame.f_lineno)
            within = within or find_origin(frame)
            full = resolve(name, level, frame.f_globals)
            parts = [f"{full}.{part}" for part in fromlist or ()]
            for asked in [full, *(part for part in parts if part in sys.modules)]:
                self.note_edge(asked, within, place)
        return module

    def pass_over(self, name: str) -> None:
        """Take for a bare interpreter's what -c brings itself, from 3.13 on."""
        if name == "linecache":
            self.loads = [load for load in self.loads if load.name != name]
            _BEFORE.add(name)

    def note_edge(self, name: str, within: str, place: tuple[str, str, int]) -> None:
        """Note that a line asked for a module, and so for the packages it is in."""
        while name:
            if name not in _BEFORE:
                self.edges.setdefault((*place, name, within))
            name = name.rpartition(".")[0]

    def note_collection(self, phase: str, _: object) -> None:
        """Time a garbage collection, and take it from the module that it happened to interrupt."""
        if phase == "start":
            self.begun = _clock()
            return
        spent = _clock() - self.begun
        self.collections = [self.collections[0] + 1, self.collections[1] + spent]
        stack = self.stack()
        if stack:
            stack[-1].collected += spent

    def read_pages(self) -> int:
        """Give the pages of memory that are resident now; 0 where the system does not say."""
        return int(os.pread(self.statm, 80, 0).split()[1]) if self.statm >= 0 else 0

    def report(self) -> "dict[str, Any]":
        """Give all of it as plain values."""
        return {
            "loads": [load.row() for load in self.loads],
            "edges": list(self.edges),
            "compiled": self.compiled,
            "collections": self.collections,
        }


def find_links(frame: "FrameType | None", most: int) -> list[tuple[str, str, int]]:
    """Give the lines from the one that imports out to the module body that is being run, at most `most`."""
    links: list[tuple[str, str, int]] = []
    while frame and frame.f_code.co_filename.startswith(_IMPORTLIB):
        frame = frame.f_back
    if frame and frame.f_back and frame.f_code.co_filename.endswith(_IMPORT_MODULE):
        frame = frame.f_back
    while frame and len(links) < most and frame.f_code is not Witness.find_and_load.__code__:
        if not frame.f_code.co_filename.startswith(_IMPORTLIB):
            links.append((frame.f_globals.get("__name__", "?"), frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return links or [("__main__", "", 0)]


def find_origin(frame: "FrameType | None") -> str:
    """Give the module whose code runs while none is loaded: the program, a thread, a hook at exit."""
    origin = "__main__"
    while frame:
        name = frame.f_globals.get("__name__", "")
        frozen = frame.f_code.co_filename.startswith("<frozen ")
        if not frozen and name not in {"threading", "runpy"}:
            origin = name
        frame = frame.f_back
    return origin if origin in sys.modules else "__main__"


def resolve(name: str, level: int, variables: "dict[str, Any]") -> str:
    """Give the full name of a module that is asked for relative to the package of a frame."""
    if not level:
        return name
    package = variables.get("__package__")
    if package is None:
        own = variables.get("__name__", "")
        package = own if "__path__" in variables else own.rpartition(".")[0]
    base = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{base}.{name}" if name else base


def list_shared_objects() -> list[str]:
    """Give the shared objects that are mapped into this process."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            paths = {line.rstrip("\n").partition("/")[2] for line in file if "/" in line}
    except OSError:
        return []
    return sorted(f"/{path}" for path in paths if path.endswith(".so") or ".so." in path)


def list_modules() -> list[tuple[str, str, str, int]]:
    """Give (name, file, .pyc, its bytes) of what has come since the start."""
    rows = []
    for name, module in list(sys.modules.items()):
        if name in _BEFORE or name.startswith("_trainkit_"):
            continue
        spec = getattr(module, "__spec__", None)
        cached = getattr(spec, "cached", None) or ""
        file = getattr(module, "__file__", None)
        try:
            size = os.stat(cached).st_size if cached else 0  # noqa: PTH116  # no pathlib here
        except (OSError, TypeError, ValueError):
            size = 0
        rows.append((name, file if isinstance(file, str) else "", str(cached), size))
    return rows


def start(folder: str, mode: str) -> None:
    """Measure until this process ends, then write a file of its number to `folder`."""
    witness = Witness() if mode == "witness" else None
    profiler: Any = None
    shared = list_shared_objects() if witness else []
    if mode == "calls":
        import _lsprof

        sys.modules.pop("_lsprof", None)
        profiler = _lsprof.Profiler(builtins=False)

    def write() -> None:
        cpu = time.process_time_ns() - begun
        blocks = sys.getallocatedblocks() - held
        if profiler:
            profiler.disable()
        facts: dict[str, Any] = {"pid": os.getpid(), "started": started, "cpu_ns": cpu, "blocks": blocks}
        facts["calls"] = sum(entry.callcount for entry in profiler.getstats()) if profiler else 0
        if witness:
            after = list_shared_objects()
            facts |= {"modules": list_modules(), "shared": [path for path in after if path not in shared]}
            facts |= witness.report()
        path = f"{folder}/{os.getpid()}"
        with open(path, "wb") as file:  # noqa: PTH123
            marshal.dump(facts, file, 2)
        os.replace(path, f"{path}.facts")  # noqa: PTH105  # whole or not at all

    atexit.register(write)
    started = time.time_ns()
    held = sys.getallocatedblocks()
    if witness:
        witness.arm()
    if profiler:
        profiler.enable()
    begun = time.process_time_ns()


if os.environ.get("TRAINKIT_IMPORTS"):
    start(os.environ["TRAINKIT_IMPORTS"], os.environ["TRAINKIT_IMPORTS_MODE"])
