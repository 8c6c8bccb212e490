"""What a change does to copies: one fixed and others not, new ones; and refactors that are neither."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from trainkit.review.uneven import gained, uneven

_SPEC = spec_from_file_location("test_clones_of_uneven", Path(__file__).with_name("test_clones.py"))
clones = module_from_spec(_SPEC)
_SPEC.loader.exec_module(clones)
TRAIN, LONG, LINES, sources = clones.TRAIN, clones.LONG, clones.LINES, clones.sources
FIXED = TRAIN.replace("        opt.step()", "        if loss.isfinite():\n            opt.step()")
STEP = TRAIN[TRAIN.index("        opt.zero") : TRAIN.index("        total +=")]
HELPER = (
    "\n\ndef one_step(model, x, y, opt, clip):\n" + STEP.replace("        ", "    ") + "    return loss\n"
)
EXTRACTED = TRAIN.replace(STEP, "        loss = one_step(model, x, y, opt, clip)\n") + HELPER
BASE = {"a": TRAIN, "b": TRAIN, "c": TRAIN}


def test_one_of_three_copies_was_fixed():
    """The other two are named, with what was done to the first."""
    (found,) = uneven(sources(**BASE), sources(**BASE | {"a": FIXED}))

    assert [place.path for place in found.changed] == ["a.py"]
    assert [place.path for place in found.untouched] == ["b.py", "c.py"]
    assert found.what == ("a.py:14: isfinite is not in the baseline",)


def test_even_and_neutral_changes_are_silent():
    """All fixed, a rename, a docstring, an extraction, a merge, a copy marked as meant."""
    for after in (
        {"a": FIXED, "b": FIXED, "c": FIXED},
        BASE | {"a": TRAIN.replace("loss", "err").replace("Train once", "Once")},
        BASE | {"a": EXTRACTED},
        {"a": TRAIN, "b": "from a import train_one\n", "c": "from a import train_one\n"},
    ):
        assert uneven(sources(**BASE), sources(**after)) == []
        assert gained(sources(**BASE), sources(**after)) == []
    marked = {name: TRAIN.replace("def ", "# trainkit: copy because\ndef ") for name in BASE}
    assert uneven(sources(**marked), sources(**marked | {"a": FIXED})) == []


def test_a_changed_number_is_a_change():
    """A constant and a default of one copy count as an edit of it."""
    for old, new in (("0.1", "0.2"), ("clip=1.0", "clip=2.0")):
        assert len(uneven(sources(**BASE), sources(**BASE | {"a": TRAIN.replace(old, new)}))) == 1


def test_a_new_copy_is_gained_and_a_moved_one_is_not():
    """One more member is told; the same number of them at other places, under another name, is not."""
    (found,) = gained(sources(**BASE), sources(**BASE, d=TRAIN.replace("loss", "err")))

    assert [place.path for place in found.new] == ["d.py"]
    assert gained(sources(**BASE), sources(a=TRAIN, b=TRAIN, d=TRAIN.replace("train_one", "go"))) == []


def test_a_new_shared_run_is_gained():
    """Lines of a long function pasted into another one; moving the function, or editing around it, is nothing."""
    long = LONG + LINES + LINES.replace("part", "piece") + "    return part3\n"
    pasted = (
        "def start():\n    width = read()\n" + LINES + LINES.replace("part", "piece") + "    go(piece4)\n"
    )
    base = sources(a=long, b="x = 1\n")
    (found,) = gained(base, sources(a=long, b=pasted + "    print(0)\n" * 20))

    assert [place.path for place in found.new] == ["b.py"]
    assert gained(base, sources(c=long, b="x = 1\n")) == []
    assert gained(base, sources(a=long + "    print(1)\n", b="x = 1\n")) == []
    twice = sources(a=long, b=long)
    assert gained(twice, sources(a=long, b=long + "    log(3)\n")) == []
