"""The schema of a configuration: plain dataclasses that know which values are allowed.

Usable directly (`TrainConfig(model=LSTMConfig())`), with the standard library alone.
"""

# No `from __future__ import annotations`: `find_mistakes` needs the types of fields as objects.
# Not frozen, against the house rule: OmegaConf turns frozen dataclasses read-only.

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, get_args, get_origin

from trainkit.errors import suggest

Mistake = tuple[str, str]

WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list: "a list of strings",
    dict: "keys below it",
    type(None): "null",
}


@dataclass(frozen=True)
class Allowed:
    """What a value may be: an interval, its lower end excluded when `above` is given; or a list."""

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        """Say whether the value is allowed; nan never is."""
        if self.choices:
            return value in self.choices
        inside = self.at_least <= value <= self.at_most and not value >= self.below
        return inside and value > self.above and math.isfinite(value)

    def describe(self) -> str:
        """Say in words what is allowed."""
        if self.choices:
            return "must be one of " + ", ".join(map(repr, self.choices))
        ends = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return "must be " + " and ".join(f"{word} {end}" for word, end in ends.items() if math.isfinite(end))


def _allow(default: Any, **limits: Any) -> Any:
    return field(default=default, metadata={"allowed": Allowed(**limits)})


@dataclass
class ModelConfig:
    """What every model has: its name in the registry."""

    name: str


@dataclass
class TransformerConfig(ModelConfig):
    """A decoder-only transformer; sizes in features."""

    name: str = "transformer"
    num_layers: int = _allow(2, at_least=1)
    num_heads: int = _allow(4, at_least=1)
    model_dim: int = _allow(128, at_least=2)
    dropout: float = _allow(0.1, at_least=0, below=1)


@dataclass
class LSTMConfig(ModelConfig):
    """A stack of LSTM layers; sizes in features."""

    name: str = "lstm"
    num_layers: int = _allow(1, at_least=1)
    embedding_dim: int = _allow(64, at_least=1)
    hidden_dim: int = _allow(256, at_least=1)
    dropout: float = _allow(0.1, at_least=0, below=1)


@dataclass
class DiTConfig(ModelConfig):
    """A diffusion transformer over patches of images; sizes in features, `patch_size` in pixels."""

    name: str = "dit"
    patch_size: int = _allow(2, at_least=1)
    num_layers: int = _allow(4, at_least=1)
    num_heads: int = _allow(4, at_least=1)
    model_dim: int = _allow(128, at_least=4)
    label_dropout: float = _allow(0.1, at_least=0, below=1)
    num_timesteps: int = _allow(1000, at_least=1)


@dataclass
class SSSDConfig(ModelConfig):
    """Diffusion over series by state-space layers; sizes in features, `state_dim` for each feature."""

    name: str = "sssd"
    num_layers: int = _allow(4, at_least=1)
    model_dim: int = _allow(64, at_least=1)
    state_dim: int = _allow(64, at_least=2)
    num_timesteps: int = _allow(200, at_least=1)


@dataclass
class MLPConfig(ModelConfig):
    """Linear layers with ReLU between them over all features of a row or window; sizes in features."""

    name: str = "mlp"
    hidden_dims: list[int] = field(
        default_factory=lambda: [64, 64], metadata={"allowed": Allowed(at_least=1)}
    )
    dropout: float = _allow(0.0, at_least=0, below=1)


@dataclass
class ImportedModelConfig(ModelConfig):
    """Anything importable, called with `kwargs`: a LightningModule or a Task, an `nn.Module` with a loss, an
    estimator with `fit` and `predict`; `loss` is a function of torch.nn.functional or a dotted path.
    `online` has an estimator learn batch by batch.
    """

    name: str = "import"
    target: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss: str = ""
    online: bool = False


@dataclass
class OptimizerConfig:
    """What every optimizer has: its name in the registry."""

    name: str


