"""Overrides: the same result as Hydra where both accept, and better words where we refuse."""

import random
import re
import string
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from trainkit.core.compose import compose, to_yaml
from trainkit.core.config import DATA_OF, GROUPS, LSTMConfig, TrainConfig, TransformerConfig, iter_fields
from trainkit.errors import ConfigError, suggest

LIMIT = "must be a count of batches (0, 1, 2, …) or a fraction from 0.0 to 1.0"
QUOTE = "write key=value, and quote a value that holds special characters"

BAD = {
    "trainer.max_epoch=3": "config-unknown-key: 'trainer.max_epoch' is no key of the configuration; "
    "did you mean 'trainer.max_epochs'?",
    "modle=lstm": "config-unknown-key: 'modle' is no key of the configuration; did you mean 'model'?",
    "max_epochs=3": "config-unknown-key: 'max_epochs' is no key of the configuration; "
    "did you mean 'trainer.max_epochs'?",
    "logger.foo=3": "config-unknown-key: 'logger.foo' is no key of the configuration; known: "
    "logger.csv.enabled, logger.tensorboard.enabled, logger.wandb.enabled, logger.wandb.project_name, "
    "logger.wandb.mode, logger.mlflow.enabled, logger.mlflow.tracking_uri, logger.mlflow.experiment_name, "
    "logger.every_n_steps",
    "model.hidden_dim=3": "config-unknown-key: 'model.hidden_dim' is no key of model=transformer; "
    "model=lstm has it",
    "model=transfomer": "config-unknown-choice: model=transfomer: no such option; "
    "did you mean 'transformer'?",
    "model=3": "config-unknown-choice: model=3: no such option; known: " + ", ".join(GROUPS["model"]),
    "trainer.max_epochs=abc": "config-type: trainer.max_epochs='abc': expected an integer",
    "trainer.max_epochs=1.5": "config-type: trainer.max_epochs=1.5: expected an integer",
    "trainer.max_epochs=true": "config-type: trainer.max_epochs=True: expected an integer",
    "trainer.max_epochs='3'": "config-type: trainer.max_epochs='3': expected an integer",
    "trainer.max_epochs=null": "config-type: trainer.max_epochs=None: expected an integer",
    "trainer.limit_val_batches=no": "config-type: trainer.limit_val_batches='no': "
    "expected an integer or a number",
    "optimizer.fused=yes": "config-type: optimizer.fused='yes': expected true or false",
    "optimizer.learning_rate=[1]": "config-type: optimizer.learning_rate=[1]: expected a number",
    "exp_name=true": "config-type: exp_name=True: expected a string",
    "resume=4.5": "config-type: resume=4.5: expected a string or null",
    "trainer=3": "config-type: trainer=3: expected keys below it, such as trainer.max_epochs",
    "seed={}": "config-type: seed={}: expected an integer",
    "exp_name=${model}": "config-type: exp_name={'name': 'transformer', 'num_layers': 2, 'num_heads': 4, "
    "'model_dim': 128, 'dropout': 0.1}: expected a string",
    "trainer.max_epochs=${exp_name}": "config-type: trainer.max_epochs='default': expected an integer",
    "trainer.max_epochs=0": "config-range: trainer.max_epochs=0: must be at least 1",
    "optimizer.learning_rate=nan": "config-range: optimizer.learning_rate=nan: must be above 0 and finite",
    "optimizer.beta1=1": "config-range: optimizer.beta1=1.0: must be at least 0 and below 1",
    "trainer.device=gpu": "config-range: trainer.device='gpu': must be one of 'auto', 'cpu', 'cuda'",
    "trainer.limit_train_batches=2.0": f"config-range: trainer.limit_train_batches=2.0: {LIMIT}",
    "model.num_heads=3": "config-range: model.model_dim=128: must be a multiple of 2 * model.num_heads=6 "
    "(rotary positions turn pairs of features)",
    "exp_name=../up": "config-range: exp_name='../up': must name a folder inside output_dir",
    "model.name=lstm": "config-range: model.name='lstm': cannot be set alone; "
    "choose model=" + "|".join(GROUPS["model"]),
    "seed": f"config-grammar: 'seed': missing EQUAL at '<EOF>'; {QUOTE}",
    "seed==3": f"config-grammar: 'seed==3': extraneous input '='; {QUOTE}",
    "seed=int(x)": "config-grammar: 'seed=int(x)': ValueError while evaluating 'int(x)': "
    f"invalid literal for int() with base 10: 'x'; {QUOTE}",
    "model@other=lstm": "config-grammar: 'model@other=lstm': packages (@other) have no meaning here; "
    "write model=…",
    "seed=1,2": "config-sweep: 'seed=1,2': a sweep is many runs, give one value; quote it if it has a comma",
    "~seed": "config-delete: '~seed': no key can be deleted; give it a value instead",
    "+foo=1": "config-add: '+foo=1': the keys are fixed, none can be added; to set one write foo=…",
    "++model=lstm": "config-add: '++model=lstm': the keys are fixed, none can be added; "
    "to set one write model=…",
    "exp_name=${nowhere}": "config-interpolation: exp_name='${nowhere}': "
    "Interpolation key 'nowhere' not found",
    "exp_name='${'": "config-interpolation: exp_name='${': no viable alternative at input '${'",
    "exp_name=${exp_name}": "config-interpolation: exp_name='${exp_name}': Recursive interpolation detected",
}


