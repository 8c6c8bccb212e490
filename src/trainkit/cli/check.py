"""`trainkit check`: overrides in, the resolved configuration out, and nothing trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainkit.cli.train import (
    CONFIG_OPTIONS,
    check_arguments,
    describe_settings,
    split_config_options,
    wants_help,
)

if TYPE_CHECKING:
    from trainkit.core.compose import Composition

USAGE = """\
usage: trainkit check [--config-dir DIR [--config-name NAME]] [OVERRIDE ...]

Print the configuration that `trainkit train` would use, as YAML, and behind it,
as comments, what each override and file changed.

  trainkit check model=lstm trainer.max_epochs=3
  trainkit check --config-dir conf model=big

"""


def run(argv: list[str]) -> int:
    """Print the resolved configuration as YAML; give the exit status.

    Raises:
        ConfigError: every mistake in the overrides and files.
    """
    if wants_help(argv):
        print(USAGE + CONFIG_OPTIONS + describe_settings(), end="")
        return 0
    options, overrides = split_config_options(argv)
    check_arguments("check", overrides, needs={"hydra": "hydra-core"})
    from trainkit.core.compose import explain, to_yaml

    composition = explain(overrides, **options)
    print("\n".join([to_yaml(composition.config).rstrip(), *describe_changes(composition)]))
    return 0


def describe_changes(composition: Composition) -> list[str]:
    """Give a YAML comment for each change, and for each override that makes none."""
    changes = [f"# {each.key}: {each.old!r} -> {each.new!r}   ({each.where})" for each in composition.changes]
    idle = [f"# {override} has no effect: {why}" for override, why in composition.idle.items()]
    return ["", "# changed:", *changes, *idle] if changes or idle else []
