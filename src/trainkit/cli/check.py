"""`trainkit check`: overrides in, the resolved configuration out, and nothing trained."""

from __future__ import annotations

from trainkit.cli.train import check_arguments, describe_settings, wants_help

USAGE = """\
usage: trainkit check [OVERRIDE ...]

Print the configuration that `trainkit train` would use, as YAML.

  trainkit check model=lstm trainer.max_epochs=3
"""


def run(argv: list[str]) -> int:
    """Print the resolved configuration as YAML; give the exit status.

    Raises:
        ConfigError: every mistake in the overrides.
    """
    if wants_help(argv):
        print(USAGE + "\n" + describe_settings(), end="")
        return 0
    check_arguments("check", argv, needs={"hydra": "hydra-core"})
    from trainkit.core.compose import compose, to_yaml

    print(to_yaml(compose(argv)), end="")
    return 0
