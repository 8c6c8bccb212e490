"""Which runs one verification takes; what they record is written by hand."""

import pytest

from trainkit.repo.trees import open_trees
from trainkit.verdict import Status
from trainkit.verify import verify
from trainkit.verify.formats import Output
from trainkit.verify.options import RunOptions


@pytest.fixture
def session(make_project, make_run, script, tmp_path, monkeypatch):
    """Verify with what the sides would do now (N: another number each time); give the verdict and its runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = make_project({"train.py": "pass\n"})
    trained = script.copy()
    trained.steps[1]["gradients"] = 2 * "other".ljust(16, "_")

    def look(
        baseline="",
        candidate="",
        *,
        trains_otherwise=(),
        in_files=False,
        draws=False,
        layers=False,
        code=("a", "a"),
        **more,
    ):
        took, key = [], dict(zip(("baseline", "candidate"), code, strict=True))
        # The real one takes as long as all else here.
        monkeypatch.setattr(verify.cache, "make_key", lambda tree, _: key[tree.side])

        def record(tree, options, *, into, hash_seed="", deep=None):
            took.append(f"{tree.side} in full" if deep else tree.side)
            lines = (trained if tree.side in trains_otherwise else script).copy()
            if draws:
                lines.steps[1]["rng"] |= {"python": f"by chance {len(took)}"}
            if layers:
                lines.steps[1]["outputs"] = str(len(took)).ljust(32, "_")
            said = (baseline if tree.side == "baseline" else candidate).replace("N", str(len(took)))
            left = {"acc.txt": Output("text", said)} if in_files else {}
            return make_run(lines, side=tree.side, stdout="" if in_files else said, outputs=left)

        monkeypatch.setattr(verify, "record_run", record)
        with open_trees(project.path, "HEAD") as (here, there):
            result = verify.verify_trees(there, here, RunOptions(command=("python", "train.py")), **more)
        return result, took

    return look


def test_the_baseline_is_run_twice_once(session):
    """A kept run that agrees is believed."""
    first, second = session(), session()

    assert [result.status for result, _ in (first, second)] == [Status.IDENTICAL] * 2
    assert first[1] == ["baseline", "baseline", "candidate"]
    assert second[1] == ["candidate"]


def test_a_kept_run_that_does_not_agree_is_confirmed(session):
    """By one run of the baseline; it stays kept."""
    session()
    for _ in range(2):
        result, took = session(trains_otherwise=["candidate"])

        assert result.status is Status.DIVERGED
        assert took == ["candidate", "baseline", "baseline in full", "candidate in full"]


@pytest.mark.parametrize("now", ["acc 0.75", "acc 0.5"])
def test_a_kept_run_that_is_not_what_the_baseline_does_now_is_dropped(session, now):
    """The data lies elsewhere and has changed: both sides of today are compared, and the new run is kept."""
    session("acc 0.5", "acc 0.5")
    sides = ["baseline", "candidate"]
    result, took = session(now, now, trains_otherwise=sides)

    assert result.status is Status.IDENTICAL
    assert took == ["candidate", "baseline", "baseline", "baseline", "candidate"]
    assert session(now, now, trains_otherwise=sides)[1] == ["candidate"]


@pytest.mark.parametrize("in_files", [False, True])
def test_a_candidate_is_compared_with_what_the_baseline_does_now(session, in_files):
    """What is printed is looked into, which asks for the baseline; a file alone is not."""
    session("acc 0.5", "acc 0.5", in_files=in_files)
    result, took = session("acc 0.75", "acc 0.25", in_files=in_files)

    assert result.status is Status.DIVERGED
    assert "'acc 0.75' -> 'acc 0.25'" in result.cause.detail
    assert took.count("baseline") == 3


def test_without_a_deep_pass_a_kept_run_is_believed(session):
    """Of the commits between two others only the verdict counts."""
    session()

    assert session(trains_otherwise=["candidate"], deep=False)[1] == ["candidate"]


def test_a_kept_line_that_the_baseline_prints_no_more_is_not_kept(session):
    """It would be told as lost, of a candidate that diverged."""
    session("acc 0.5", "acc 0.5")

    assert session("", "", trains_otherwise=["candidate"])[1].count("baseline") == 3


def test_a_generator_that_is_drawn_from_elsewhere_is_not_compared(session):
    """Python's, by a thread of a library: nobody's training comes of it, and the verdict says so."""
    for _ in range(2):  # also of a kept run
        result, _ = session(draws=True)

        assert result.status is Status.NOTED
        assert "two runs of the baseline are not compared: python" in result.notes[-1]


@pytest.mark.parametrize("in_files", [False, True])
def test_a_candidate_that_is_identical_is_the_next_baseline(session, in_files):
    """Of a row of refactors each takes one run; the last one computes something else and is seen."""
    said = "acc 0.5\ntook N.1234 s"
    session(said, said, code="ab", in_files=in_files)
    second, took = session(said, said, code="bc", in_files=in_files)
    third, took_more = session(said, said.replace("0.5", "0.75"), code="cd", in_files=in_files)

    assert (second.status, took) == (Status.IDENTICAL, ["candidate"])
    assert third.status is Status.DIVERGED
    assert took_more.count("baseline") == 1


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("acc 0.5\nauc 0.5", {}),
        ("acc 0.5\nacc 0.5", {}),
        ("acc 0.5\nauc 0.5", {"in_files": True}),
        ("acc 0.5", {"draws": True}),
        ("acc 0.75", {}),
        ("acc 0.5", {"trains_otherwise": ["candidate"]}),
        ("acc 0.5", {"use_cache": False}),
    ],
)
def test_another_candidate_is_run_twice_when_it_is_a_baseline(session, said, more):
    """What it prints or leaves beside is known of one run only."""
    session("acc 0.5", said, code="ab", **more)
    result, took = session(said, said, code="bc")

    assert result.status is Status.IDENTICAL
    assert took == ["baseline", "baseline", "candidate"]


@pytest.mark.parametrize("in_files", [False, True])
def test_what_does_not_repeat_yet_may_once_it_is_refactored(session, in_files):
    """A number that was another one each time is a result since it is seeded, and that is seen."""
    first, _ = session("acc 0.N", "acc 0.N", code="ab", in_files=in_files)
    second, took = session("acc 0.7", "acc 0.8", code="bc", in_files=in_files)

    assert (first.status, second.status) == (Status.IDENTICAL, Status.DIVERGED)
    assert took[:3] == ["baseline", "baseline", "candidate"]


def test_what_differs_softly_each_time_may_not_any_more(session):
    """What is said of two runs of a baseline is left out of its own verdicts, of no others."""
    first, _ = session(layers=True, code="ab")
    second, took = session(code="bc")

    assert (first.status, second.status) == (Status.IDENTICAL, Status.IDENTICAL)
    assert took == ["baseline", "baseline", "candidate"]


@pytest.mark.parametrize("in_files", [False, True])
def test_more_decimals_are_kept_as_they_are_now(session, in_files):
    """They are the same number, and no less a result for that."""
    first, _ = session("acc 0.5000", "acc 0.500000", code="ab", in_files=in_files)
    second, took = session("acc 0.500000", "acc 0.500001", code="bc", in_files=in_files)

    assert (first.status, second.status) == (Status.IDENTICAL, Status.DIVERGED)
    assert took[0] == "candidate"


@pytest.mark.parametrize("in_files", [False, True])
def test_what_does_not_repeat_is_said_not_to_be_compared(session, in_files):
    """Of a kept run, too; a time is nobody's result, and what is compared is not named."""
    unsteady = "acc 0.N\nloss 0.5\ntook N.12 s"
    for said, code, named in ((unsteady, "aa", "acc.txt" if in_files else "'acc #'"), ("acc 0.5", "bb", "")):
        for _ in range(2):
            result, _ = session(said, said, code=code, in_files=in_files)

            notes = [note.rpartition(": ")[2] for note in result.notes if note.startswith("not compared, as")]
            assert result.status is Status.IDENTICAL
            assert notes == [named] * bool(named)


def test_another_hash_seed_is_another_question(session):
    """What differs between two seeds is none of what is kept for one."""
    session("acc 0.N", "acc 0.N", code="ab", control_hash_seed="3")
    _, took = session("acc 0.5", "acc 0.5", code="ab")

    assert took == ["baseline", "baseline", "candidate"]
