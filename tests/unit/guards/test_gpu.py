"""The gpu guard: skipped is skipped, and a broken suite is seen on any machine."""

import pytest
import torch

from trainkit.gate import judge
from trainkit.verdict import Status

PYPROJECT = "[tool.pytest.ini_options]\nmarkers = ['gpu']\naddopts = ['-p', 'no:hypothesispytest']\n"
MARKED = "import pytest\n\npytestmark = pytest.mark.gpu\n\n\ndef test_it():\n    import work\n    assert work.RIGHT\n"


@pytest.fixture
def check(make_project):
    def run(files, **table):
        project = make_project({"pyproject.toml": PYPROJECT, "work.py": "RIGHT = True\n"} | files)
        return judge(project.path, ["gpu"], overrides={"gpu": table}).verdicts[0]

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_is_skipped_with_the_reason(check):
    """Never counted as passed."""
    verdict = check({"tests/gpu/test_it.py": MARKED})

    assert (verdict.status, verdict.summary) == (Status.SKIPPED, "no CUDA device")


def test_a_suite_that_cannot_be_loaded_fails_on_any_machine(check):
    """An import that the refactor broke shows without a device."""
    verdict = check({"tests/gpu/test_it.py": "import nothing_of_that_name\n"})

    assert (verdict.status, verdict.findings[0].rule) == (Status.FAILED, "gpu-test-failed")


# A torch that says it sees a device, so that the marked tests run here.
FAKE_TORCH = "class cuda:\n    @staticmethod\n    def is_available():\n        return True\n"


@pytest.mark.parametrize(("right", "status"), [("True", Status.PASSED), ("False", Status.FAILED)])
def test_with_a_device_the_tests_decide(check, right, status):
    """Marked tests run and their failures are the findings."""
    verdict = check({"tests/gpu/test_it.py": MARKED, "torch.py": FAKE_TORCH, "work.py": f"RIGHT = {right}\n"})

    assert verdict.status is status, verdict
    assert verdict.measurements[0].value == 1


def test_no_marked_test_is_skipped(check):
    """A folder without marked tests is said to have none."""
    assert check({"tests/gpu/test_it.py": "def test_it(): pass\n"}).status is Status.SKIPPED


def test_no_folder_is_skipped(check):
    """So is a project without the folder."""
    assert check({}).summary == "there is no folder tests/gpu"


def test_a_folder_that_the_settings_name_must_be_there(check):
    """A misspelt one would leave the tests out for ever."""
    verdict = check({}, folder="test/gpus")
    assert verdict.status is Status.ERROR
    assert verdict.findings[0].rule == "folder-missing"
    assert "[tool.trainkit.gpu] there is no folder test/gpus" in str(verdict)


def test_a_suite_that_does_not_start_is_no_verdict(check):
    """A broken conftest stops pytest before any test."""
    verdict = check({"tests/gpu/test_it.py": MARKED, "conftest.py": "1 / 0\n"})

    assert (verdict.status, verdict.findings[0].rule) == (Status.ERROR, "gpu-suite-not-run")
