"""What a change does to copies: one fixed and others not, new ones; and refactors that are neither."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from trainkit.review.clones import Copies
from trainkit.review.uneven import gained, uneven

_SPEC = spec_from_file_location("test_clones_of_uneven", Path(__file__).with_name("test_clones.py"))
clones = module_from_spec(_SPEC)
_SPEC.loader.exec_module(clones)
TRAIN, LONG, LINES = clones.TRAIN, clones.LONG, clones.LINES
FIXED = TRAIN.replace("        opt.step()", "        if loss.isfinite():\n            opt.step()")
STEP = TRAIN[TRAIN.index("        opt.zero") : TRAIN.index("        total +=")]
HELPER = (
    "\n\ndef one_step(model, x, y, opt, clip):\n" + STEP.replace("        ", "    ") + "    return loss\n"
)
EXTRACTED = TRAIN.replace(STEP, "        loss = one_step(model, x, y, opt, clip)\n") + HELPER
BASE = {"a": TRAIN, "b": TRAIN, "c": TRAIN}


def sources(**files):
    return Copies(clones.sources(**files))


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


RUN = "".join(
    f"    {name} = torch.nn.functional.{name}(x, weight)\n    log.add({name!r}, {name}.mean())\n"
    for name in ("linear", "gelu", "softmax", "dropout", "silu", "elu")
)
FIXED_RUN = RUN.replace("gelu.mean()", "gelu.nanmean()")


def script(number, run):
    """A long function of its own, with a run that others have, too."""
    names = ("read", "open", "show", "send", "stop", "seek", "tell", "fill")
    own = [
        f"    {name}_{number} = y.{name}_{number}(z.{name}{number}[{name}.mode{number}])\n" for name in names
    ]
    after = "".join(own).replace("y.", "x.")
    return f"def main{number}(x, weight, log, y):\n{''.join(own)}{run}{after}"


SCRIPTS = {name: script(number, RUN) for number, name in enumerate("abc")}


def test_a_run_was_fixed_in_one_of_three_scripts():
    """Where whole functions are no copies of each other, the run that they share is followed."""
    base = sources(**SCRIPTS)
    (found,) = uneven(base, sources(**SCRIPTS | {"b": "import os\n\n" + script(1, FIXED_RUN)}))

    assert found.clones.kind == "run"
    assert [(place.path, place.name) for place in found.changed] == [("b.py", "main1")]
    assert [place.path for place in found.untouched] == ["a.py", "c.py"]
    assert found.what == ("b.py:15: nanmean where the baseline's b.py:13 has mean",)
    longer = RUN.replace("    silu =", "    weight.clamp_(0)\n    silu =")
    (found,) = uneven(base, sources(**SCRIPTS | {"c": script(2, longer)}))
    assert found.what == ("c.py:18: clamp_ is not in the baseline",)


def test_what_is_no_fix_of_a_run_is_silent():
    """All of them fixed, a rename, an edit around it, a run cut out or deleted, one that is meant."""
    base = sources(**SCRIPTS)
    helper = "def apply(x, weight, log):\n" + RUN
    for after in (
        {name: script(number, FIXED_RUN) for number, name in enumerate("abc")},
        SCRIPTS | {"a": script(0, RUN.replace("gelu =", "g =").replace("gelu.mean", "g.mean"))},
        SCRIPTS | {"a": script(0, "    print(0)\n" + RUN + "    print(1)\n")},
        SCRIPTS | {"a": script(0, "    apply(x, weight, log)\n") + "\n\n" + helper},
        SCRIPTS | {"a": script(0, "")},
        SCRIPTS | {"a": script(0, "".join(RUN.splitlines(keepends=True)[:5]))},
        {"a": SCRIPTS["a"]},
    ):
        assert uneven(base, sources(**after)) == []
    meant = {name: text.replace("def ", "# trainkit: copy because\ndef ") for name, text in SCRIPTS.items()}
    assert (
        uneven(sources(**meant), sources(**meant | {"a": meant["a"].replace("gelu.mean", "gelu.max")})) == []
    )


def test_a_copy_that_has_the_change_already_lacks_nothing():
    """A commit that brings two of three together; what only one of them had is nobody else's, either."""
    have = BASE | {"c": FIXED}
    (found,) = uneven(sources(**have), sources(**have | {"a": FIXED}))

    assert [place.path for place in found.untouched] == ["b.py"]
    assert uneven(sources(a=TRAIN, b=FIXED), sources(a=FIXED, b=FIXED)) == []
    own = TRAIN.replace("        total +=", "        log.send(loss)\n        total +=")
    for edit in (own.replace("send", "show"), TRAIN):
        assert uneven(sources(**BASE | {"a": own}), sources(**BASE | {"a": edit})) == []
    both = own.replace("send", "show").replace(
        "        opt.step()", "        if x.any():\n            opt.step()"
    )
    (found,) = uneven(sources(**BASE | {"a": own}), sources(**BASE | {"a": both}))
    assert [place.path for place in found.untouched] == ["b.py", "c.py"]
    moved = own.replace("        opt.zero_grad()\n", "").replace(
        "        opt.step()", "        opt.step()\n        opt.zero_grad()"
    )
    default = TRAIN.replace("clip=1.0", "clip=3.0")
    for before, after in ((own, moved.replace("send", "show")), (default, default.replace("3.0", "2.0"))):
        assert uneven(sources(**BASE | {"a": before}), sources(**BASE | {"a": after})) == []
    number = TRAIN.replace("0.1", "0.3")
    assert (
        uneven(sources(**BASE | {"a": number}), sources(**BASE | {"a": number.replace("0.3", "0.2")})) == []
    )