@dataclass
class AdamWConfig(OptimizerConfig):
    """AdamW; `fused` is faster and changes bits, so it is never a silent default."""

    name: str = "adamw"
    learning_rate: float = _allow(1e-3, above=0)
    beta1: float = _allow(0.9, at_least=0, below=1)
    beta2: float = _allow(0.95, at_least=0, below=1)
    eps: float = _allow(1e-8, above=0)
    weight_decay: float = _allow(0.1, at_least=0)
    fused: bool = False


@dataclass
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent."""

    name: str = "sgd"
    learning_rate: float = _allow(0.1, above=0)
    momentum: float = _allow(0.9, at_least=0, below=1)
    nesterov: bool = False
    weight_decay: float = _allow(1e-4, at_least=0)


@dataclass
class MuonConfig(OptimizerConfig):
    """Muon for the matrices between embedding and head, AdamW with its own learning rate for the rest."""

    name: str = "muon"
    learning_rate: float = _allow(0.02, above=0)
    momentum: float = _allow(0.95, at_least=0, below=1)
    weight_decay: float = _allow(0.1, at_least=0)
    adamw_learning_rate: float = _allow(1e-3, above=0)


@dataclass
class ShampooConfig(OptimizerConfig):
    """Shampoo: a preconditioner for each side of a matrix, its roots computed anew every so many steps."""

    name: str = "shampoo"
    learning_rate: float = _allow(1e-3, above=0)
    weight_decay: float = _allow(0.01, at_least=0)
    precondition_every_n_steps: int = _allow(10, at_least=1)


@dataclass
class SOAPConfig(OptimizerConfig):
    """SOAP: Adam in the basis of Shampoo's preconditioner."""

    name: str = "soap"
    learning_rate: float = _allow(3e-3, above=0)
    beta1: float = _allow(0.95, at_least=0, below=1)
    beta2: float = _allow(0.95, at_least=0, below=1)
    weight_decay: float = _allow(0.01, at_least=0)
    precondition_every_n_steps: int = _allow(10, at_least=1)


@dataclass
class OwnConfig(OptimizerConfig):
    """What the model's own `configure_optimizers` gives, its schedulers with it."""

    name: str = "own"


@dataclass
class ScheduleConfig:
    """How the learning rate goes: linearly up during the warm-up, then by `name`."""

    name: str
    warmup_steps: int = _allow(0, at_least=0)


@dataclass
class ConstantConfig(ScheduleConfig):
    """It stays."""

    name: str = "constant"


@dataclass
class LinearConfig(ScheduleConfig):
    """It falls linearly to a fraction of itself at the last step."""

    name: str = "linear"
    final_fraction: float = _allow(0.0, at_least=0, at_most=1)


@dataclass
class CosineConfig(ScheduleConfig):
    """It falls along half a cosine to a fraction of itself at the last step."""

    name: str = "cosine"
    final_fraction: float = _allow(0.1, at_least=0, at_most=1)


@dataclass
class WSDConfig(ScheduleConfig):
    """Warm-up, stable, decay: it stays until the last part of the steps, then falls linearly."""

    name: str = "wsd"
    decay_fraction: float = _allow(0.2, above=0, at_most=1)
    final_fraction: float = _allow(0.0, at_least=0, at_most=1)


@dataclass
class DataConfig:
    """What every data set has: its name in the registry; `batch_size` is of one process."""

    name: str
    batch_size: int = _allow(32, at_least=1)
    num_workers: int = _allow(0, at_least=0)


@dataclass
class SplitConfig(DataConfig):
    """Data that is split into train, validation and, of what is left, test."""

    train_fraction: float = _allow(0.6, above=0, at_most=1)
    validation_fraction: float = _allow(0.2, at_least=0, below=1)


@dataclass
class TextConfig(SplitConfig):
    """Text as bytes; `source` is `pydoc_data.topics` or the path of a UTF-8 file; the rest is test."""

    name: str = "text"
    source: str = "pydoc_data.topics"
    sequence_length: int = _allow(128, at_least=1)


