"""The run folder, its page, and `trainkit runs`."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from trainkit.cli import main
from trainkit.core import origin, records
from trainkit.core.page import build_page, draw_chart, find_ticks, thin_out
from trainkit.core.records import find_first_difference, read_record
from trainkit.core.trainer import train


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A folder with `one` and `two` of another seed, in a repository with a changed and a new file."""
    from trainkit.core.config import TextConfig, TrainConfig, TrainerConfig, TransformerConfig

    top = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(top)
    try:
        Path("text.txt").write_text("the loss of a token is a number of nats\n\n" * 60)
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run(["git", *identity, *command], check=True)
        Path("new.py").write_text("")
        with Path("text.txt").open("a") as file:
            file.write("and more\n\n")
        torch.set_num_threads(1)
        for name, seed in (("one", 0), ("two", 1)):
            train(
                TrainConfig(
                    model=TransformerConfig(num_layers=1, num_heads=2, model_dim=16),
                    data=TextConfig(source="text.txt", sequence_length=16, batch_size=16),
                    trainer=TrainerConfig(max_epochs=2, device="cpu"),
                    exp_name=name,
                    seed=seed,
                )
            )
        yield top
    finally:
        os.chdir(before)


@pytest.fixture
def project(two_runs, tmp_path, monkeypatch):
    """A copy of it, as the working folder."""
    copy = tmp_path / "project"
    shutil.copytree(two_runs, copy)
    monkeypatch.chdir(copy)
    for name in ("one", "two"):  # where the copy was started
        path = copy / "runs" / name / "run.json"
        path.write_text(path.read_text().replace(str(two_runs), str(copy)))
    return copy


def read_run(folder):
    return json.loads((Path(folder) / "run.json").read_text())


def edit_run(folder, edit):
    """Change run.json in place."""
    content = read_run(folder)
    edit(content)
    (Path(folder) / "run.json").write_text(json.dumps(content))


