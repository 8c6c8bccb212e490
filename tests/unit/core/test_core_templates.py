"""A folder of files: what Hydra makes of it, each mistake with its file and line, what changed and by what."""

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from trainkit.core.compose import Change, compose, explain, to_yaml
from trainkit.core.config import GROUPS, LSTMConfig, TrainConfig
from trainkit.errors import ConfigError

CONFIG = """\
defaults:
  - model: big
  - experiment: null
  - _self_
optimizer:
  learning_rate: 3e-4
exp_name: ${model.name}_${seed}
"""
FILES = {
    "config.yaml": CONFIG,
    "other.yaml": "seed: 5\n",
    "model/big.yaml": "name: transformer\nnum_layers: 12\n",
    "model/huge.yaml": "defaults:\n  - big\n  - _self_\nnum_layers: 48\n",
    "model/lstm.yaml": "hidden_dim: 32\n",
    "trainer/fast.yaml": "max_epochs: 1\n",
    "experiment/small.yaml": "# @package _global_\ndefaults:\n  - override /model: lstm\nseed: 3\n",
}


@pytest.fixture
def conf(tmp_path):
    """Write {name: text}; give the folder."""

    def write(files=FILES):
        for name, text in files.items():
            path = tmp_path / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "conf"

    return write


def read_mistakes(folder, *overrides, name=None):
    with pytest.raises(ConfigError) as caught:
        compose(overrides, config_dir=folder, config_name=name)
    return [line.replace(f"{folder}/", "") for line in caught.value.lines()]


def test_files_then_overrides(conf):
    """The defaults list chooses a template, the file's values come next, the command line last."""
    config = compose(["optimizer.beta1=0.8", "seed=2"], config_dir=conf())

    assert (config.model.name, config.model.num_layers, config.model.num_heads) == ("transformer", 12, 4)
    assert (config.optimizer.learning_rate, config.optimizer.beta1) == (3e-4, 0.8)
    assert config.exp_name == "transformer_2"


def test_choices_of_the_schema_and_of_the_folder(conf):
    """A template builds on another, one has an option's own name, a section that is no group has some, too."""
    folder = conf()

    assert compose(["model=huge"], config_dir=folder).model.num_layers == 48
    assert compose(["model=lstm"], config_dir=folder).model == LSTMConfig(hidden_dim=32)
    assert compose(["model=dit"], config_dir=folder).data.name == "digits"
    assert compose(["trainer=fast"], config_dir=folder).trainer.max_epochs == 1
    assert compose([], config_dir=folder, config_name="other").seed == 5


@pytest.mark.parametrize("override", ["experiment=small", "+trainer=fast"])
def test_a_group_of_the_folder_is_chosen_with_or_without_a_plus(conf, override):
    """An experiment overrides the choice of the defaults list, and sets keys anywhere."""
    config = compose([override], config_dir=conf())

    assert (config.seed, config.model.name) == ((3, "lstm") if "small" in override else (0, "transformer"))


def test_a_printed_configuration_is_a_configuration(conf):
    """What check prints is read back; another choice replaces a section with a name as a whole."""
    first = compose(["model=lstm", "model.hidden_dim=8", "exp_name='\\${x}'"], config_dir=conf())
    folder = conf({"printed.yaml": to_yaml(first)})

    assert compose([], config_dir=folder, config_name="printed") == first
    assert compose(["model=big"], config_dir=folder, config_name="printed").model.num_layers == 12


