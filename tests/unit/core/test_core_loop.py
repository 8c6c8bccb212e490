"""The loop against a loop by hand, and its invariants."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainkit.core.config import AdamWConfig, TransformerConfig
from trainkit.core.data import IGNORE_INDEX, Batch
from trainkit.core.loop import (
    EpochResult,
    NonFiniteLossError,
    run_training_epoch,
    run_validation_epoch,
)
from trainkit.core.models import Transformer
from trainkit.core.optim import build_adamw
from trainkit.core.task import Task

CPU = torch.device("cpu")


def make_batches(num_batches, *, batch_size=3, time=6, seed=0):
    """Give batches of random bytes with padding of random length, at least two tokens a row."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(num_batches):
        tokens = torch.randint(0, 256, (batch_size, time + 1), generator=generator)
        lengths = torch.randint(2, time + 1, (batch_size, 1), generator=generator)
        targets = tokens[:, 1:].masked_fill(torch.arange(time) >= lengths, IGNORE_INDEX)
        batches.append(Batch(tokens[:, :-1], targets))
    return batches


def make_model(dropout=0.0):
    """Give a one-layer transformer, the same every time."""
    torch.manual_seed(5)
    return Transformer(
        TransformerConfig(num_layers=1, num_heads=2, model_dim=8, dropout=dropout), vocab_size=256
    )


def count_tokens(batches):
    """Count the targets that are no padding."""
    return sum(int((batch.targets != IGNORE_INDEX).sum()) for batch in batches)


def train_copy(model, batches, *, sgd=True, **options):
    """Train a copy for one epoch; give it and the result."""
    trained = copy.deepcopy(model)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.5) if sgd else build_adamw(AdamWConfig(), trained)
    return trained, run_training_epoch(trained, optimizer, batches, device=CPU, **options)


def largest_difference(one, two):
    """Give the largest absolute difference of two models' parameters."""
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_same_bits_as_a_loop_by_hand():
    """With dropout, padding and clipping: the same loss and weights as a loop that anyone would write."""
    model, batches = make_model(dropout=0.3), make_batches(4)
    expected, expected_sum = copy.deepcopy(model).train(), 0.0
    optimizer = build_adamw(AdamWConfig(), expected)
    torch.manual_seed(11)
    for tokens, targets in batches:
        loss = F.cross_entropy(expected(tokens).view(-1, 256), targets.reshape(-1), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        # In the optimizer's order, as Lightning does: a sum in another order has other bits.
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.7)
        optimizer.step()
        expected_sum += loss.item() * int((targets != -100).sum())
    torch.manual_seed(11)
    actual, result = train_copy(model, batches, sgd=False, clip_norm=0.7)

    assert result == EpochResult(expected_sum, count_tokens(batches), num_steps=4, num_batches=4)
    assert largest_difference(actual, expected) == 0.0
    assert largest_difference(actual, model) > 0.0


@pytest.mark.parametrize("num_batches", [4, 6, 3])
def test_accumulation_equals_big_batches(num_batches):
    """Groups of four micro-batches, the last one ragged, give the update of the joined batches."""
    model, batches = make_model(), make_batches(num_batches)
    groups = [batches[start : start + 4] for start in range(0, num_batches, 4)]
    joined = [Batch(*(torch.cat(parts) for parts in zip(*group, strict=True))) for group in groups]
    big, big_result = train_copy(model, joined)
    small, small_result = train_copy(model, batches, accumulate_grad_batches=4)

    assert (small_result.num_steps, small_result.num_items) == (len(groups), count_tokens(batches))
    assert small_result.loss_sum == pytest.approx(big_result.loss_sum, rel=1e-6)
    assert largest_difference(small, big) < 1e-6
    assert largest_difference(small, model) > 1e-3


def test_tokens_weigh_not_batches():
    """The epoch's loss is the mean over tokens; the mean of batch means is another number."""
    model, batches = make_model(), make_batches(3)
    sums = [
        F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten(), reduction="sum").item()
        for batch in batches
    ]
    mean_of_means = sum(part / count_tokens([batch]) for part, batch in zip(sums, batches, strict=True)) / 3
    result = run_validation_epoch(model, batches, device=CPU)

    assert result.mean_loss == pytest.approx(sum(sums) / count_tokens(batches), rel=1e-6)
    assert result.mean_loss != pytest.approx(mean_of_means, rel=1e-4)