@pytest.mark.parametrize("override", BAD)
def test_bad_override(override):
    """Each kind of mistake has its slug and its sentence, and is the only one reported."""
    with pytest.raises(ConfigError) as caught:
        compose([override])

    assert caught.value.lines() == [BAD[override]]


def test_slugs_are_frozen():
    """The slugs of a configuration's mistakes are a public interface."""
    slugs = {line.partition(":")[0] for line in BAD.values()}

    assert slugs == {
        "config-add",
        "config-delete",
        "config-grammar",
        "config-interpolation",
        "config-range",
        "config-sweep",
        "config-type",
        "config-unknown-choice",
        "config-unknown-key",
    }


def test_all_mistakes_at_once():
    """A list with five mistakes reports five."""
    with pytest.raises(ConfigError) as caught:
        compose(["sead=1", "trainer.max_epochs=0", "a=", "optimizer.fused=1", "~seed"])

    assert [slug for slug, _ in caught.value.mistakes] == [
        "config-delete",
        "config-unknown-key",
        "config-unknown-key",
        "config-type",
        "config-range",
    ]


def test_unknown_choice_excuses_its_keys():
    """Keys below a misspelt option are not blamed on the default option."""
    with pytest.raises(ConfigError) as caught:
        compose(["model.hidden_dim=8", "model=lstn"])

    assert caught.value.lines() == ["config-unknown-choice: model=lstn: no such option; did you mean 'lstm'?"]


def test_choice_comes_first():
    """A group choice applies before the keys below it, wherever it stands; the last one wins."""
    config = compose(["model.hidden_dim=8", "model=transformer", "model=lstm"])

    assert config.model == LSTMConfig(hidden_dim=8)


def test_integers_become_what_the_schema_asks_for():
    """An integer is a number, and a name that happens to be digits is a name."""
    config = compose(["optimizer.weight_decay=0", "exp_name=42"])

    assert (repr(config.optimizer.weight_decay), config.exp_name) == ("0.0", "42")


def test_limit_keeps_its_type():
    """1 is one batch and 1.0 is all of them."""
    config = compose(["trainer.limit_train_batches=1", "trainer.limit_val_batches=1.0"])

    assert repr((config.trainer.limit_train_batches, config.trainer.limit_val_batches)) == "(1, 1.0)"


def test_nested_values_quotes_null_and_interpolation():
    """A dictionary sets several keys, quotes keep commas, null is None, ${…} is resolved."""
    config = compose(
        [
            "trainer={max_epochs:9,clip_norm:0}",
            "output_dir='a,b'",
            "resume=null",
            "exp_name=${model.name}_${seed}",
        ]
    )

    assert (config.trainer.max_epochs, config.trainer.clip_norm) == (9, 0.0)
    assert (config.output_dir, config.resume, config.exp_name) == ("a,b", None, "transformer_0")


