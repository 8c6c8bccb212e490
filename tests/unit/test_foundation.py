"""Errors, settings and verdicts: what everything else stands on."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trainkit
from trainkit.errors import ConfigError, suggest
from trainkit.gate import read_tables
from trainkit.settings import load_table, parse
from trainkit.verdict import Status, Verdict, exit_status


@dataclass(frozen=True)
class Inner:
    names: tuple[str, ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class Outer:
    ratio: float = field(default=0.5, metadata={"min": 0})
    flag: bool = False
    parts: dict[str, Inner] = field(default_factory=dict)
    one: Inner = Inner()


@dataclass(frozen=True)
class Needy:
    commands: tuple[str, ...]


def test_a_table_becomes_a_dataclass():
    """Nested tables, arrays and whole numbers for fractions."""
    table = {"ratio": 1, "flag": True, "parts": {"a": {"names": ["x"], "size": 3}}, "one": {"size": 2}}

    parsed = parse(Outer, table, where="tool.x")

    assert parsed == Outer(ratio=1.0, flag=True, parts={"a": Inner(("x",), 3)}, one=Inner(size=2))


def test_all_mistakes_are_told_at_once():
    """Unknown keys with the nearest name, types, ranges, each with its place."""
    table = {"ratoi": 1, "ratio": -1, "flag": 1, "parts": {"a": {"names": "x", "size": True}}, "one": 3}

    with pytest.raises(ConfigError) as caught:
        parse(Outer, table, where="tool.x")

    assert caught.value.lines() == [
        "settings-unknown-key: [tool.x] ratoi: no such key; did you mean 'ratio'?",
        "settings-range: [tool.x] ratio = -1.0: must be at least 0",
        "settings-type: [tool.x] flag = 1: expected true or false",
        "settings-type: [tool.x.parts.a] names = 'x': expected an array, each item a string",
        "settings-type: [tool.x.parts.a] size = True: expected an integer",
        "settings-type: [tool.x] one = 3: expected a table",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    """A margin of nan would let everything pass."""
    with pytest.raises(ConfigError, match="must be a finite number"):
        parse(Outer, {"ratio": value}, where="tool.x")


@pytest.mark.parametrize("commands", [[], [""], ["python 'x"]])
def test_commands_are_read_before_anything_runs(tmp_path, commands):
    """What a shell could not split is a mistake in the settings."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.trainkit.golden.runs.a]\ncommands = {commands}\n")

    with pytest.raises(ConfigError, match=r"\[tool.trainkit.golden.runs.a\] commands"):
        read_tables(tmp_path, {})


def test_a_run_has_the_name_of_a_file(tmp_path):
    """Its golden is named after it."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.trainkit.golden.runs."../x"]\ncommands = ["python x.py"]\n'
    )

    with pytest.raises(ConfigError, match="a name is letters, digits, - and _"):
        read_tables(tmp_path, {})


def test_a_needed_key_is_asked_for():
    """A run without commands is no run."""
    with pytest.raises(ConfigError, match=r"\[tool.x\] needs the key 'commands'"):
        parse(Needy, {}, where="tool.x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_no_table_makes_parse_crash(value):
    """Whatever TOML may hold, the answer is a value or a ConfigError."""
    table = {"ratio": value, "parts": value, "one": value}
    try:
        parsed = parse(Outer, table, where="tool.x")
    except ConfigError as error:
        assert error.mistakes
    else:
        assert isinstance(parsed.ratio, float)


def test_the_project_file_is_read_with_care(tmp_path):
    """No file is an empty table; broken TOML, another type and wrong tables are mistakes."""
    path = tmp_path / "pyproject.toml"

    assert load_table(tmp_path) == {}
    for text, message in [
        ("[tool", "pyproject.toml: "),
        ("tool = 3", "must be a table"),
        ("[tool]\ntrainkit = 3", "must be a table"),
    ]:
        path.write_text(text)
        with pytest.raises(Exception, match=message) as caught:
            load_table(tmp_path)
        assert caught.value.exit_status == 2


def test_mistakes_of_all_guards_are_told_at_once(tmp_path):
    """A misspelt guard, a table that is none, and a misspelt key of a guard."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.trainkit]\ngolde = {}\ngpu = 3\n[tool.trainkit.bench]\nmargni = 0.1\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_tables(tmp_path, {})

    assert caught.value.lines() == [
        "settings-unknown-key: [tool.trainkit] golde: no such key; did you mean 'golden'?",
        "settings-unknown-key: [tool.trainkit.bench] margni: no such key; did you mean 'margin'?",
        "settings-type: [tool.trainkit] gpu: expected a table",
    ]


def test_the_nearest_name_is_suggested():
    """Whole dotted names first, then the last part, else what there is."""
    known = ["trainer.max_epochs", "trainer.device", "seed"]

    assert suggest("trainer.max_epoch", known) == "; did you mean 'trainer.max_epochs'?"
    assert suggest("max_epoch", known) == "; did you mean 'trainer.max_epochs'?"
    assert suggest("trainer.lr", known) == "; known: trainer.max_epochs, trainer.device"
    assert suggest("zzz", ["a", "b"]) == "; known: a, b"
    assert suggest("zzz", []) == ""


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.PASSED, Status.IDENTICAL, Status.SKIPPED], 0),
        ([Status.PASSED, Status.DIVERGED, Status.ERROR], 1),
        ([Status.PASSED, Status.FAILED], 1),
        ([Status.PASSED, Status.UNSTABLE], 3),
        ([Status.PASSED, Status.NOT_COMPARABLE], 3),
        ([Status.PASSED, Status.ERROR], 3),
        ([Status.SKIPPED], 3),
        ([], 3),
    ],
)
def test_exit_status(statuses, expected):
    """A failure wins; what could not be judged is no pass, and skipping everything neither."""
    verdicts = [Verdict(guard="g", status=status, summary="") for status in statuses]

    assert exit_status(verdicts) == expected


def test_the_public_names_are_these():
    """Each is found where its type checker finds it, and nothing else is."""
    assert set(trainkit.__all__) == set(trainkit._HOMES)
    for name in trainkit.__all__:
        assert getattr(trainkit, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        trainkit.tarin  # noqa: B018
