"""The documents say what is so."""

import re
import tomllib

import pytest

from trainkit.cli import COMMANDS
from trainkit.guards import GUARDS

# Words with a hyphen in quotation marks that are no slugs.
OTHER_WORDS = {
    "packed-refs",
    "read-tree",
    "after-fault",
    "cat-file",
    "check-ignore",
    "before-fault",
    "data-wait",
    "deep-end",
    "dist-packages",
    "hydra-core",
    "hyper-parameter",
    "hyper-parameters",
    "logging-only",
    "files-only",
    "ls-files",
    "ls-tree",
    "merge-base",
    "plain-fault",
    "rev-list",
    "rev-parse",
    "rounding-level",
    "site-packages",
    "value-level",
}


@pytest.fixture
def read(request):
    return lambda name: (request.config.rootpath / name).read_text(encoding="utf-8")


def test_every_message_is_explained_and_every_explanation_has_a_message(read, request):
    """A slug in the code has its entry in docs/messages.md, and the other way round."""
    sources = [
        path
        for path in (request.config.rootpath / "src/trainkit").rglob("*.py")
        if "projects" not in path.parts and path.name != "catalogue.py"
    ]
    used = {slug for path in sources for slug in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', path.read_text())}
    entries = [line for line in read("docs/messages.md").splitlines() if line.startswith("- `")]
    explained = {slug for line in entries for slug in re.findall(r"`([a-z-]+)`", line.partition(" – ")[0])}

    assert explained == used - OTHER_WORDS | {"usage", "system-error"}


def test_ci_runs_the_command_of_the_readme(read):
    """.ci/run calls the test command that people are told to use."""
    assert read(".ci/run").splitlines()[-1] == "python -m pip install tox && tox"
    assert "\npython -m pip install tox && tox\n" in read("README.md")
    assert "\npython -m pip install tox && tox run -e gate\n" in read("README.md")


def test_the_readme_names_every_command_and_guard(read):
    """Nothing that can be typed is left out."""
    text = read("README.md")

    assert [
        name for name in {*COMMANDS, *GUARDS} if f"`{name}`" not in text and f"trainkit {name}" not in text
    ] == []


def test_the_pin_of_torch_fits_the_package(read):
    """The constraint that CI uses lies in the range that the package asks for."""
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    pinned = re.search(r"^torch==(\d+)\.(\d+)", read("constraints.txt"), re.MULTILINE)
    needed = re.search(r"torch>=(\d+)\.(\d+)", " ".join(extras["core"]))

    assert tuple(map(int, pinned.groups())) >= tuple(map(int, needed.groups()))