def call(capsys, *arguments):
    """Give the exit status, stdout and stderr of `trainkit runs`."""
    status = main(["runs", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_run_says_where_it_comes_from(project):
    """Status, times, revision, changes, environment, command, files and the last metrics are in run.json."""
    run = read_run("runs/one")
    session = run["sessions"][0]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    patch = Path("runs/one/diff.patch").read_text()

    assert (run["status"], run["num_epochs"], run["reason"]) == ("finished", 2, None)
    assert run["started"] < run["ended"]
    assert session["git"]["revision"] == revision
    assert session["git"]["dirty"] is True
    assert "# untracked: new.py" in patch and "+and more" in patch
    assert session["environment"]["torch"] == torch.__version__
    assert session["environment"]["packages"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert session["environment"]["device"] == "cpu"
    assert session["inputs"]["data.source"]["size"] == Path("text.txt").stat().st_size
    assert run["best_loss"] == min(
        float(row["loss"]) for row in read_record(Path("runs/one")).rows if row["part"] == "validation"
    )
    assert set(run["metrics"]) == {"train", "validation", "test"}


def test_without_git_there_is_no_revision(tmp_path, monkeypatch):
    """Neither a missing git nor a folder outside of a repository is an error."""
    monkeypatch.chdir(tmp_path)
    assert origin.describe_revision(tmp_path / "diff.patch") is None
    monkeypatch.setenv("PATH", str(tmp_path))

    assert origin.describe_revision(tmp_path / "diff.patch") is None
    assert not (tmp_path / "diff.patch").exists()


@given(content=st.binary(min_size=1, max_size=300), place=st.integers(0, 299), value=st.integers(1, 255))
def test_a_changed_file_has_another_digest(tmp_path_factory, content, place, value):
    """Any byte of a file that is not large counts, and so does its length."""
    path = tmp_path_factory.getbasetemp() / "digest.bin"
    path.write_bytes(content)
    before = origin.describe_file(path)["sha256"]
    changed = bytearray(content)
    changed[place % len(content)] ^= value
    path.write_bytes(changed)
    other = origin.describe_file(path)["sha256"]
    path.write_bytes(content + b"\0")

    assert len({before, other, origin.describe_file(path)["sha256"]}) == 3


def test_a_table_of_runs(project, capsys):
    """Filters choose, --sort orders, --json is for programs."""
    status, out, _ = call(capsys)
    listed = [line.split()[1:3] for line in out.splitlines()[1:]]
    losses = {name: read_run(f"runs/{name}")["best_loss"] for name in ("one", "two")}
    best = min(losses, key=losses.__getitem__)
    found = json.loads(call(capsys, "status=finished", "--sort", "best_loss", "--json")[1])
    worst = json.loads(call(capsys, f"best_loss>{losses[best]!r}", "--json")[1])

    assert status == 0
    assert listed == [["one", "finished"], ["two", "finished"]]
    assert found[0]["name"] == best
    assert [each["name"] for each in worst] == [name for name in losses if name != best]
    assert len(json.loads(call(capsys, "seed=1", "model=transformer", "--json")[1])) == 1
    assert len(json.loads(call(capsys, "optimizer.fused=false", "seed!=1", "--json")[1])) == 1
    assert call(capsys, "seed=7")[:2] == (0, "no run below 'runs' is chosen by these filters\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "onne"], "no-such-run: no run 'onne' below 'runs'; did you mean 'one'?"),
        (["show", "2"], "no-such-run: '2' may be 2 runs: "),
        (["show"], "usage: runs show takes one run"),
        (["show", "one", "two"], "usage: runs show takes one run"),
        (["compare", "one"], "usage: runs compare takes two or more runs"),
        (["seedd=1"], "usage: 'seedd=1': no run has 'seedd'; did you mean 'seed'?"),
        (["best_loss<low"], "usage: 'best_loss<low': 'low' is no number"),
        (["shwo"], "usage: 'shwo' is no action and no filter such as best_loss<2.0; did you mean 'show'?"),
        (["--sort", "lost"], "usage: '--sort lost': no run has 'lost'"),
        (
            ["--output-dir", "nowhere"],
            "no-such-run: there are no runs: 'nowhere' is no folder; give --output-dir",
        ),
        (["--wrong"], "usage: "),
    ],
)
def test_bad_input_is_one_line(project, capsys, arguments, message):
    """What, where, what to do; exit status 2."""
    status, out, err = call(capsys, *arguments)

    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"trainkit: error: {message}")


def test_two_runs_beside_each_other(project, capsys):
    """Settings that differ, last metrics, and the first loss that is not the same bits, in hex."""
    status, out, _ = call(capsys, "compare", "one", "two")
    first = read_record(Path("runs/one")).rows[0]

    assert status == 0
    assert re.search(r"^seed +0 +1$", out, re.MULTILINE)
    assert "trainer.max_epochs" not in out
    assert f"first different at epoch 0, step {first['step']}, train: loss {first['loss']} (0x" in out
    assert "bitwise the same in 5 rows" in call(capsys, "compare", "runs/one", "one")[1]


def test_one_run_in_words(project, capsys):
    """`show` gives facts, origin, metrics and settings; `report` the page."""
    _, out, _ = call(capsys, "show", "one")
    shown = json.loads(call(capsys, "show", "one", "--json")[1])
    Path("runs/one/report.html").unlink()

    assert re.search(r"^status +finished$", out, re.MULTILINE)
    assert re.search(r"^model.num_heads +2$", out, re.MULTILINE)
    assert "with changes (diff.patch)" in out
    assert shown["run"]["id"] == read_run("runs/one")["id"]
    assert call(capsys, "report", "one") == (0, "runs/one/report.html\n", "")
    assert Path("runs/one/report.html").read_text().startswith("<!doctype html>")


def test_the_same_again(project, capsys):
    """A run trained again has bitwise the same losses: exit status 0."""
    status, out, err = call(capsys, "rerun", "one")

    assert (status, err) == (0, "")
    assert "bitwise the same losses in 5 rows of metrics.csv" in out
    assert Path("runs/one-rerun-1/metrics.csv").read_bytes() == Path("runs/one/metrics.csv").read_bytes()


def test_another_loss_for_no_reason_is_a_difference(project, capsys):
    """A loss that was other in its last bit, all else equal: exit status 1, and the place."""
    path = Path("runs/one/metrics.csv")
    rows = path.read_text().splitlines(keepends=True)
    loss = rows[4].split(",")[4]
    rows[4] = rows[4].replace(
        loss, repr(torch.tensor(float(loss)).double().nextafter(torch.tensor(9.0).double()).item())
    )
    path.write_text("".join(rows))
    status, out, _ = call(capsys, "rerun", "one")

    assert status == 1
    assert f"different: epoch 1, step {rows[4].split(',')[1]}, validation: loss" in out


def test_another_loss_for_a_reason_is_not_comparable(project, capsys):
    """Other data, another torch, another revision: exit status 3, with all of them."""
    text = Path("text.txt")
    text.write_text(text.read_text().replace("number", "figure"))

    def edit(run):
        run["sessions"][0]["environment"]["torch"] = "1.0"
        run["sessions"][0]["git"]["revision"] = "f00"

    edit_run("runs/one", edit)
    status, out, _ = call(capsys, "rerun", "one", "--json")
    found = json.loads(out)
    reasons = "\n".join(found["reasons"])

    assert (status, found["verdict"]) == (3, "not comparable")
    assert "data.source (digest)" in reasons
    assert f"torch '1.0' then, '{torch.__version__}' now" in reasons
    assert "git revision 'f00' then" in reasons
    assert "uncommitted changes" in reasons


def test_what_cannot_be_repeated_says_why(project, capsys):
    """Data that is gone, no metrics: exit status 3."""
    Path("text.txt").unlink()
    gone = call(capsys, "rerun", "one")
    Path("runs/two/metrics.csv").unlink()
    empty = call(capsys, "rerun", "two")

    assert gone[0] == empty[0] == 3
    assert "run-not-repeatable: 'runs/one' cannot be trained again" in gone[2]
    assert "nothing can be compared" in empty[2]


def test_a_process_that_is_gone_has_been_interrupted(project, monkeypatch):
    """A run that says it is running is believed while its process lives."""
    me = {
        "host": records.socket.gethostname(),
        "pid": os.getpid(),
        "start_time": records.read_start_time(os.getpid()),
    }
    edit_run("runs/one", lambda run: run.update(status="running", process=me))
    alive = read_record(Path("runs/one")).status
    edit_run("runs/one", lambda run: run.update(process=me | {"start_time": "1"}))

    assert alive == "running"
    assert read_record(Path("runs/one")).status == "interrupted"


def test_an_old_or_damaged_folder_is_listed(project, capsys):
    """A folder without run.json, or with half of one, has an unknown status and ends nothing."""
    Path("runs/one/run.json").unlink()
    Path("runs/two/run.json").write_text('{"id": ')

    assert [each["status"] for each in json.loads(call(capsys, "--json")[1])] == ["unknown"] * 2


def test_a_resumed_run_is_one_run(tiny_config, tmp_path):
    """Its id stays, its sessions add up, and what was changed in between is told."""
    config = tiny_config(max_epochs=1)
    folder = train(config).run_folder
    first = read_run(folder)
    train(replace(config, trainer=replace(config.trainer, max_epochs=2), resume="auto"))
    run = read_run(folder)

    assert run["id"] == first["id"]
    assert run["started"] == first["started"]
    assert [session["resumed_at"] for session in run["sessions"]] == [
        None,
        {"epoch": 1, "step": first["num_steps"]},
    ]
    assert run["sessions"][1]["changed"]["trainer.max_epochs"] == [1, 2]


def test_an_interrupted_run_says_so(tiny_config, monkeypatch):
    """Ctrl-C is no failure; the page is written all the same."""
    from trainkit.core import trainer

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "run_training_epoch", stop)
    config = tiny_config()
    with pytest.raises(KeyboardInterrupt):
        train(config)
    folder = Path(config.output_dir, config.exp_name)

    assert (read_run(folder)["status"], read_run(folder)["reason"]) == ("interrupted", "KeyboardInterrupt")
    assert "interrupted: KeyboardInterrupt" in (folder / "report.html").read_text()