def test_copies_that_are_edited_alike_are_not_new():
    """Though a longer run is shared than before, and whole statements of it are others."""
    more = "".join(f"    {name} = x.{name}(weight)\n    log.add({name})\n" for name in ("erf", "exp", "cos"))
    all_of = {name: script(number, RUN + more) for number, name in enumerate("abc")}
    base, line = sources(**all_of), "    log.flush(weight)\n"
    for old, new in (
        (RUN, RUN.replace("    silu =", f"{line}    silu =")),
        ("log.add('elu'", "log.put('elu'"),
        (RUN, RUN.replace("log.add", "log.put")),
    ):
        assert gained(base, sources(**{name: text.replace(old, new) for name, text in all_of.items()})) == []
    short = {name: script(number, RUN + more[: more.index("    exp")]) for number, name in enumerate("abc")}
    alike = {name: text.replace("    silu =", f"{line * 3}    silu =") for name, text in short.items()}
    assert gained(sources(**short), sources(**alike)) == []
    long = "".join(f"    part{n} = x.part{n}(weight, log)\n" for n in range(20))
    longer = {name: text.replace("    silu =", f"{long}    silu =") for name, text in all_of.items()}
    assert gained(base, sources(**longer)) == []
    (found,) = gained(base, sources(**all_of, d=script(3, RUN + more)))
    assert [place.path for place in found.new] == ["d.py"]


def test_where_the_code_stood_before_is_no_copy():
    """Of a copy in another file; and a function that only now can be read as a method is the one that it was."""
    long = script(0, RUN + RUN.replace("linear", "conv1d"))
    edited = long.replace("conv1d =", "kernel =").replace("read_0 =", "read_0 = 1 +")
    (found,) = gained(sources(a=long, b="x = 1\n"), sources(a=edited, b=edited.replace("main0", "main1")))

    assert [place.path for place in found.new] == ["b.py"]
    run = RUN + RUN[: RUN.index("    softmax")].replace("linear", "conv1d").replace("gelu", "relu")
    pasted = run.replace("silu.mean()", "silu.nanmean()")
    (found,) = gained(
        sources(a=script(0, run), b=script(1, "")), sources(a=script(0, pasted), b=script(1, pasted))
    )
    assert (found.clones.kind, [place.path for place in found.new]) == ("run", ["b.py"])
    steps = "".join(f"    box.step_{n}(rows.part_{n})\n" for n in range(9))
    first = f"def work(box, rows):\n    print(box)\n{steps}"
    later = first.replace("print(box)", "box.begin(rows)")
    assert gained(sources(a=first, b=first), sources(a=later, b=later)) == []


def test_a_file_that_moves_has_the_same_relative_imports():
    """`.utils` in one folder is `..utils` in the one below it, or the package's name and that."""
    for moved in ("from ..utils import trim", "from package.utils import trim"):
        code = TRAIN.replace("import torch\n", "import torch\nfrom .utils import trim\n").replace(
            "        opt.step()", "        trim(model)\n        opt.step()"
        )
        after = sources(a=code, c=code.replace("from .utils import trim", moved))
        assert uneven(sources(a=code, b=code), after) == gained(sources(a=code, b=code), after) == []


def test_a_run_inside_of_copied_functions_is_followed():
    """In a function within a function that is a copy itself; of two of one name nothing is said."""
    inner = script(0, RUN).replace("\n", "\n    ").rstrip(" ")
    copies = dict.fromkeys("ab", f"def outer(cost):\n    start(cost)\n    {inner}    return main0(cost)\n")
    base = sources(**copies, c=SCRIPTS["c"])
    (found,) = uneven(base, sources(**copies, c=script(2, FIXED_RUN)))
    pair = "def main2():\n    pass\n\n\n"

    assert [(place.path, place.name) for place in found.changed] == [("c.py", "main2")]
    assert {place.path for place in found.untouched} == {"a.py", "b.py"}
    assert (
        uneven(
            sources(**SCRIPTS | {"c": pair + SCRIPTS["c"]}),
            sources(**SCRIPTS | {"c": pair + script(2, FIXED_RUN)}),
        )
        == []
    )


def test_what_has_the_same_words_is_told_as_another_form():
    """Nothing in the names says what is other: both places are given."""
    (found,) = uneven(sources(**BASE), sources(**BASE | {"a": TRAIN.replace("total +=", "total =")}))

    assert found.what == ("a.py:15: item len in another form than the baseline's a.py:15",)


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
    meant = pasted.replace(
        "    width = read()\n", "    width = read()\n    # trainkit: allow duplication because\n"
    )
    assert gained(base, sources(a=long, b=meant + "    print(0)\n" * 20)) == []
    rest, third = "    print(0)\n" * 20, pasted.replace("start", "begin")
    three = sources(a=long, b=pasted + rest)
    assert gained(three, sources(a=long, b=pasted + rest, c=meant.replace("start", "begin") + rest)) == []
    two_meant = {"a": long.replace("def ", "# trainkit: copy because\ndef ", 1), "b": meant + rest}
    assert gained(sources(**two_meant), sources(**two_meant, c=third + rest)) == []
    assert len(gained(three, sources(a=long, b=pasted + rest, c=third + rest))) == 1
    twice = sources(a=long, b=long)
    assert gained(twice, sources(a=long, b=long + "    log(3)\n")) == []
