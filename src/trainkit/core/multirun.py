"""Grid sweeps by Hydra's multirun, here or on a cluster through a launcher that is installed.

    python -m trainkit.core.multirun --multirun model=lstm optimizer.learning_rate=1e-3,1e-2
    python -m trainkit.core.multirun --multirun seed=0,1 hydra/launcher=submitit_local

Hydra cuts the combinations and launches them; types and names are ours: settings are checked before it sees
them, and each job hands its own to `compose`. Hydra is told to add each (`++key=value`), for it knows none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from trainkit.core.config import GROUPS
from trainkit.errors import TrainkitError


def run_job(_: Any) -> float:
    """Train this job's combination in Hydra's folder for it; give the last validation loss."""
    from dataclasses import replace
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from trainkit.core.compose import compose
    from trainkit.core.trainer import train

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    config = compose([each.lstrip("+") for each in job.overrides.task])
    return train(replace(config, output_dir=str(folder.parent), exp_name=folder.name)).validation.mean_loss


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give Hydra's arguments, and the settings that are ours."""
    ours = [
        each
        for each in arguments
        if "=" in each and not each.startswith("-") and not each.lstrip("+~").startswith(("hydra.", "hydra/"))
    ]
    return [each for each in arguments if each not in ours], ours


def main() -> int:
    """Check the settings, then let Hydra launch; give the exit status."""
    import hydra
    from hydra.core.config_store import ConfigStore

    from trainkit.core.compose import compose
    from trainkit.core.space import read_space

    theirs, ours = split_arguments(sys.argv[1:])
    is_multirun = bool({"-m", "--multirun"} & set(theirs))
    try:
        if is_multirun:
            read_space(ours).list_grid()
        else:
            compose(ours)
    except TrainkitError as error:
        return _refuse(*error.lines(), status=error.exit_status)
    store = ConfigStore.instance()
    store.store(name="trainkit", node={"defaults": ["_self_"]})
    for group, options in GROUPS.items():
        for name in options:
            store.store(group=group, name=name, node={"name": name})
    plain = [each.lstrip("+") for each in ours]
    sys.argv[1:] = [
        *theirs,
        *(f"{'+' if each.partition('=')[0] in GROUPS else '++'}{each}" for each in plain),
    ]
    try:
        hydra.main(version_base="1.3", config_path=None, config_name="trainkit")(run_job)()
    except ValueError as error:
        if str(error) != "badly formed help string":  # what argparse says of Hydra's, from Python 3.14 on
            raise
        return _refuse(
            f"Hydra {hydra.__version__} does not start on this Python; take 3.13, or: trainkit sweep"
        )
    return 0


def _refuse(*lines: str, status: int = 2) -> int:
    print(*(f"trainkit: error: {line}" for line in lines), sep="\n", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