def test_a_page_needs_nothing_else(project):
    """Curves of every value, no address of anybody, text escaped."""
    path = Path("runs/one/config.json")
    path.write_text(path.read_text().replace('"exp_name": "one"', '"exp_name": "<b>&"'))
    page = build_page(read_record(Path("runs/one")))

    assert page.count("<svg") == 2  # loss and perplexity
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert not re.search(r"https?://|src=|@import|url\(", page)


def test_a_chart_of_odd_values():
    """One point, equal values and nan draw without a division by zero; nothing draws nothing."""
    row = {"epoch": "0", "step": "3", "part": "train", "items": "1"}

    assert "<circle" in draw_chart("loss", [row | {"loss": "0.0"}])
    assert "<polyline" in draw_chart("loss", [row | {"loss": "2.0"}, row | {"loss": "2.0", "step": "4"}])
    assert draw_chart("loss", [row | {"loss": "nan"}, row | {"loss": "inf"}, row | {"loss": "1e308"}]) == ""
    assert "nan" not in draw_chart("loss", [row | {"loss": "nan"}, row | {"loss": "1.0"}])


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
@example([0.0, 5e-324])
@example([5e-324, -6.0])
@example([3e-308, 3e-308 + 5e-324])
def test_ticks_hold_all_values(values):
    """The axis covers every value with a few equal steps, also the least that a float can be."""
    ticks = find_ticks(values)

    assert ticks[0] <= min(values) + 1e-9 * abs(min(values)) + 1e-307
    assert ticks[-1] >= max(values) - 1e-9 * abs(max(values)) - 1e-307
    assert 2 <= len(ticks) <= 9


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=5000))
def test_thinned_curves_keep_their_extremes(values):
    """Of a long curve few points stay, in their order, the lowest and the highest among them."""
    points = [(float(step), value) for step, value in enumerate(values)]
    kept = thin_out(points)

    assert len(kept) <= 602
    assert kept == sorted(kept)
    assert {min(values), max(values)} <= {value for _, value in kept}


def test_rows_of_steps_count_where_both_have_them():
    """A run that told of single steps is still compared with one that did not."""
    epoch = {"epoch": "0", "step": "2", "part": "train", "items": "4", "loss": "1.5"}
    step = epoch | {"part": "step", "step": "1"}

    assert find_first_difference([step, epoch], [epoch]) is None
    assert find_first_difference([step, epoch], [step | {"loss": "2.5"}, epoch]).part == "step"
    assert find_first_difference([epoch], [epoch, epoch | {"part": "validation"}]).part == "validation"
