"""For pytest: `--benchmark` (and `--base`), `--golden-update`, markers `gpu`, `import_budget`, two fixtures.

Loads nothing but pytest; what a fixture needs is imported when it is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainkit.verdict import Verdict

_FOLDER = "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; pytest takes no abbreviations: `--benchmark` is free beside pytest-benchmark."""
    group = parser.getgroup("trainkit")
    group.addoption(
        "--benchmark",
        action="store_true",
        dest="trainkit_benchmark",
        help=f"run the benchmarks in {_FOLDER}/ and nothing else",
    )
    group.addoption(
        "--base",
        metavar="REF",
        dest="trainkit_base",
        help="with --benchmark: run them on this revision, too, in lock-step, and fail on what is slower",
    )
    group.addoption(
        "--golden-update",
        action="store_true",
        dest="trainkit_golden_update",
        help="store what the golden runs do now",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Leave `--benchmark --base REF` to the guard, whose workers are pytest runs of their own."""
    base = config.getoption("trainkit_base")
    if base is None:
        return None
    if not config.getoption("trainkit_benchmark"):
        raise pytest.UsageError("--base belongs to --benchmark: pytest --benchmark --base REF")
    from trainkit.cli.bench import judge_and_print
    from trainkit.errors import TrainkitError

    named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    if len(named) > 1:
        raise pytest.UsageError("--benchmark --base takes one file or folder; narrow it with -k")
    overrides = {"keyword": config.getoption("keyword")}
    if named:
        overrides["folder"] = os.path.relpath(config.invocation_params.dir / named[0], config.rootpath)
    try:
        return judge_and_print(config.rootpath, base, overrides)
    except TrainkitError as error:
        for line in error.lines():
            print(f"trainkit: error: {line}", file=sys.stderr)
        return error.exit_status


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; turn `--benchmark` into a run of the benchmarks folder."""
    config.addinivalue_line("markers", "gpu: needs a CUDA device, skipped where there is none")
    budget = (
        "import_budget(target, base=None, **limits): fails if importing the target brings more than it may"
    )
    config.addinivalue_line("markers", budget)
    if not config.getoption("trainkit_benchmark"):
        return
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("--benchmark needs pytest-benchmark: pip install 'trainkit[pytest]'")
    if config.getoption("numprocesses", default=None):
        raise pytest.UsageError(
            "--benchmark and -n exclude each other: processes side by side disturb the times"
        )
    # With `testpaths` set, config.args holds those although nobody named them: ask where they are from.
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        if not (config.rootpath / _FOLDER).is_dir():
            raise pytest.UsageError(f"--benchmark: there is no folder {config.rootpath / _FOLDER}")
        config.args = [str(config.rootpath / _FOLDER)]
    config.option.benchmark_only = True
    config.option.benchmark_disable_gc = True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where torch sees no CUDA device."""
    if item.get_closest_marker("gpu") is None:
        return
    try:
        import torch
    except ImportError:
        pytest.skip("no torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Hold the targets of `@pytest.mark.import_budget("mypkg.cli", forbid=["torch"])` against their budgets.

    Keywords are those of [tool.trainkit.imports.targets.NAME]; `base` names a revision to compare with.
    """
    for marker in pyfuncitem.iter_markers("import_budget"):
        if len(marker.args) != 1:
            raise pytest.UsageError(
                f"{pyfuncitem.nodeid}: import_budget takes one target, a module or a script"
            )
        limits = dict(marker.kwargs)
        base = limits.pop("base", None)
        table = {"targets": {marker.args[0]: limits}}
        _run_guard(pyfuncitem.config.rootpath, "imports", base, table, False)


@pytest.fixture
def trainkit_guard(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """Run one guard on this project and fail with its report unless it is satisfied.

    `trainkit_guard("imports", targets={"mypkg.cli": {"forbid": ["torch"]}})`: keywords replace keys of
    [tool.trainkit.imports], `base` names a revision to compare with. What cannot be compared in this
    environment, or has nothing to run on, skips the test.
    """
    config = request.config
    return lambda name, *, base=None, **table: _run_guard(
        config.rootpath, name, base, table, config.getoption("trainkit_golden_update")
    )


@pytest.fixture
def trainkit_verify(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Call a training function at a revision and here, and fail unless both are bitwise identical.

    `trainkit_verify(train_two_epochs, base="main")`, or against tests/golden/NAME.jsonl:
    `trainkit_verify(train_two_epochs, golden="NAME")`. The function takes no arguments and stands at the
    top of its file; keywords such as `steps` and `env` are those of `trainkit verify`.
    """
    root = request.config.rootpath
    update = request.config.getoption("trainkit_golden_update")
    return lambda function, *, base="", golden="", **options: _verify_function(
        root, function, base, golden, options, update
    )


def _verify_function(
    root: Path, function: Callable[[], Any], base: str, golden: str, options: dict[str, Any], update: bool
) -> None:
    if bool(base) == bool(golden):
        raise pytest.UsageError("trainkit_verify needs either base='REF' or golden='NAME'")
    if golden:
        import shlex

        from trainkit.verify.function import make_command

        with _failing_in_words():
            command = shlex.join(make_command(root, function)[1])
        _run_guard(root, "golden", None, {"runs": {golden: {"commands": [command]}}}, update)
        return
    from trainkit.report.verification import render_verification
    from trainkit.verdict import exit_status_of
    from trainkit.verify.function import verify_function

    with _failing_in_words():
        result = verify_function(root, function, base=base, **options)
    if exit_status_of(result.status):
        pytest.fail(render_verification(result), pytrace=False)


def _run_guard(root: Path, name: str, base: str | None, table: dict[str, Any], update: bool) -> Verdict:
    from trainkit.gate import judge
    from trainkit.report.text import render_text
    from trainkit.verdict import Status

    update = update and name == "golden"
    overrides = {name: table} if table else {}
    with _failing_in_words():
        judgement = judge(root, [name], base=base, overrides=overrides, writable=True, update=update)
    verdict = judgement.verdicts[0]
    if verdict.status in {Status.SKIPPED, Status.NOT_COMPARABLE}:
        pytest.skip(f"{verdict.status}: {verdict.summary}")
    if verdict.status not in {Status.PASSED, Status.IDENTICAL}:
        pytest.fail(render_text([verdict]), pytrace=False)
    return verdict


@contextmanager
def _failing_in_words() -> Iterator[None]:
    """Fail a test with what is wrong, where and what to do, instead of with the way that led there."""
    from trainkit.errors import TrainkitError

    try:
        yield
    except TrainkitError as error:
        pytest.fail("\n".join(error.lines()), pytrace=False)