@dataclass
class DigitsConfig(SplitConfig):
    """1,797 written digits of 8 by 8 pixels, scikit-learn's; `shift` moves each by up to so many pixels."""

    name: str = "digits"
    shift: int = _allow(0, at_least=0, at_most=4)


@dataclass
class SourceConfig(SplitConfig):
    """Rows from CSV, TSV, Parquet or JSON lines: a file, a glob, a folder, or an address (http://, https://).

    `columns` are what is learnt from, all if empty. `schema.COLUMN` declares what a column is (number,
    category, time, text); what is not declared is inferred. Rows must be in the order of `time`, where it is
    given. `steps` are done in order, fitted on the training part. `split`: temporal, random, grouped (no
    `group` is in two parts) or walk_forward (fold `fold` of `num_folds`). `cache_dir` is the user's cache if
    empty.
    """

    source: str = ""
    format: str = _allow("auto", choices=("auto", "csv", "tsv", "parquet", "jsonl"))
    columns: list[str] = field(default_factory=list)
    time: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    split: str = "temporal"
    group: str = ""
    fold: int = _allow(1, at_least=1)
    num_folds: int = _allow(5, at_least=1)
    cache_dir: str = ""


@dataclass
class TableConfig(SourceConfig):
    """A table, of which `target` is to be predicted: a category, or a number."""

    name: str = "table"
    target: str = ""
    steps: list[str] = field(default_factory=lambda: ["standardize", "one_hot"])
    split: str = _allow("random", choices=("temporal", "random", "grouped", "walk_forward"))


@dataclass
class SeriesConfig(SourceConfig):
    """Windows of a series, of which the last `horizon` values are to be predicted, or each of `horizons`.

    `source` is "waves", made up of sines and noise, or rows of numbers in the order of time. No window is in
    two parts. With a `target` a batch is (what is observed, the target so many rows later, for each horizon).
    """

    name: str = "series"
    source: str = "waves"
    window: int = _allow(64, at_least=2)
    horizon: int = _allow(16, at_least=1)
    horizons: list[int] = field(default_factory=list, metadata={"allowed": Allowed(at_least=1)})
    stride: int = _allow(8, at_least=1)
    target: str = ""
    steps: list[str] = field(default_factory=lambda: ["standardize"])
    split: str = _allow("temporal", choices=("temporal", "walk_forward"))


@dataclass
class ImportedDataConfig(DataConfig):
    """Anything importable, called with `kwargs`: a LightningDataModule, or what gives (train, validation,
    test) as loaders or as data sets; `batch_size` and `num_workers` are for the latter.
    """

    name: str = "import"
    target: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainerConfig:
    """How long, how precisely and on what device; a limit is a count (int) or a fraction (float).

    A checkpoint is written at the end of each epoch, and within it after every `save_every_n_steps` steps.
    With `ema_decay` the average of the weights is validated and tested, not the weights themselves. A run
    ends early after `patience` epochs (0: never) without a lower validation loss; `monitor` names another
    value that the validation step gives or logs to be that loss. The first `profile_steps`
    steps of a run are written to profile.json, to be opened in Perfetto.

    `lean` leaves out of the start what the first step does not need; it leans on private names of torch,
    and says so where these are others. Under torchrun each process has a copy of the model (`strategy=ddp`)
    or a part of it (`fsdp`).

    A step averages the loss over the items (tokens, images) of all its batches; with
    `average_over=batches` each batch's mean counts 1 / `accumulate_grad_batches`, as in Lightning.
    """

    max_epochs: int = _allow(3, at_least=1)
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    accumulate_grad_batches: int = _allow(1, at_least=1)
    average_over: str = _allow("items", choices=("items", "batches"))
    clip_norm: float = _allow(1.0, at_least=0)
    save_every_n_steps: int = _allow(0, at_least=0)
    ema_decay: float = _allow(0.0, at_least=0, below=1)
    patience: int = _allow(0, at_least=0)
    monitor: str = ""
    compile: bool = False
    profile_steps: int = _allow(0, at_least=0)
    lean: bool = False
    strategy: str = _allow("ddp", choices=("ddp", "fsdp"))
    precision: str = _allow("fp32", choices=("fp32", "tf32", "bf16", "fp16"))
    device: str = _allow("auto", choices=("auto", "cpu", "cuda"))