# file -> its text, and the one mistake in it
BROKEN = {
    "a key": ({"config.yaml": "trainer:\n  max_epoch: 3\n"}, "config-unknown-key: config.yaml:2: 'trainer.max_epoch' is no key of the configuration; did you mean 'trainer.max_epochs'?"),
    "a key of a template": ({"model/big.yaml": "name: transformer\n\nhidden_dim: 3\n"}, "config-unknown-key: model/big.yaml:3: 'model.hidden_dim' is no key of model=transformer; model=lstm has it"),
    "a type": ({"config.yaml": "seed: 'x'\n"}, "config-type: config.yaml:1: seed='x': expected an integer"),
    "a range": ({"model/big.yaml": "name: transformer\nnum_layers: 0\n"}, "config-range: model/big.yaml:2: model.num_layers=0: must be at least 1"),
    "together": ({"model/big.yaml": "name: transformer\nmodel_dim: 12\n"}, "config-range: model/big.yaml:2: model.model_dim=12: must be a multiple of 2 * model.num_heads=8 (rotary positions turn pairs of features)"),
    "an interpolation": ({"config.yaml": "\nexp_name: ${x}\n"}, "config-interpolation: config.yaml:2: exp_name='${x}': Interpolation key 'x' not found"),
    "a missing value": ({"config.yaml": "seed: ???\n"}, "config-missing: config.yaml:1: seed: has no value yet (???); write seed=…"),
    "no section": ({"config.yaml": "trainer: fast\n"}, "config-type: config.yaml:1: trainer='fast': expected keys below it, such as trainer.max_epochs"),
    "a choice as a value": ({"config.yaml": "model: big\n"}, "config-type: config.yaml:1: model: big: is chosen in the defaults list: - model: big"),
    "a choice": ({"config.yaml": "defaults:\n  - model: bgi\n"}, "config-unknown-choice: config.yaml:2: model=bgi: no such option; did you mean 'big'?"),
    "an inline choice": ({"config.yaml": "model:\n  name: lstn\n  hidden_dim: 3\n"}, "config-unknown-choice: config.yaml:2: model.name='lstn': no such option; did you mean 'lstm'?"),
    "an override": ({"config.yaml": "defaults:\n  - override experiment: x\n"}, "config-defaults: config.yaml:2: no defaults list chooses 'experiment', nothing to override"),
    "a schema": ({"model/big.yaml": "name: tranformer\n"}, "config-unknown-choice: model/big.yaml:1: model.name='tranformer': no such option; did you mean 'transformer'?"),
    "no schema": ({"model/big.yaml": "num_layers: 3\n"}, "config-unknown-choice: model/big.yaml: needs name, the model that it fills; known: " + ", ".join(GROUPS["model"])),
    "a circle": ({"model/big.yaml": "defaults: [huge]\nname: transformer\n"}, "config-defaults: model/huge.yaml:2: 'model/big' comes back to itself: config > model/big > model/huge > model/big"),
    "a place": ({"model/big.yaml": "defaults: [/data: text]\nname: transformer\n"}, "config-defaults: model/big.yaml:1: data=text would lie in 'model.data'; write /data@_global_.data: text"),
    "no list": ({"config.yaml": "defaults: big\n"}, "config-defaults: config.yaml:1: defaults must be a list"),
    "an entry": ({"config.yaml": "defaults:\n  - optional overide model: big\n"}, "config-defaults: config.yaml:2: {'optional overide model': 'big'}: expected '[optional|override] group: option'"),
    "an option": ({"config.yaml": "defaults:\n  - model: 3\n"}, "config-defaults: config.yaml:2: {'model': 3}: expected the name of an option"),
    "outside": ({"config.yaml": "defaults:\n  - ../up: x\n"}, "config-defaults: config.yaml:2: {'../up': 'x'}: leads out of the folder"),
    "two overrides": ({"config.yaml": "defaults:\n  - override model: [big, huge]\n"}, "config-defaults: config.yaml:2: {'override model': ['big', 'huge']}: expected one option"),
    "a number": ({"config.yaml": "defaults: [3]\n"}, "config-defaults: config.yaml:1: 3: expected a name, or group: option"),
    "YAML": ({"config.yaml": "seed: 1\n  x: [\n"}, "config-file: config.yaml:2: mapping values are not allowed here"),
    "twice": ({"config.yaml": "seed: 1\nseed: 2\n"}, "config-file: config.yaml:2: found duplicate key seed"),
    "an object": ({"config.yaml": "seed: !!set {a}\n"}, "config-file: config.yaml:1: a value of type 'set' has no meaning here"),
    "a value that holds itself": ({"config.yaml": "freeze: &a [*a]\n"}, "config-file: config.yaml:1: nested more than 32 levels deep"),
    "no mapping": ({"config.yaml": "[1]\n"}, "config-file: config.yaml: expected keys with values"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_names_its_file_and_line(conf, case):
    """One mistake in a folder is one line, which says where."""
    files, line = BROKEN[case]
    own = any(name.startswith("model/") for name in files)

    assert read_mistakes(conf(FILES | files), *(["model=big"] if own else [])) == [line]


def test_all_mistakes_of_all_files_at_once(conf):
    """Those of the command line among them."""
    folder = conf(FILES | {"model/big.yaml": "name: transformer\nnum_layer: 3\nnum_heads: x\n"})

    assert [line.partition("; ")[0] for line in read_mistakes(folder, "seed=-1", "trainer=fst")] == [
        "config-unknown-choice: trainer=fst: no such option",
        "config-unknown-key: model/big.yaml:2: 'model.num_layer' is no key of the configuration",
        "config-type: model/big.yaml:3: model.num_heads='x': expected an integer",
        "config-range: seed=-1: must be at least 0 and at most 4294967295",
    ]


def test_folder_and_file_that_are_not_there(conf, tmp_path):
    """Named, with the nearest; what cannot be read says why."""
    folder = conf(FILES | {"bytes.yaml": ""})
    (folder / "bytes.yaml").write_bytes(b"a: \xff")

    assert read_mistakes(tmp_path / "cnf") == [
        f"config-file: --config-dir {tmp_path}/cnf: there is no such folder"
    ]
    assert read_mistakes(folder, name="othr") == [
        "config-file: --config-name othr: there is no othr.yaml; did you mean 'other'?"
    ]
    assert "config-file: bytes.yaml: no UTF-8 at byte 3" in read_mistakes(folder, name="bytes")
    (folder / "model/bad.yaml").write_text("name: [")
    assert read_mistakes(folder, "model=bad") == [
        "config-file: model/bad.yaml:1: expected the node content, but found '<stream end>'"
    ]


def test_what_changed_and_by_what(conf):
    """Old, new and the override or line that did it; an override without effect says why."""
    folder = conf()
    composition = explain(["seed=3", "seed=4", "model.dropout=0.1", "trainer=fast"], config_dir=folder)

    assert composition.changes == [
        Change("model", "transformer", "big", f"{folder}/config.yaml:2"),
        Change("trainer", None, "fast", "trainer=fast"),
        Change("model.num_layers", 2, 12, f"{folder}/model/big.yaml:2"),
        Change("optimizer.learning_rate", 1e-3, 3e-4, f"{folder}/config.yaml:6"),
        Change("exp_name", "default", "transformer_4", f"{folder}/config.yaml:7"),
        Change("trainer.max_epochs", 3, 1, f"{folder}/trainer/fast.yaml:1"),
        Change("seed", 0, 4, "seed=4"),
    ]
    assert composition.idle == {"seed=3": "seed=4 comes later", "model.dropout=0.1": "it is so already"}


def test_changes_of_choices():
    """What goes with a model is told as that; a choice of what is chosen has no effect."""
    composition = explain(["model=dit", "schedule=constant", "model=lstm", "model=dit"])

    assert composition.changes == [
        Change("model", "transformer", "dit", "model=dit"),
        Change("data", "text", "digits", "goes with model=dit"),
    ]
    assert composition.idle == {
        "schedule=constant": "it is so already",
        "model=lstm": "model=dit comes later",
    }
    assert explain([]).changes == []


# --- Hydra itself


@dataclass
class PlainRoot(TrainConfig):
    """The schema without choices, for a defaults list to begin with."""

    model: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    data: Any = MISSING
    defaults: list[Any] = field(default_factory=lambda: ["_self_"])


SHARED = {
    "model/big.yaml": "defaults:\n  - transformer\n  - _self_\nnum_layers: 12\n",
    "model/huge.yaml": "defaults:\n  - _self_\n  - big\nnum_layers: 48\nmodel_dim: 256\n",
    "model/deep.yaml": "defaults: [lstm]\nnum_layers: 5\nhidden_dim: ${.embedding_dim}\n",
    "data/ours.yaml": "defaults: [text]\nsequence_length: ${model.num_layers}\n",
    "optimizer/slow.yaml": "defaults: [adamw]\nlearning_rate: 1e-5\n",
    "trainer/fast.yaml": "max_epochs: 1\n",
    "experiment/one.yaml": "# @package _global_\ndefaults:\n  - override /model: deep\n  - override /data: ours\nseed: 3\n",
    "experiment/two.yaml": "# @package trainer\ndefaults:\n  - one\n  - /mixin@_global_\n  - _self_\nclip_norm: 7\n",
    "mixin.yaml": "trainer: {max_epochs: 4}\nseed: 9\n",
}  # fmt: skip
OPTIONS = {
    "model": ["transformer", "lstm", "big", "huge", "deep"],
    "optimizer": ["adamw", "slow"],
    "schedule": ["constant", "wsd"],
    "data": ["text", "ours"],
    "experiment": ["one", "two"],
}
CHOICE = {group: st.sampled_from(options) for group, options in OPTIONS.items()}
ROOTS = st.fixed_dictionaries(
    {
        "choices": st.fixed_dictionaries(CHOICE | {"experiment": st.sampled_from([None, "one", "two"])}),
        "extra": st.sets(st.sampled_from(["_self_", "mixin", "optional nothing", "trainer"])),
        "order": st.randoms(use_true_random=False),
    }
)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries({"num_layers": st.integers(1, 9)}),
        "optimizer": st.fixed_dictionaries({"learning_rate": st.floats(0.1, 1), "weight_decay": st.just(1)}),
        "trainer": st.fixed_dictionaries({"max_epochs": st.integers(1, 9)}),
        "seed": st.integers(0, 9),
        "exp_name": st.sampled_from(["a", "${model.name}_${seed}", "\\${x}"]),
    },
)
OVERRIDES = st.lists(
    st.one_of(
        *(st.builds(f"{group}={{}}".format, options) for group, options in CHOICE.items()),
        st.sampled_from(
            ["model.num_layers=3", "trainer={max_epochs:2,clip_norm:0.5}", "seed=7", "+trainer=fast"]
        ),
    ),
    max_size=3,
    unique_by=lambda text: text.partition("=")[0],
)


