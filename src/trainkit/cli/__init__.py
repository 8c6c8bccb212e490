"""Arguments in, exit status out: 0 good, 1 a guard failed, 2 usage or configuration, 3 could not judge.

Nothing is imported here that `trainkit --help` does not need; a command's module is loaded when it runs.
"""

import sys

# name -> (module with `run(argv) -> int`, what it does)
COMMANDS = {
    "verify": ("trainkit.cli.verify", "is training bitwise identical at two revisions, and if not, where"),
    "record": ("trainkit.cli.verify", "write the trace of a training to a file"),
    "compare": ("trainkit.cli.verify", "compare two recorded traces"),
    "show": ("trainkit.cli.verify", "put a recorded trace into words"),
    "bisect": ("trainkit.cli.verify", "find the commit since which training computes other bits"),
    "review": ("trainkit.cli.review", "what in this tree is worth a refactor, and why: a whole report"),
    "selftest": ("trainkit.cli.selftest", "plant faults and refactors; see that each is judged right"),
    "gate": ("trainkit.cli.gate", "judge this refactor: all guards, one table, one exit status"),
    "imports": (
        "trainkit.cli.imports",
        "guard what comes along when a module is imported or a program starts",
    ),
    "golden": ("trainkit.cli.guards", "guard that training is bitwise what it was"),
    "complexity": ("trainkit.cli.guards", "guard that no function or module body got worse"),
    "duplication": ("trainkit.cli.guards", "guard against new copies of code, and fixes that forget one"),
    "bench": ("trainkit.cli.bench", "is a benchmark slower than at a baseline, and which function grew"),
    "gpu": ("trainkit.cli.guards", "guard the tests that need a CUDA device"),
    "new": ("trainkit.cli.new", "write a minimal project that uses the core, guarded from its first commit"),
    "check": ("trainkit.cli.check", "compose and validate a configuration, without torch"),
    "train": ("trainkit.cli.train", "train the core on a configuration"),
    "sweep": ("trainkit.cli.sweep", "search the best configuration with Optuna"),
    "runs": ("trainkit.cli.runs", "list, compare, show and repeat the runs of the core"),
    "evaluate": ("trainkit.cli.evaluate", "measure checkpoints on one task or many, as a table"),
}

_SHARED = {"trainkit.cli.guards", "trainkit.cli.verify"}  # several commands in one module


def main(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit status; a mistake of the user's is one line, no traceback."""
    try:
        if hasattr(sys.stdout, "reconfigure"):  # names of files may hold what no encoding has
            sys.stdout.reconfigure(errors="backslashreplace")
        status = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("trainkit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        _abandon_output()
        return 0
    except OSError as error:  # a full disk, a folder that is gone: the message of the system says it
        print(f"trainkit: error: system-error: {error}", file=sys.stderr)
        _abandon_output()
        return 3


def _abandon_output() -> None:
    """Keep what is still buffered from failing once more when Python ends."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        from trainkit import __version__

        print(f"trainkit {__version__}")
        return 0
    return _run(argv[0], argv[1:])


def _help() -> str:
    lines = [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: trainkit COMMAND ...",
            "",
            "Prove that a refactor of training code changed nothing but the code.",
            "",
            *lines,
            "",
            "trainkit COMMAND --help says more. Exit status: 0 good, 1 a guard failed,",
            "2 usage or configuration, 3 could not judge.",
        ]
    )


def _run(name: str, argv: list[str]) -> int:
    import importlib

    from trainkit.errors import TrainkitError, UsageError, suggest

    try:
        if name not in COMMANDS:
            raise UsageError("unknown-command", f"no command '{name}'{suggest(name, COMMANDS)}")
        module = COMMANDS[name][0]
        run = importlib.import_module(module).run
        status: int = run([name, *argv] if module in _SHARED else argv)
        return status
    except TrainkitError as error:
        for line in error.lines():
            print(f"trainkit: error: {line}", file=sys.stderr)
        for line in error.evidence:  # what a program said
            print(f"    | {line}", file=sys.stderr)
        return error.exit_status
