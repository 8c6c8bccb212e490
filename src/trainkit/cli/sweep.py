"""`trainkit sweep`: a search space in, its trials and the best of them out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainkit.cli.arguments import Parser, progress_printer
from trainkit.cli.train import check_arguments, load_training
from trainkit.errors import TrainkitError, UsageError, suggest
from trainkit.repo.signals import has_ended, hold_signals, wait_for

if TYPE_CHECKING:
    import optuna

    from trainkit.core.sweep import Sweep

DESCRIPTION = """\
Train many configurations and find the best. Settings are written as for trainkit train; what is searched has
several values, in Hydra's grammar: a=1,2  choice(x,y)  range(1,5)  interval(0,1)  tag(log,interval(1e-4,1)).
Started again after a crash, the same command goes on; started twice, or on another machine with the same
--storage and --name, it helps. Files go to output_dir/NAME, a trial's to its number there.
"""
EPILOG = """\
  trainkit sweep model=lstm,transformer 'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))' --trials 30
"""
_SHOWN = 10  # of the best trials


def run(argv: list[str]) -> int:
    """Run the trials, print the best of them; give the exit status.

    Raises:
        TrainkitError: a mistake of the user, or a trial that cannot be run.
    """
    options = _parse(argv)
    check_arguments("sweep", options.overrides, needs={"torch": "torch", "hydra": "hydra-core"})
    if find_spec("optuna") is None:
        raise UsageError("missing-dependency", "trainkit sweep needs optuna: pip install 'trainkit[sweep]'")
    sweep = _read_sweep(options)
    from trainkit.core.sweep import open_study, run_trials

    if options.worker_of:
        load_training(lean=sweep.space.config.trainer.lean)
        try:
            run_trials(sweep, open_study(sweep), alive=lambda: os.getppid() == options.worker_of)
        except KeyboardInterrupt:
            return 130  # the command that started this worker has said so
        return 0
    study = open_study(sweep)
    if options.workers == 1:
        load_training(lean=sweep.space.config.trainer.lean)
        show = progress_printer()
        run_trials(sweep, study, done=lambda: show(_describe_progress(sweep, study)))
        show("")
    else:
        _run_workers(argv, options.workers, sweep, study)
    return _finish(sweep, study)


def _parse(argv: list[str]) -> Any:
    import argparse

    parser = Parser("sweep", DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="a setting, or several values of one"
    )
    parser.add_argument("--trials", type=int, help="how many in all (default: 20, or the whole grid)")
    parser.add_argument("--sampler", default="tpe", help="tpe (default), random or grid")
    parser.add_argument("--pruner", default="none", help="none (default), median or hyperband")
    parser.add_argument("--metric", default="loss", help="what the validation step measures (default: loss)")
    parser.add_argument("--direction", default="minimize", help="minimize (default) or maximize")
    parser.add_argument("--name", default="sweep", help="of the study and its folder (default: sweep)")
    parser.add_argument(
        "--storage", default="", metavar="URL", help="a database (default: SQLite in the folder)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--timeout", type=float, default=float("inf"), help="seconds after which none is begun"
    )
    parser.add_argument("--worker-of", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_intermixed_args(argv)


def _check_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise UsageError("usage", f"--{name} {value}: must be at least {least}")


def _read_sweep(options: Any) -> Sweep:
    """Check every option, then the space.

    Raises:
        UsageError: one has no meaning.
    """
    from trainkit.core.space import read_space
    from trainkit.core.sweep import PRUNERS, SAMPLERS, Sweep

    for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("direction", ("minimize", "maximize"))):
        value = getattr(options, name)
        if value not in known:
            raise UsageError("usage", f"--{name} {value}: there is no such{suggest(value, known)}")
    for name, least in (("trials", 1), ("workers", 1), ("timeout", 0)):
        _check_least(name, getattr(options, name), least)
    folder = Path(options.name)
    if folder.is_absolute() or ".." in folder.parts or not folder.parts:
        raise UsageError("usage", f"--name {options.name!r}: must name a folder inside output_dir")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("ranks-unsupported", "a sweep runs in one process each; start it without torchrun")
    sweep = Sweep(
        read_space(options.overrides),
        name=options.name,
        num_trials=options.trials or 0,
        sampler=options.sampler,
        pruner=options.pruner,
        metric=options.metric,
        direction=options.direction,
        storage=options.storage,
        timeout_s=options.timeout,
    )
    sweep.count_trials()
    return sweep


def _run_workers(argv: Sequence[str], count: int, sweep: Sweep, study: optuna.Study) -> None:
    """Run so many processes, each a worker like one on another machine; none of them outlives this one.

    Raises:
        TrainkitError: a worker failed by itself.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    command = [sys.executable, "-m", "trainkit", "sweep", *argv, "--worker-of", str(os.getpid())]
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    logs = [sweep.folder / "workers" / f"{number}.log" for number in range(count)]
    workers: list[subprocess.Popen[bytes]] = []
    show = progress_printer()
    try:
        for log in logs:
            with log.open("wb") as file:
                process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)
                workers.append(process)
        while not all(has_ended(worker) for worker in workers):
            show(_describe_progress(sweep, study) if sys.stderr.isatty() else "")
            time.sleep(0.1)
        show("")
    finally:
        _stop(workers)
    said = dict.fromkeys(log.read_text(encoding="utf-8", errors="replace") for log in logs)
    print(*filter(None, said), sep="", end="", file=sys.stderr)
    failed = [worker.returncode for worker in workers if worker.returncode]
    if failed:
        error = UsageError if set(failed) == {2} else TrainkitError
        message = f"{len(failed)} of {count} workers failed (status {failed[0]}); the same command goes on"
        raise error("sweep-worker", message)


def _stop(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs: gently, then, or at a second Ctrl-C, by force."""
    try:
        with hold_signals():
            for worker in workers:
                worker.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            for worker in workers:
                wait_for(worker, 5)
    finally:
        with hold_signals():
            for worker in workers:
                worker.kill()
                worker.wait()


def _describe_progress(sweep: Sweep, study: optuna.Study) -> str:
    done = _list_finished(study)
    text = f"sweep {sweep.name}: {len(done)} of {sweep.count_trials()} trials"
    best = _sort(sweep, done)[:1]
    return text + "".join(f", best {sweep.metric} {each.value:.6g} (trial {each.number})" for each in best)


def _list_finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _sort(sweep: Sweep, trials: list[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """Give what came to its end, best first."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return sorted(complete, key=lambda each: each.value or 0.0, reverse=sweep.direction == "maximize")


def _finish(sweep: Sweep, study: optuna.Study) -> int:
    """Print the best trials, and how to train the best again; give the exit status."""
    from trainkit.core.sweep import draw, write_command

    done = _list_finished(study)
    best = _sort(sweep, done)
    counts = f"{len(done)} trials, {len(best)} complete, {len(done) - len(best)} pruned"
    print(f"swept {counts}: {sweep.folder}")
    if best:
        rows = [
            f"{trial.number:5}  {trial.value:<12.6g}{' '.join(sweep.space.write(trial.params))}"
            for trial in best[:_SHOWN]
        ]
        again = f"best again: {write_command(sweep, best[0])}"
        print(f"trial  {sweep.metric:<12}overrides", *rows, again, sep="\n")
    if find_spec("matplotlib") is None:
        print("no pictures: pip install 'trainkit[sweep]'", file=sys.stderr)
    else:
        for path in draw(sweep, study):
            print(f"picture: {path}")
    if (left := sweep.count_trials() - len(done)) > 0:
        print(f"{left} trials are left; the same command goes on", file=sys.stderr)
    return 0