def list_defaults(root):
    """Give the defaults list, in an order; what an experiment overrides must stand before it."""
    entries = [{group: option} for group, option in root["choices"].items() if group != "experiment"]
    extra = {"trainer": {"trainer": "fast"}, "optional nothing": {"optional nothing": "here"}}
    entries += [extra.get(name, name) for name in sorted(root["extra"])]
    root["order"].shuffle(entries)
    return [*entries, {"experiment": root["choices"]["experiment"]}]


def sort_keys(value):
    """Give the value with sorted keys: 1 and 1.0 stay apart in its repr."""
    return {key: sort_keys(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=ROOTS, values=VALUES, overrides=OVERRIDES)
def test_a_folder_is_what_hydra_makes_of_it(conf, root, values, overrides):
    """Order of the defaults list, `_self_`, override, optional, packages: the same where both accept."""
    defaults = list_defaults(root)
    if {"trainer": "fast"} in defaults:
        overrides = [text for text in overrides if text != "+trainer=fast"]
    files = {"config": [*defaults], "hydra": ["trainkit_plain", *defaults]}
    text = {f"{name}.yaml": yaml.safe_dump({"defaults": each} | values) for name, each in files.items()}
    folder = conf(SHARED | text)
    store = ConfigStore.instance()
    store.store(name="trainkit_plain", node=PlainRoot)
    for group, options in GROUPS.items():
        for option, schema in options.items():
            store.store(group=group, name=option, node=schema)

    actual = compose(overrides, config_dir=folder)

    with warnings.catch_warnings(), initialize_config_dir(str(folder), version_base="1.3"):
        warnings.simplefilter("ignore")  # that `_self_` is missing
        expected = OmegaConf.to_container(hydra_compose("hydra", overrides), resolve=True)
    assert repr(sort_keys(asdict(actual))) == repr(sort_keys(expected))


FRAGMENT = st.sampled_from(
    [
        *(
            "defaults:\n",
            "- ",
            "- _self_\n",
            "- model: big\n",
            "- override ",
            "optional ",
            "/model",
            "@_global_",
            "@",
        ),
        *(
            "model:\n",
            "  name: ",
            "lstm\n",
            "trainer: ",
            "freeze: ",
            "[",
            "]",
            "{",
            "}",
            "\n",
            "  ",
            ": ",
            "${seed}",
        ),
        *(
            "${",
            "???",
            "null\n",
            "seed: 3\n",
            "1.5",
            "&a ",
            "*a",
            "<<: ",
            "!!set ",
            "? ",
            "# @package x\n",
            "'",
            "..",
            "\x00",
        ),
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=st.lists(FRAGMENT, max_size=9).map("".join), template=st.lists(FRAGMENT, max_size=6).map("".join))
def test_no_file_is_a_traceback(conf, root, template):
    """Any text in a folder either composes and prints, or is a ConfigError of one-line mistakes."""
    folder = conf({"config.yaml": root, "model/big.yaml": template})
    try:
        lines = to_yaml(compose(["model=big"], config_dir=folder)).splitlines()
    except ConfigError as error:
        lines = error.lines()

    assert lines
    assert not [line for line in lines if "\n" in line]