def test_padding_changes_nothing():
    """More padding, whatever token stands there, changes neither loss nor update."""
    model, batches = make_model(), make_batches(3)
    padded = [
        Batch(F.pad(batch.tokens, (0, 5), value=77), F.pad(batch.targets, (0, 5), value=IGNORE_INDEX))
        for batch in batches
    ]
    plain, plain_result = train_copy(model, batches)
    longer, longer_result = train_copy(model, padded)

    assert longer_result.num_items == plain_result.num_items
    assert longer_result.loss_sum == pytest.approx(plain_result.loss_sum, rel=1e-6)
    assert largest_difference(longer, plain) < 1e-6


@pytest.mark.parametrize("num_batches", [0, 2])
def test_no_tokens_no_step(num_batches):
    """Without batches, or with padding alone, nothing moves and the loss is nan."""
    model = make_model()
    batches = [Batch(each.tokens, torch.full_like(each.targets, -100)) for each in make_batches(num_batches)]
    trained, result = train_copy(model, batches, sgd=False)

    assert (result.num_items, result.num_steps) == (0, 0)
    assert math.isnan(result.mean_loss)
    assert largest_difference(trained, model) == 0.0
    assert math.isnan(run_validation_epoch(model, batches, device=CPU).mean_loss)


def test_clipping_bounds_the_whole_step():
    """With plain SGD a step is as long as lr * clip_norm, once per group and not per micro-batch."""
    model, batches = make_model(), make_batches(2)
    trained, _ = train_copy(model, batches, accumulate_grad_batches=2, clip_norm=1e-2)
    pairs = zip(trained.parameters(), model.parameters(), strict=True)
    length = math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))

    assert length == pytest.approx(0.5 * 1e-2, rel=1e-3)


def test_validation_leaves_no_trace():
    """Modes (mixed ones too), RNG, weights and gradients are as before."""
    model = make_model(dropout=0.5).train()
    model.blocks.eval()
    modes = [module.training for module in model.modules()]
    weights, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    result = run_validation_epoch(model, make_batches(2), device=CPU)

    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert result == run_validation_epoch(model.eval(), make_batches(2), device=CPU)


def test_modes_come_back_after_an_exception():
    """A model that fails in validation is in training mode afterwards."""
    model = make_model().train()
    with pytest.raises(IndexError):
        run_validation_epoch(model, [Batch(torch.tensor([[999]]), torch.tensor([[1]]))], device=CPU)

    assert all(module.training for module in model.modules())


def test_training_turns_training_mode_on():
    """A model in evaluation mode is trained with its dropout."""
    model = make_model().eval()
    trained, _ = train_copy(model, make_batches(1))

    assert trained.training


def test_bf16_is_near_and_not_equal():
    """Autocast to bfloat16 computes nearly the same loss, float32 weights stay float32."""
    model, batches = make_model(), make_batches(3)
    _, full = train_copy(model, batches)
    trained, half = train_copy(model, batches, precision="bf16")

    assert half.loss_sum == pytest.approx(full.loss_sum, rel=2e-2)
    assert half.loss_sum != full.loss_sum
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}


def test_non_finite_loss_stops_before_the_step():
    """A nan names its epoch and step, and the weights of the step before are kept."""
    model, batches = make_model(), make_batches(3)
    good, _ = train_copy(model, batches[:2])
    poisoned = copy.deepcopy(model)
    calls = iter([1.0, 1.0, math.nan])
    poisoned.head.register_forward_hook(lambda *call: call[2] * next(calls))
    optimizer = torch.optim.SGD(poisoned.parameters(), lr=0.5)
    with pytest.raises(NonFiniteLossError) as caught:
        run_training_epoch(poisoned, optimizer, batches, device=CPU, epoch=7)

    assert caught.value.lines() == [
        "train-non-finite: the training loss became nan at epoch 7, step 2, batch 2 (all count from 0); "
        "lower optimizer.learning_rate, set trainer.clip_norm, or look at the data of that step"
    ]
    assert caught.value.exit_status == 3
    assert largest_difference(poisoned, good) == 0.0


@pytest.mark.parametrize(
    ("loss", "expected"), [(0.0, 1.0), (1.0, math.e), (13.0, math.exp(13.0)), (1e4, 1e6), (math.inf, 1e6)]
)
def test_perplexity(loss, expected):
    """A language model's perplexity is exp of the loss, at most a million; another task has none."""
    result = EpochResult(loss_sum=loss, num_items=1)
    result.derive(make_model())

    assert result.metrics == {"perplexity": expected}
    assert Task().derive_metrics(loss) == {}


def test_learning_happens():
    """Ten epochs on one batch bring the loss far down."""
    model, batches = make_model(), make_batches(1)
    optimizer = build_adamw(AdamWConfig(learning_rate=1e-2), model)
    losses = [run_training_epoch(model, optimizer, batches, device=CPU).mean_loss for _ in range(30)]

    assert losses[0] > 5.0
    assert losses[-1] < 0.6 * losses[0]
