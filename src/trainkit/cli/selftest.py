"""`trainkit selftest`: are planted faults seen, named rightly, and refactors let pass?"""

from __future__ import annotations

import time

from trainkit.cli.arguments import Parser, progress_printer
from trainkit.errors import UsageError, suggest
from trainkit.selftest.catalogue import FAULTS, REFACTORS, Case
from trainkit.selftest.runner import Outcome, find_camouflage, repeat, run_cases


def run(argv: list[str]) -> int:
    """Run the catalogue, or the cases that are named, and print what went wrong."""
    parser = Parser("selftest", "Plant known faults and true refactors in small trainers and judge each.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases or projects (default: all)")
    parser.add_argument("--hidden", action="store_true", help="plant each fault in the midst of a refactor")
    parser.add_argument("--verbose", "-v", action="store_true", help="a line for each case")
    parser.add_argument("--repeat", metavar="N", type=int, help="no faults: record the projects N times each")
    options = parser.parse_args(argv)
    if options.repeat is not None:
        return _repeat(options.cases, options.repeat)
    cases = _choose(options.cases)
    camouflage = find_camouflage(cases) if options.hidden else {}
    start = time.monotonic()
    outcomes = []
    for outcome in run_cases(cases, camouflage=camouflage, progress=progress_printer()):
        outcomes.append(outcome)
        if options.verbose or not outcome.good:
            print(_describe(outcome))
    print(_summarise(outcomes, time.monotonic() - start))
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _repeat(projects: list[str], times: int) -> int:
    """See that unchanged trainers never raise an alarm."""
    known = sorted({case.project for case in FAULTS})
    for name in projects:
        if name not in known:
            raise UsageError("unknown-case", f"no project '{name}'{suggest(name, known)}")
    if times < 1:
        raise UsageError("usage", f"--repeat {times}: at least 1")
    alarms = repeat(projects or known, times, progress_printer())
    for project, said in alarms.items():
        print(f"{project}: {times} runs, {len(said)} alarms")
        for text in said:
            print(f"    {text}")
    return 1 if any(alarms.values()) else 0


def _choose(names: list[str]) -> list[Case]:
    everything = [*FAULTS, *REFACTORS]
    known = {case.name for case in everything} | {case.project for case in everything}
    for name in names:
        if name not in known:
            raise UsageError("unknown-case", f"no case or project '{name}'{suggest(name, sorted(known))}")
    return [case for case in everything if not names or {case.name, case.project} & set(names)]


def _describe(outcome: Outcome) -> str:
    wrong = [
        word
        for word, good in (("not seen" if outcome.case.phases else "false alarm", outcome.seen),
                           ("phase", outcome.phase), ("line", outcome.line), ("level", outcome.level))
        if not good
    ]  # fmt: skip
    mark = "WRONG (" + ", ".join(wrong) + ")" if wrong else "good"
    expected = f" [{'/'.join(outcome.case.phases)}]" if outcome.case.phases else ""
    return f"{mark:16} {outcome.case.project}/{outcome.case.name}{expected}: {outcome.summary}"


def _summarise(outcomes: list[Outcome], seconds: float) -> str:
    judged = [outcome for outcome in outcomes if not outcome.skipped]
    faults = [outcome for outcome in judged if outcome.case.phases]
    refactors = [outcome for outcome in judged if not outcome.case.phases]
    right = {name: sum(getattr(o, name) for o in faults) for name in ("seen", "phase", "line", "level")}
    lines = [
        f"{len(faults)} faults: {right['seen']} seen, {right['phase']} in the right phase,"
        f" {right['line']} with the right line or name, {right['level']} of the right level",
        f"{len(refactors)} refactors: {sum(not o.seen for o in refactors)} false alarms",
    ]
    skipped = {outcome.case.project: outcome.skipped for outcome in outcomes if outcome.skipped}
    lines += [f"skipped: {project}, which needs {need}" for project, need in skipped.items()]
    return "\n".join([*lines, f"{seconds:.0f} s"])
