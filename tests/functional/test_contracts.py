"""The direction of imports: kept today, and each contract is broken by one planted line."""

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("importlinter")

# contract -> (file, line that breaks it)
PLANTS = {
    "Imports go one way": ("repo/git.py", "import trainkit.gate"),
    "Guards do not know each other": ("guards/bench/check.py", "import trainkit.guards.gpu"),
    "Guards do not know the core": ("guards/gpu.py", "import trainkit.core.config"),
    "The recorder brings the standard library": ("trace/digest.py", "import trainkit.errors"),
    "No cycles among siblings": (
        "guards/golden/file.py",
        "def late():\n    import trainkit.guards.golden.check",
    ),
}


@pytest.fixture
def lint(tmp_path, request):
    """Run lint-imports on a copy of the package, with a line added to one file."""
    root = request.config.rootpath
    shutil.copytree(root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)

    def run(file=None, line=""):
        if file:
            path = tmp_path / "src/trainkit" / file
            path.write_text(path.read_text() + f"\n\n{line}\n")
        code = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command as f; f()"
        return subprocess.run(
            [sys.executable, "-c", code, "--no-cache"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_contracts_are_kept(lint):
    """As the package stands, all of them."""
    done = lint()

    assert f"{len(PLANTS)} kept, 0 broken" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("contract", PLANTS)
def test_a_planted_import_breaks_its_contract(lint, contract):
    """A contract that cannot break holds nothing."""
    done = lint(*PLANTS[contract])

    assert done.returncode == 1
    (verdict,) = [
        text for text in done.stdout.splitlines() if text.startswith(contract) and text.split()[-1].isupper()
    ]
    assert verdict.endswith("BROKEN")