def test_yaml_reads_back():
    """OmegaConf reads the printed configuration back to the same values, even literal dollars."""
    config = compose(["model=lstm", "exp_name='\\${literal}'", "output_dir='1e3'"])

    assert config.exp_name == "${literal}"
    assert OmegaConf.to_container(OmegaConf.create(to_yaml(config)), resolve=True) == asdict(config)


def one_edits(name: str) -> set[str]:
    """All deletions, swaps of neighbours, and some replacements and insertions."""
    cuts = [(name[:i], name[i:]) for i in range(len(name) + 1)]
    letters = string.ascii_lowercase[::12] + "_"
    return {
        *(head + tail[1:] for head, tail in cuts if tail),
        *(head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1),
        *(head + letter + tail[1:] for head, tail in cuts if tail for letter in letters),
        *(head + letter + tail for head, tail in cuts for letter in letters),
    }


@pytest.mark.parametrize("model", [TransformerConfig(), LSTMConfig()])
def test_typos_find_their_key(model):
    """At least 95 % of all typos of one edit name the right key."""
    known = [key for key, _, _ in iter_fields(TrainConfig(model=model))]
    typos = [(typo, key) for key in known for typo in one_edits(key) - set(known)]
    found = sum(suggest(typo, known) == f"; did you mean '{key}'?" for typo, key in typos)

    assert found / len(typos) >= 0.95


def list_schema() -> list[tuple[tuple[str, ...], str, Any]]:
    """Give (choices that it needs, key, default) of every key of every option."""
    needs: list[tuple[tuple[str, ...], str, Any]] = []
    for group, options in GROUPS.items():
        for option in options:
            choices = (f"{group}={option}",)
            if (group, option) == ("model", "import"):
                choices += ("data=import", "data.target=a.B", "model.target=a.B")
            elif option == "import":
                choices += ("data.target=a.B",)
            elif option in ("mlp", "table"):
                choices += (
                    f"{'model=mlp' if group == 'data' else 'data=table'}",
                    "data.source=a.csv",
                    "data.target=b",
                )
            elif group == "data":
                choices += (f"model={next(model for model, suited in DATA_OF.items() if option in suited)}",)
            needs += [(choices, f"{group}.{key}", value) for key, _, value in iter_fields(options[option]())]
    shared = [(key, value) for key, _, value in iter_fields(TrainConfig())]
    needs += [((), key, value) for key, value in shared if key.partition(".")[0] not in GROUPS]
    return [each for each in needs if type(each[2]) is not dict and not each[1].endswith(".name")]


def test_sixty_typos_over_the_whole_schema():
    """A deletion, insertion, swap or replacement in any key of any group: the right key is named first."""
    draw = random.Random(5)
    schema = list_schema()
    wrong = []
    for choices, key, _ in draw.sample(schema, 60):
        known = {each for needs, each, _ in schema if needs in ((), choices)}
        typo = f"+{draw.choice(sorted(one_edits(key) - known - {key}))}=1".removeprefix("+")
        with pytest.raises(ConfigError) as caught:
            compose([*choices, typo])
        if f"; did you mean '{key}'?" not in str(caught.value):
            wrong.append(f"{typo} for {key}: {caught.value}")

    assert len(wrong) <= 3, f"{60 - len(wrong)} of 60 typos found their key: " + " | ".join(wrong)


def test_twenty_wrong_types_and_ranges_at_once():
    """Twenty keys with a value of another type, or out of their limits: one line each, in one error."""
    bad = {}
    for choices, key, value in list_schema():
        entry = {each: field for each, field, _ in iter_fields(compose(list(choices)))}[key]
        allowed = entry.metadata.get("allowed")
        if not choices and value is not None and len(bad) < 10:
            bad[key] = "{a:1}" if isinstance(value, list) else "[1]"
        elif choices in ((), ("model=transformer",), ("optimizer=adamw",)) and allowed and len(bad) < 20:
            bad[key] = "x" if allowed.choices else "-1"
    with pytest.raises(ConfigError) as caught:
        compose([f"{key}={value}" for key, value in bad.items()])
    lines = caught.value.lines()

    assert len(bad) == 20
    assert sorted(line.partition(": ")[2].partition("=")[0] for line in lines) == sorted(bad)
    assert all(re.match(r"config-(type|range): \S+=.+: (expected|must be) ", line) for line in lines)


