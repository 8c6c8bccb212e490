"""A process that has imported torch and forks one child per training: a case then costs no start-up.

Reads jobs as JSON lines on standard input, answers each with one line. The recorder is armed in the child,
as it is in a fresh process; that a fresh process records the same is a test of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer jobs until standard input ends."""
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # imports what every optimizer does
    for name in ("torch.utils.data", "torch.nn.parallel", "torch.optim.swa_utils", "numpy", "lightning"):
        with suppress(ImportError):
            importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps({"status": _run(json.loads(line))}), flush=True)


def _run(job: dict[str, Any]) -> int:
    ranks = job.get("ranks", 1)
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = []
    for rank in range(ranks):
        process = os.fork()
        if process == 0:
            own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            os._exit(_train(job, own, Path(job["output"] + (f".{rank}" if rank else ""))))
        children.append(process)
    return max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) & 255 for process in children)


def _train(job: dict[str, Any], variables: dict[str, str], output: Path) -> int:
    """Run the program in this process, from arming the recorder to its exit functions."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(variables | job["environment"])
    os.chdir(job["folder"])
    sys.path.insert(0, job["folder"])
    sys.argv = [job["script"]]
    status = 0
    try:
        runpy.run_path(job["preload"], run_name="_trainkit_preload")
        runpy.run_path(job["script"], run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
