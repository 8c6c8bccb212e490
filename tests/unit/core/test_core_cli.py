"""`trainkit check` and `trainkit train`, and what they do not import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import trainkit
from trainkit.cli import check, train
from trainkit.errors import ConfigError, UsageError

LIGHT = """
import sys
from trainkit.cli.check import run
import trainkit.core.registry
run(["model=lstm"])
print([name for name in ("torch", "numpy", "lightning") if name in sys.modules], file=sys.stderr)
"""


def find_heavy_modules(python_path: Path, code: str = LIGHT) -> str:
    """Run `code` in a fresh process that takes its packages from `python_path` first; give its stderr."""
    # without coverage, which would count the planted copies of the package as ours
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = str(python_path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return done.stderr.strip()


def test_check_does_not_import_torch(tmp_path):
    """Composing and printing a configuration loads neither torch nor numpy."""
    assert find_heavy_modules(tmp_path) == "[]"


@pytest.mark.parametrize("module", ["core/config.py", "core/compose.py", "core/registry.py", "cli/check.py"])
def test_planted_import_is_seen(tmp_path, module):
    """The test above can fail: a planted `import torch` is reported (torch is a stub here: fast)."""
    shutil.copytree(Path(trainkit.__file__).parent, tmp_path / "trainkit")
    (tmp_path / "torch.py").touch()
    with (tmp_path / "trainkit" / module).open("a", encoding="utf-8") as file:
        file.write("\nimport torch\n")

    assert find_heavy_modules(tmp_path) == "['torch']"


def test_typo_is_answered_before_torch(tmp_path):
    """A mistake in the arguments of train costs no import of torch."""
    code = """
import sys
from trainkit.cli.train import run
from trainkit.errors import ConfigError
try:
    run(["trainer.max_epoch=1"])
except ConfigError:
    print("torch" in sys.modules, file=sys.stderr)
"""

    assert find_heavy_modules(tmp_path, code) == "False"


def test_check_prints_yaml(capsys):
    """The whole configuration is printed, with the override in place."""
    status = check.run(["model=lstm", "trainer.max_epochs=5"])
    printed = capsys.readouterr().out

    assert status == 0
    assert printed.startswith("model:\n  name: lstm\n")
    assert "\n  max_epochs: 5\n" in printed


def test_check_refuses(capsys):
    """A mistake is raised for the command line to print; nothing is printed before."""
    with pytest.raises(ConfigError):
        check.run(["trainer.max_epoch=5"])

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", [check, train])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_groups_and_keys(capsys, command, flag):
    """Help has an example, the groups with their options, and the keys with their defaults."""
    status = command.run([flag])
    printed = capsys.readouterr().out

    assert status == 0
    assert printed.startswith(f"usage: trainkit {command.__name__.rpartition('.')[2]} [--config-dir DIR ")
    assert "  model=transformer|lstm|" in printed
    assert "  trainer.max_epochs=3\n" in printed
    assert "  resume=null\n" in printed


@pytest.mark.parametrize(("command", "name"), [(check, "check"), (train, "train")])
def test_flags_are_refused(command, name):
    """A flag that does not exist is explained, not parsed as an override."""
    with pytest.raises(UsageError) as caught:
        command.run(["--epochs", "3"])

    assert caught.value.lines() == [
        f"unknown-option: trainkit {name} has no option '--epochs'; settings are written key=value, "
        f"see trainkit {name} --help"
    ]


@pytest.mark.parametrize(
    ("command", "missing", "line"),
    [
        (train, "torch", "trainkit train needs torch and hydra-core: pip install 'trainkit[core]'"),
        (train, "hydra", "trainkit train needs torch and hydra-core: pip install 'trainkit[core]'"),
        (check, "hydra", "trainkit check needs hydra-core: pip install 'trainkit[core]'"),
    ],
)
def test_missing_dependency_is_one_line(monkeypatch, command, missing, line):
    """Without the extra, one line says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as caught:
        command.run([])

    assert caught.value.lines() == [f"missing-dependency: {line}"]


def test_train_prints_a_summary(text_file, tmp_path, capsys):
    """Epochs, losses and the path of the best weights are what a user sees at the end."""
    status = train.run(
        [
            *("model=lstm", "model.hidden_dim=8", "model.embedding_dim=4", "trainer.max_epochs=1"),
            *(f"data.source='{text_file}'", f"output_dir='{tmp_path}'", "trainer.device=cpu"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()

    assert status == 0
    assert lines[0] == "trained 1 epoch, 1 step"
    assert [line.split()[0] for line in lines[1:4]] == ["train", "validation", "test"]
    assert lines[4] == f"best weights: {tmp_path}/default/best.ckpt"


def test_check_says_what_changed(capsys):
    """Behind the YAML, as comments: all of standard output is one document that reads back."""
    check.run(["model=lstm", "trainer.max_epochs=5", "seed=0"])
    printed = capsys.readouterr().out

    assert OmegaConf.create(printed) == OmegaConf.create(printed.partition("\n# changed")[0])
    assert printed.partition("# changed:\n")[2].splitlines() == [
        "# model: 'transformer' -> 'lstm'   (model=lstm)",
        "# trainer.max_epochs: 3 -> 5   (trainer.max_epochs=5)",
        "# seed=0 has no effect: it is so already",
    ]
    check.run([])
    assert "#" not in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--config-dir", "conf"], ["--config-dir=conf", "--config-name=config"]])
def test_a_folder_is_given_as_a_flag(flags, tmp_path, monkeypatch, capsys):
    """With a value behind it or in it, before or behind overrides."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text("seed: 7\n")
    monkeypatch.chdir(tmp_path)
    check.run(["exp_name=x", *flags])

    assert "# seed: 0 -> 7   (conf/config.yaml:1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config-dir"], "usage: --config-dir needs a value"),
        (["--config-dir=a", "--config-dir=b"], "usage: --config-dir stands twice"),
        (
            ["--config-name", "x"],
            "usage: --config-name needs --config-dir DIR, the folder that the file is in",
        ),
    ],
)
def test_flags_that_say_too_little(argv, message):
    """One line."""
    with pytest.raises(UsageError) as caught:
        train.split_config_options(argv)

    assert caught.value.lines() == [message]


def test_the_collector_is_kept_away_from_what_a_training_imports(uncovered):
    """Once: a process that trains again would keep for ever what the first training has left."""
    program = """
import gc, sys
from trainkit.cli.train import load_training
before = gc.get_threshold()
for name in ("first", "second"):
    load_training(lean=True)
    print(gc.get_threshold() == before, gc.get_freeze_count() > 100_000, "torch._dynamo" in sys.modules)
    kept = [[] for _ in range(1_000)]
    gc.unfreeze() if name == "first" else None
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | uncovered,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["True True False", "True False False"]
