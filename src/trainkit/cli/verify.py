"""`trainkit verify`, `record`, `compare`, `show` and `bisect`: recorded training, side by side."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from trainkit.cli.arguments import (
    Parser,
    add_run_options,
    check_output,
    find_project,
    progress_printer,
    read_run_options,
    text_options,
)
from trainkit.errors import UsageError
from trainkit.report.verification import render_verification
from trainkit.verdict import exit_status_of
from trainkit.verify.options import RunOptions, is_hash_seed
from trainkit.verify.result import Verification

_ABOUT = {
    "verify": "Run a training command at two revisions and tell whether it is bitwise identical.",
    "record": "Run a training command on the working tree and write its trace to a file.",
    "compare": "Compare two recorded traces, also of different machines.",
    "show": "Put a recorded trace into words.",
    "bisect": "Find the commit since which a training command computes other bits.",
}


def run(argv: list[str]) -> int:
    """Run one of the five commands; `argv` begins with its name."""
    name, *words = argv
    return {"verify": _verify, "record": _record, "compare": _compare, "show": _show, "bisect": _bisect}[
        name
    ](words)


def _verify(words: list[str]) -> int:
    from trainkit.verify.verify import verify

    parser = _make_parser("verify")
    parser.add_argument(
        "--base", metavar="REF", help="the revision to trust (default: HEAD, or its parent if clean)"
    )
    parser.add_argument(
        "--head", metavar="REF", help="the revision under test (default: the working tree as it is)"
    )
    parser.add_argument(
        "--overlay", metavar="PATCH", type=Path, help="apply the same patch to both sides first"
    )
    parser.add_argument("--no-cache", action="store_true", help="train the baseline anew, twice")
    parser.add_argument(
        "--control-hash-seed", metavar="N", default="", help="hash seed of the baseline's second run"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the verdict there, too")
    options, run_options = _parse_run(parser, words)
    check_output(options.json)
    if options.control_hash_seed and not is_hash_seed(options.control_hash_seed):
        message = f"--control-hash-seed {options.control_hash_seed}: give a number up to 4294967295"
        raise UsageError("usage", message)
    result = verify(
        find_project(),
        run_options,
        base=options.base,
        head=options.head,
        overlay=options.overlay,
        use_cache=not options.no_cache,
        control_hash_seed=options.control_hash_seed,
        progress=progress_printer(),
    )
    return _tell(result, options.json)


def _record(words: list[str]) -> int:
    from trainkit.trace.store import write_trace
    from trainkit.verify.verify import record

    parser = _make_parser("record")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the trace, such as run.trace"
    )
    options, run_options = _parse_run(parser, words)
    check_output(options.output)
    with tempfile.TemporaryDirectory(prefix="trainkit-record-") as folder:
        done = record(find_project(), run_options, into=Path(folder), progress=progress_printer())
        header = {"command": run_options.shown(), "settings": run_options.describe(), "broke": done.broke}
        write_trace(options.output, header, done.recording)
    size = options.output.stat().st_size
    print(f"{options.output}: {len(done.recording.paths)} process(es), {size} bytes")
    if done.broke:
        print(f"trainkit: {done.broke}; the trace ends there", file=sys.stderr)
        for line in done.evidence:
            print(f"    | {line}", file=sys.stderr)
        return 3
    return 0


def _compare(words: list[str]) -> int:
    from trainkit.verify.files import compare_files

    parser = Parser("compare", _ABOUT["compare"])
    parser.add_argument("expected", type=Path, help="the trace that is trusted")
    parser.add_argument("actual", type=Path, help="the trace under test")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the verdict there, too")
    options = parser.parse_args(words)
    check_output(options.json)
    return _tell(compare_files(options.expected, options.actual), options.json)


def _show(words: list[str]) -> int:
    from trainkit.verify.files import describe_file

    parser = Parser("show", _ABOUT["show"])
    parser.add_argument("trace", type=Path, help="a file that `trainkit record` has written")
    for line in describe_file(parser.parse_args(words).trace):
        print(line)
    return 0


def _bisect(words: list[str]) -> int:
    from trainkit.verify.bisect import bisect

    parser = _make_parser("bisect")
    parser.add_argument("--good", metavar="REF", required=True, help="a revision whose training is trusted")
    parser.add_argument(
        "--bad", metavar="REF", default="HEAD", help="one that computes other bits (default: HEAD)"
    )
    parser.add_argument(
        "--overlay", metavar="PATCH", type=Path, help="apply the same patch to every revision first"
    )
    options, run_options = _parse_run(parser, words)
    found = bisect(
        find_project(),
        run_options,
        good=options.good,
        bad=options.bad,
        overlay=options.overlay,
        progress=progress_printer(),
    )
    for line in found.tried:
        print(line)
    print(f"\nfirst commit that computes other bits: {found.commit}\n")
    return _tell(found.verification, None)


def _make_parser(name: str) -> Parser:
    return Parser(name, _ABOUT[name], usage=f"trainkit {name} [options] -- COMMAND ...")


def _parse_run(parser: Parser, words: list[str]) -> tuple[argparse.Namespace, RunOptions]:
    """Split at `--`: what is before is ours, what follows is the command."""
    add_run_options(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if "--" not in words:
        if not {"-h", "--help"} & set(words):
            raise UsageError(
                "no-command", f"give the command behind --: {parser.prog} [options] -- python train.py"
            )
        parser.parse_args(words)
    at = words.index("--")
    options = parser.parse_args(words[:at])
    if options.command:
        raise UsageError("usage", f"unexpected '{options.command[0]}' before --; see {parser.prog} --help")
    return options, read_run_options(options, words[at + 1 :], where=parser.prog)


def _tell(result: Verification, json_file: Path | None) -> int:
    print(render_verification(result, **text_options()))  # type: ignore[arg-type]
    if json_file is not None:
        from trainkit.report.json import render_value

        json_file.write_text(render_value(result), encoding="utf-8", errors="backslashreplace")
    return exit_status_of(result.status)
