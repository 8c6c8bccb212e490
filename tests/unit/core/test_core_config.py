"""The schema: ranges, types and contradictions."""

import math

import pytest

from trainkit.core.config import (
    GROUPS,
    LSTMConfig,
    TextConfig,
    TrainConfig,
    TrainerConfig,
    iter_fields,
    validate,
)
from trainkit.core.registry import DATASETS, MODELS, OPTIMIZERS


def test_defaults_are_valid():
    """The defaults of every option pass their own check."""
    mistakes = validate(TrainConfig()) + validate(TrainConfig(model=LSTMConfig()))

    assert mistakes == []


def test_first_option_is_default():
    """The first option of a group is what TrainConfig takes without a choice."""
    config = TrainConfig()

    assert {group: type(getattr(config, group)) for group in GROUPS} == {
        group: next(iter(options.values())) for group, options in GROUPS.items()
    }


def test_every_option_is_registered_under_its_name():
    """Schema, group and registry agree on the names."""
    registries = {"model": MODELS, "optimizer": OPTIMIZERS, "data": DATASETS}

    for group, registry in registries.items():
        assert [name for name in GROUPS[group] if name != "own"] == list(registry.entries)  # own: the model's
        assert [schema().name for schema in GROUPS[group].values()] == list(GROUPS[group])


KEYS = """
model.name model.num_layers model.num_heads model.model_dim model.dropout
optimizer.name optimizer.learning_rate optimizer.beta1 optimizer.beta2 optimizer.eps
optimizer.weight_decay optimizer.fused
schedule.name schedule.warmup_steps
data.name data.batch_size data.num_workers data.train_fraction data.validation_fraction
data.source data.sequence_length
trainer.max_epochs trainer.limit_train_batches trainer.limit_val_batches trainer.limit_test_batches
trainer.accumulate_grad_batches trainer.average_over trainer.clip_norm
trainer.save_every_n_steps trainer.ema_decay
trainer.patience trainer.monitor trainer.compile trainer.profile_steps trainer.lean trainer.strategy trainer.precision trainer.device
logger.csv.enabled logger.tensorboard.enabled
logger.wandb.enabled logger.wandb.project_name logger.wandb.mode
logger.mlflow.enabled logger.mlflow.tracking_uri logger.mlflow.experiment_name logger.every_n_steps
exp_name seed output_dir resume
init_from freeze
"""


def test_keys_are_frozen():
    """The keys of the default configuration are a public interface."""
    keys = [key for key, _, _ in iter_fields(TrainConfig())]

    assert keys == KEYS.split()


@pytest.mark.parametrize("limit", [0, 1, 7, 0.0, 0.5, 1.0])
def test_limits_take_counts_and_fractions(limit):
    """A limit is any count, or a fraction up to 1.0."""
    assert validate(TrainConfig(trainer=TrainerConfig(limit_train_batches=limit))) == []


@pytest.mark.parametrize("limit", [-1, 1.5, -0.1, math.nan, math.inf])
def test_limits_refuse_the_rest(limit):
    """A negative count, a fraction above 1 and nan are refused with the key, the value and the rule."""
    mistakes = validate(TrainConfig(trainer=TrainerConfig(limit_val_batches=limit)))

    assert mistakes == [
        (
            "config-range",
            f"trainer.limit_val_batches={limit!r}: must be a count of batches (0, 1, 2, …) "
            "or a fraction from 0.0 to 1.0",
        )
    ]


@pytest.mark.parametrize("value", [True, "3", 3.0, None])
def test_integer_is_strict(value):
    """True, "3", 3.0 and None are no integers."""
    mistakes = validate(TrainConfig(trainer=TrainerConfig(max_epochs=value)))

    assert mistakes == [("config-type", f"trainer.max_epochs={value!r}: expected an integer")]


def test_wrong_type_hides_contradictions_only():
    """A wrong type does not hide the range of another key."""
    mistakes = validate(TrainConfig(seed=-1, trainer=TrainerConfig(clip_norm="much")))

    assert mistakes == [
        ("config-type", "trainer.clip_norm='much': expected a number"),
        ("config-range", "seed=-1: must be at least 0 and at most 4294967295"),
    ]


def test_fractions_leave_room():
    """Train and validation together are at most everything."""
    mistakes = validate(TrainConfig(data=TextConfig(train_fraction=0.9)))

    assert mistakes == [
        (
            "config-range",
            "data.validation_fraction=0.2: must be at most 1 - data.train_fraction=0.9",
        )
    ]


def test_dataclass_of_another_option():
    """A name that is not its schema's is refused."""
    mistakes = validate(TrainConfig(model=LSTMConfig(name="transformer")))

    assert mistakes == [
        (
            "config-range",
            f"model.name='transformer': cannot be set alone; choose model={'|'.join(GROUPS['model'])}",
        )
    ]