@dataclass
class HydraRoot(TrainConfig):
    """TrainConfig as Hydra wants it: with a defaults list."""

    defaults: list[Any] = field(
        default_factory=lambda: [
            "_self_",
            *({group: next(iter(options))} for group, options in GROUPS.items()),
        ]
    )
    model: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    data: Any = MISSING


def compose_with_hydra(overrides: list[str]) -> Any:
    """Compose the same schemas with Hydra itself."""
    store = ConfigStore.instance()
    store.store(name="trainkit_root", node=HydraRoot)
    for group, options in GROUPS.items():
        for option, schema in options.items():
            store.store(group=group, name=option, node=schema)
    with initialize(config_path=None, version_base="1.3"):
        return OmegaConf.to_container(hydra_compose("trainkit_root", overrides), resolve=True)


NAME = st.text(string.ascii_letters + "_", min_size=1, max_size=8).filter(
    lambda text: text.lower() not in {"true", "false", "null", "nan", "inf"}
)
POSITIVE = st.integers(1, 2**31)
FRACTION = st.floats(0.01, 0.99)
ASSIGNMENT = st.one_of(
    st.builds("trainer.{}={}".format, st.sampled_from(["max_epochs", "accumulate_grad_batches"]), POSITIVE),
    st.builds("model.{}={}".format, st.just("num_layers"), POSITIVE),
    st.builds("model.dropout={!r}".format, FRACTION),
    st.builds("optimizer.{}={!r}".format, st.sampled_from(["beta1", "learning_rate"]), FRACTION),
    st.builds("++optimizer.weight_decay={}".format, POSITIVE),
    st.builds("optimizer.fused={}".format, st.sampled_from(["true", "False", "bool(1)"])),
    st.builds("trainer.limit_val_batches={!r}".format, st.one_of(POSITIVE, FRACTION)),
    st.builds("trainer={{max_epochs:{},device:cpu}}".format, POSITIVE),
    st.builds("{}={}".format, st.sampled_from(["exp_name", "output_dir", "resume"]), NAME),
    st.builds("output_dir='{}, {}'".format, NAME, NAME),
    st.sampled_from(["resume=null", "exp_name=${seed}_x", "data.batch_size=${data.sequence_length}"]),
    st.sampled_from(
        ["model=lstm", "model=transformer", "optimizer=adamw", "schedule=wsd", "data=text", "exp_name=7"]
    ),
)


@settings(max_examples=12, deadline=None)
@given(overrides=st.lists(ASSIGNMENT, max_size=6))
def test_same_as_hydra(overrides):
    """Whatever is valid here gives what Hydra gives."""
    expected = compose_with_hydra(overrides)

    assert repr(asdict(compose(overrides))) == repr({key: expected[key] for key in asdict(TrainConfig())})


FRAGMENT = st.sampled_from(
    [
        "${",
        "}",
        "\\",
        "'",
        '"',
        ",",
        "[",
        "{",
        "=",
        ":",
        "seed",
        "1",
        "e3",
        "oc.env:X",
        "null",
        ".",
        "@",
        "(",
        "int",
    ]
)
ANYTHING = st.one_of(st.text(max_size=12), st.lists(FRAGMENT, max_size=8).map("".join))


@settings(max_examples=200, deadline=None)
@given(overrides=st.lists(st.one_of(ANYTHING, ANYTHING.map("exp_name={}".format)), max_size=3))
def test_never_a_traceback(overrides):
    """Any text either composes and prints, or is a ConfigError of one-line mistakes."""
    try:
        lines = to_yaml(compose(overrides)).splitlines()
    except ConfigError as error:
        lines = error.lines()

    assert lines
    assert not [line for line in lines if "\n" in line]