@dataclass
class CsvConfig:
    """Whether metrics.csv is written."""

    enabled: bool = True


@dataclass
class TensorboardConfig:
    """Whether TensorBoard's event files are written, to the run folder."""

    enabled: bool = False


@dataclass
class WandbConfig:
    """Weights & Biases; offline nothing leaves the machine (`wandb sync` sends it later)."""

    enabled: bool = False
    project_name: str = "trainkit"
    mode: str = _allow("offline", choices=("offline", "online"))


@dataclass
class MlflowConfig:
    """MLflow; without a `tracking_uri` it is `mlflow.db` (SQLite) in output_dir, for all runs there."""

    enabled: bool = False
    tracking_uri: str = ""
    experiment_name: str = "trainkit"


@dataclass
class LoggerConfig:
    """Where metrics go: at the end of each epoch and, with `every_n_steps` above 0, the training loss of each
    n-th step (of the first rank's batches; an estimator has no such steps).
    """

    csv: CsvConfig = field(default_factory=CsvConfig)
    tensorboard: TensorboardConfig = field(default_factory=TensorboardConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    mlflow: MlflowConfig = field(default_factory=MlflowConfig)
    every_n_steps: int = _allow(0, at_least=0)


@dataclass
class TrainConfig:
    """One training run; its files go to `output_dir`/`exp_name`.

    `resume` is a checkpoint's path, or "auto": go on with what is in the run's folder, if anything is.
    `init_from` is a checkpoint or a state dict (also safetensors) whose weights a new run begins with;
    parameters whose names match a pattern of `freeze` (such as "blocks.0.*") are not trained.
    """

    model: ModelConfig = field(default_factory=TransformerConfig)
    optimizer: OptimizerConfig = field(default_factory=AdamWConfig)
    schedule: ScheduleConfig = field(default_factory=ConstantConfig)
    data: DataConfig = field(default_factory=TextConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    exp_name: str = "default"
    seed: int = _allow(0, at_least=0, at_most=2**32 - 1)
    output_dir: str = "runs"
    resume: str | None = None
    init_from: str | None = None
    freeze: list[str] = field(default_factory=list)


STEPS = ("impute_mean", "impute_median", "standardize", "min_max", "impute_most_frequent", "one_hot")
_OF_WAVES = (  # the keys that a made-up series has a use for
    *("batch_size", "num_workers", "train_fraction", "validation_fraction"),
    *("window", "horizon", "horizons", "stride", "split", "fold", "num_folds"),
)
# Option name -> schema; the first option of a group is its default.
GROUPS: dict[str, dict[str, type[Any]]] = {
    "model": {
        "transformer": TransformerConfig,
        "lstm": LSTMConfig,
        "dit": DiTConfig,
        "sssd": SSSDConfig,
        "mlp": MLPConfig,
        "import": ImportedModelConfig,
    },
    "optimizer": {
        "adamw": AdamWConfig,
        "sgd": SGDConfig,
        "muon": MuonConfig,
        "shampoo": ShampooConfig,
        "soap": SOAPConfig,
        "own": OwnConfig,
    },
    "schedule": {
        "constant": ConstantConfig,
        "linear": LinearConfig,
        "cosine": CosineConfig,
        "wsd": WSDConfig,
    },
    "data": {
        "text": TextConfig,
        "digits": DigitsConfig,
        "series": SeriesConfig,
        "table": TableConfig,
        "import": ImportedDataConfig,
    },
}
# Model -> the data that it takes, and its optimizer; the first is chosen where nothing is said.
DATA_OF = {
    "transformer": ("text", "import"),
    "lstm": ("text", "import"),
    "dit": ("digits", "import"),
    "sssd": ("series", "import"),
    "mlp": ("table", "series", "import"),
}
OPTIMIZER_OF = {"import": "own"}


def iter_fields(config: Any, prefix: str = "") -> Iterator[tuple[str, "dataclasses.Field[Any]", Any]]:
    """Yield (dotted key, field, value) of every leaf, in the order of the schema."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            yield from iter_fields(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, entry, value


def validate(config: TrainConfig) -> list[Mistake]:
    """Give (slug, message) for every wrong type, value out of range, and contradiction."""
    leaves = list(iter_fields(config))
    types = [mistake for leaf in leaves for mistake in _check_type(*leaf)]
    wrong = {message.partition("=")[0] for _, message in types}
    ranges = [mistake for leaf in leaves if leaf[0] not in wrong for mistake in _check_range(*leaf)]
    together = [] if types or ranges else [("config-range", message) for message in _check_together(config)]
    return types + ranges + together


def _check_type(key: str, entry: "dataclasses.Field[Any]", value: Any) -> Iterator[Mistake]:
    """Compare types exactly: True is no integer here, and "3" is none either."""
    container = get_origin(entry.type)
    types = (container,) if container in (list, dict) else get_args(entry.type) or (entry.type,)
    inner = get_args(entry.type)[0] if container is list else None
    fits = type(value) in types or (float in types and type(value) is int)
    if not fits or (inner is not None and any(type(each) is not inner for each in value)):
        expected = " or ".join(WORDS[each] for each in types)
        expected = "a list of integers" if inner is int else expected
        yield "config-type", f"{key}={value!r}: expected {expected}"


def _check_range(key: str, entry: "dataclasses.Field[Any]", value: Any) -> Iterator[Mistake]:
    allowed = entry.metadata.get("allowed")
    if allowed is not None and not all(map(allowed.accepts, value if isinstance(value, list) else [value])):
        infinite = isinstance(value, float) and not math.isfinite(value)
        yield "config-range", f"{key}={value!r}: {allowed.describe()}{' and finite' if infinite else ''}"
    if entry.name.startswith("limit_") and not (0 <= value <= 1 or (type(value) is int and value > 0)):
        yield (
            "config-range",
            f"{key}={value!r}: must be a count of batches (0, 1, 2, …) or a fraction from 0.0 to 1.0",
        )


def _check_together(config: TrainConfig) -> Iterator[str]:
    """Check what no single field can know; types and ranges hold already."""
    for group, options in GROUPS.items():
        chosen = getattr(config, group)
        if not isinstance(chosen, options.get(chosen.name, ())):
            yield f"{group}.name={chosen.name!r}: cannot be set alone; choose {group}={'|'.join(options)}"
    suited = DATA_OF.get(config.model.name, tuple(GROUPS["data"]))
    if config.data.name not in suited:
        yield f"data={config.data.name}: model={config.model.name} takes {' or '.join(suited)}"
    for check in (_check_model, _check_data, _check_optimizer):
        yield from check(config)
    if config.trainer.lean and config.trainer.compile:
        yield "trainer.lean=True: contradicts trainer.compile=True, which needs what lean leaves out"
    if config.resume not in (None, "auto") and config.init_from is not None:
        yield f"init_from={config.init_from!r}: contradicts resume={config.resume!r}; give one"
    path = PurePath(config.exp_name)
    if not config.exp_name or path.is_absolute() or ".." in path.parts:
        yield f"exp_name={config.exp_name!r}: must name a folder inside output_dir"


def _check_model(config: TrainConfig) -> Iterator[str]:
    model = config.model
    if isinstance(model, TransformerConfig) and model.model_dim % (2 * model.num_heads):
        yield (
            f"model.model_dim={model.model_dim}: must be a multiple of 2 * model.num_heads="
            f"{2 * model.num_heads} (rotary positions turn pairs of features)"
        )
    if isinstance(model, DiTConfig) and model.model_dim % math.lcm(4, model.num_heads):
        yield (
            f"model.model_dim={model.model_dim}: must be a multiple of 4 (a sine and a cosine of two axes) "
            f"and of model.num_heads={model.num_heads}"
        )
    if isinstance(model, SSSDConfig) and model.state_dim % 2:
        yield f"model.state_dim={model.state_dim}: must be even (states come in pairs)"
    if isinstance(model, ImportedModelConfig) and not model.target:
        yield "model.target='': must be a dotted path, such as package.module.Name"


def _check_data(config: TrainConfig) -> Iterator[str]:
    data = config.data
    if isinstance(data, SeriesConfig):
        yield from _check_series(config, data)
    if isinstance(data, SourceConfig):
        yield from _check_source(data)
    if isinstance(data, TableConfig):
        for key in ("source", "target"):
            if not getattr(data, key):
                yield f"data.{key}='': must be given, data.{key}=…"
    if isinstance(data, SplitConfig) and data.train_fraction + data.validation_fraction > 1:
        yield (
            f"data.validation_fraction={data.validation_fraction!r}: must be at most 1 - "
            f"data.train_fraction={data.train_fraction!r}"
        )
    if isinstance(data, ImportedDataConfig) and not data.target:
        yield "data.target='': must be a dotted path, such as package.module.Name"


def _check_series(config: TrainConfig, data: SeriesConfig) -> Iterator[str]:
    if data.horizons:
        if max(data.horizons) >= data.window:
            yield f"data.horizons={data.horizons}: must be less than data.window={data.window}"
    elif data.horizon >= data.window:
        yield f"data.horizon={data.horizon}: must be less than data.window={data.window}"
    if config.model.name == "mlp" and not data.target:
        yield "data.target='': model=mlp predicts one column of a series; name it"
    if config.model.name == "sssd" and data.target:
        yield f"data.target='{data.target}': has no effect with model=sssd, which predicts all columns"
    if data.source == "waves" and data != SeriesConfig(**{key: getattr(data, key) for key in _OF_WAVES}):
        yield "data.source='waves': has no columns and takes no " + ", ".join(
            f"data.{entry.name}"
            for entry in dataclasses.fields(data)
            if entry.name not in _OF_WAVES
            and getattr(data, entry.name) != getattr(SeriesConfig(), entry.name)
        )


def _check_source(data: SourceConfig) -> Iterator[str]:
    kinds = ("number", "category", "time", "text")
    for name, kind in data.schema.items():
        if kind not in kinds:
            yield f"data.schema.{name}={kind!r}: must be one of {', '.join(map(repr, kinds))}"
    for step in data.steps:
        if step not in STEPS:
            yield f"data.steps={data.steps}: no step is called '{step}'{suggest(step, STEPS)}"
    if bool(data.group) != (data.split == "grouped"):
        needs = ("has no effect with it; give data.split=grouped", "must be given, data.group=…")
        yield f"data.group='{data.group}': data.split is '{data.split}', and it {needs[not data.group]}"
    if data.fold > data.num_folds:
        yield f"data.fold={data.fold}: must be at most data.num_folds={data.num_folds}"
    if (data.fold, data.num_folds) != (1, 5) and data.split != "walk_forward":
        yield f"data.fold={data.fold}: has no effect with data.split={data.split}"
    for name in (data.time, data.group, getattr(data, "target", "")):
        if name and name in data.columns and not isinstance(data, SeriesConfig):
            yield f"data.columns: '{name}' is not learnt from, it has another use"


def _check_optimizer(config: TrainConfig) -> Iterator[str]:
    optimizer = config.optimizer
    if isinstance(optimizer, OwnConfig) and config.schedule != ConstantConfig():
        yield f"schedule={config.schedule.name}: has no effect with optimizer=own, which brings its own"
    if isinstance(optimizer, SGDConfig) and optimizer.nesterov and not optimizer.momentum:
        yield "optimizer.nesterov=True: needs optimizer.momentum above 0"
