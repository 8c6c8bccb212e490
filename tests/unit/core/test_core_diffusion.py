"""Diffusion: schedule, networks, losses, samplers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainkit.core.config import DATA_OF, GROUPS, AdamWConfig, DiTConfig, SSSDConfig, TrainConfig, validate
from trainkit.core.diffusion import build_cosine_schedule
from trainkit.core.dit import DiT, ImageBatch, compute_grid_positions, patchify, unpatchify
from trainkit.core.optim import build_adamw, split_parameters
from trainkit.core.registry import MODELS, OPTIMIZERS
from trainkit.core.sssd import S4D, SSSD, SeriesBatch
from trainkit.errors import UsageError


def build(name):
    """Give a small model: images 3 x 8 x 8 of 4 classes, or series of 2 channels."""
    torch.manual_seed(3)
    if name == "dit":
        config = DiTConfig(num_layers=2, num_heads=2, model_dim=16, num_timesteps=50)
        return DiT(config, image_size=8, num_channels=3, num_classes=4)
    return SSSD(SSSDConfig(num_layers=2, model_dim=8, state_dim=8, num_timesteps=50), num_channels=2)


def draw_batch(name, size=6):
    """Give smooth images, or waves whose last third is hidden."""
    generator = torch.Generator().manual_seed(5)
    if name == "dit":
        labels = torch.arange(size) % 4
        rows = torch.linspace(-1, 1, 8)[None, None, :, None].expand(size, 3, 8, 8)
        return ImageBatch((rows * (labels - 1.5)[:, None, None, None]).clamp(-1, 1), labels)
    phase = torch.rand(size, 1, 2, generator=generator) * 6
    values = (phase + torch.arange(12.0)[None, :, None] / 2).sin() * 1.4
    return SeriesBatch(values, (torch.arange(12) < 8)[None, :, None].expand_as(values))


def train(model, batch, optimizer, num_steps):
    """Make steps on one batch."""
    for number in range(num_steps):
        optimizer.zero_grad()
        model.training_step(batch, number).backward()
        optimizer.step()


def unsettle(model):
    """Give every parameter some noise: at the start the output is zero whatever comes in."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@given(st.integers(1, 2000))
def test_schedule_falls_from_one_and_stays_above_zero(num_timesteps):
    """Each step leaves less of the signal, and something of it."""
    signal = build_cosine_schedule(num_timesteps)

    assert signal.shape == (num_timesteps + 1,)
    assert signal[0] == 1
    assert (signal.diff() < 0).all() and signal[-1] > 0


def test_schedule_has_the_published_middle():
    """Half-way the share is cos²(π/2 · 0.508/1.008) / cos²(π/2 · 0.008/1.008)."""
    expected = (math.cos(math.pi / 2 * 0.508 / 1.008) / math.cos(math.pi / 2 * 0.008 / 1.008)) ** 2

    assert build_cosine_schedule(1000)[500].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_perfect_prediction_is_denoised_to_the_data(name):
    """With the true noise as prediction the sampler ends at the clean data, up to 1e-3."""
    model = build(name)
    clean = draw_batch(name)[0]

    def predict_noise(noised, timesteps):
        signal = model.signal[timesteps].view(-1, *[1] * (noised.ndim - 1))
        return (noised - signal.sqrt() * clean) / (1 - signal).sqrt()

    result = model.denoise(predict_noise, torch.randn(clean.shape), 7)

    torch.testing.assert_close(result, clean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_steps", [0, 51])
def test_number_of_steps_is_limited_by_the_timesteps(num_steps):
    """No step, and more steps than timesteps, are refused with both numbers."""
    with pytest.raises(ValueError, match=f"num_steps={num_steps}: .* num_timesteps=50"):
        build("dit").sample(torch.zeros(1, dtype=torch.int64), num_steps, torch.Generator())


@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_output_is_zero_at_the_start(name):
    """The last layer starts at zero: the first loss is the mean square of the noise."""
    model, batch = build(name), draw_batch(name)
    noised, timesteps = torch.randn(batch[0].shape), torch.full((6,), 9)
    rest = batch[1:] if name == "dit" else batch

    assert not model(noised, timesteps, *rest).any()


def test_each_block_of_dit_is_the_identity_at_the_start():
    """adaLN-Zero: the gates are closed."""
    block = build("dit").blocks[0]
    hidden = torch.randn(2, 16, 16)

    assert torch.equal(block(hidden, torch.randn(2, 16)), hidden)


def test_dit_heeds_timestep_label_and_place():
    """Once the gates are open, each input changes the output; so does an exchange of patches."""
    model, images = unsettle(build("dit")), draw_batch("dit").images
    time, label = torch.full((6,), 9), torch.zeros(6, dtype=torch.int64)
    before = model(images, time, label)

    assert not torch.allclose(before, model(images, time + 20, label))
    assert not torch.allclose(before, model(images, time, label + 1))
    assert not torch.allclose(before.flip(2), model(images.flip(2), time, label), atol=1e-3)


def test_positions_of_a_grid_are_distinct():
    """No two patches of a square share their waves, and the row is told apart from the column."""
    positions = compute_grid_positions(4, 16)

    assert positions.shape == (16, 16)
    assert len(positions.unique(dim=0)) == 16


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_patches_make_the_image_again(size, num_sides, num_channels):
    """Cutting and putting together gives the same bits; the first patch is the upper left corner."""
    images = torch.randn(2, num_channels, size * num_sides, size * num_sides)
    patches = patchify(images, size)

    assert patches.shape == (2, num_sides**2, num_channels * size**2)
    assert torch.equal(patches[:, 0], images[:, :, :size, :size].flatten(1))
    assert torch.equal(unpatchify(patches, num_channels), images)


def test_patches_must_cover_the_image():
    """A side that is no multiple is refused with both numbers."""
    with pytest.raises(UsageError) as caught:
        DiT(DiTConfig(patch_size=3), image_size=8, num_channels=1, num_classes=2)

    assert caught.value.lines() == ["config-range: model.patch_size=3: must divide the side of the images, 8"]


def test_convolution_matches_the_recurrence():
    """The FFT gives what x' = exp(dt·A)·x + B̄·u, y = 2·Re(C·x) + D·u give, up to 1e-4."""
    torch.manual_seed(0)
    layer, inputs = S4D(5, 8), torch.randn(2, 40, 5)
    step, matrix = layer.log_step.exp()[:, None], torch.complex(-layer.log_decay.exp(), layer.frequency)
    held = ((step * matrix).exp() - 1) / matrix  # zero-order hold of B = 1
    state, outputs = torch.zeros(2, 5, 4, dtype=torch.complex64), []
    for value in inputs.unbind(1):
        state = (step * matrix).exp() * state + held * value[..., None]
        outputs.append(2 * (torch.view_as_complex(layer.readout) * state).sum(-1).real + layer.skip * value)

    torch.testing.assert_close(layer(inputs), torch.stack(outputs, 1), rtol=0, atol=1e-4)


def test_state_space_does_not_look_ahead():
    """A later value changes no earlier output beyond the rounding of the FFT, and does change its own."""
    torch.manual_seed(0)
    layer, inputs = S4D(3, 4), torch.randn(1, 20, 3)
    changed = torch.cat((inputs[:, :12], inputs[:, 12:] + 1), dim=1)
    before, after = layer(inputs), layer(changed)

    torch.testing.assert_close(before[:, :12], after[:, :12], rtol=0, atol=1e-5)
    assert (before[:, 12] - after[:, 12]).abs().min() > 1e-2


def test_state_space_stays_in_float32_under_autocast():
    """The same bits with and without bfloat16 around it."""
    layer, inputs = S4D(3, 4), torch.randn(1, 20, 3)
    expected = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(inputs), expected)
        assert layer(inputs.bfloat16()).dtype == torch.bfloat16


def test_state_space_matrix_and_step_do_not_decay():
    """What the module names is kept from weight decay and from Muon, though it is two-dimensional."""
    model = build("sssd")
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    decayed, kept = ({names[id(each)] for each in part} for part in split_parameters(model))
    muon, _ = OPTIMIZERS.load("muon")(GROUPS["optimizer"]["muon"](), model).optimizers
    chosen = {names[id(each)] for group in muon.param_groups for each in group["params"]}

    special = {key for key in names.values() if key.endswith(("log_step", "log_decay", "frequency"))}
    assert len(special) == 2 * 2 * 2 * 3 and special <= kept
    assert {key for key in decayed if "ahead" in key or "back" in key} == {
        f"blocks.{block}.{layer}.{way}.readout"
        for block in (0, 1)
        for layer in ("first", "second")
        for way in ("ahead", "back")
    }
    assert chosen and chosen <= decayed and "head.weight" not in chosen


def test_hidden_values_do_not_reach_the_network():
    """The prediction depends neither on the values that are not observed nor on noise where they are."""
    model, batch = unsettle(build("sssd")), draw_batch("sssd")
    noised, timesteps = torch.randn(batch.values.shape), torch.full((6,), 9)
    before = model(noised, timesteps, *batch)
    hidden_changed = torch.where(batch.observed, batch.values, torch.nan)
    noise_changed = torch.where(batch.observed, torch.nan, noised)

    assert torch.equal(model(noised, timesteps, hidden_changed, batch.observed), before)
    assert torch.equal(model(noise_changed, timesteps, *batch), before)


def test_loss_of_a_series_counts_hidden_values_only():
    """The loss is the mean over them, and no gradient comes from a prediction for an observed value."""
    model, batch = unsettle(build("sssd")), draw_batch("sssd")
    predicted = []
    model.head.register_forward_hook(lambda *args: (args[2].retain_grad(), predicted.append(args[2]))[1])
    loss = model.validation_step(batch, 0)
    loss.backward()
    _, _, noise = model.add_noise(batch.values, torch.Generator().manual_seed(0))
    hidden = ~batch.observed

    torch.testing.assert_close(loss, (predicted[0] - noise)[hidden].square().mean())
    assert not predicted[0].grad[batch.observed].any() and predicted[0].grad[hidden].all()


def test_loss_of_a_series_without_a_gap_is_zero():
    """Nothing to predict: no items, a loss of 0 and no nan in the gradients."""
    model, batch = unsettle(build("sssd")), draw_batch("sssd")
    batch = batch._replace(observed=torch.ones_like(batch.observed))
    loss = model.training_step(batch, 0)
    loss.backward()

    assert (model.count_items(batch), loss.item()) == (0, 0.0)
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_items_are_images_and_hidden_values():
    """What a batch's loss is the mean of."""
    assert build("dit").count_items(draw_batch("dit")) == 6
    assert build("sssd").count_items(draw_batch("sssd")) == 6 * 4 * 2


@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_validation_repeats_and_leaves_the_global_generator_alone(name):
    """The same batch number gives the same bits in any mode; another number another loss."""
    model, batch = unsettle(build(name)), draw_batch(name)
    state = torch.get_rng_state()
    losses = [model.train(mode).validation_step(batch, 4).item() for mode in (True, False)]

    assert losses[0] == losses[1] != model.validation_step(batch, 5).item()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_training_draws_from_the_global_generator(name):
    """The same seed gives the same loss, the next draw another one."""
    model, batch = unsettle(build(name)), draw_batch(name)
    losses = []
    for seed in (1, 1, None):
        if seed:
            torch.manual_seed(seed)
        losses.append(model.training_step(batch, 0).item())

    assert losses[0] == losses[1] != losses[2]


def test_labels_are_dropped_in_training_alone():
    """With a share near 1 the network is told nothing; in validation it is told the label."""
    model, batch, seen = build("dit"), draw_batch("dit"), []
    model.label_dropout = 1.0
    model.label.register_forward_hook(lambda *args: seen.append(args[1][0].tolist()))
    model.training_step(batch, 0)
    model.validation_step(batch, 0)

    assert seen == [[4] * 6, batch.labels.tolist()]


def test_images_are_drawn_from_the_generator_alone():
    """The same generator gives the same images, within [-1, 1]; a guidance of 1 is none, one of 3 some."""
    model, labels = unsettle(build("dit")), torch.tensor([0, 3])

    def sample(seed, **options):
        return model.sample(labels, 5, torch.Generator().manual_seed(seed), **options)

    images = sample(1)
    assert images.shape == (2, 3, 8, 8) and images.abs().max() <= 1
    assert torch.equal(images, sample(1)) and torch.equal(images, sample(1, guidance=1.0))
    assert not torch.equal(images, sample(2)) and not torch.equal(images, sample(1, guidance=3.0))


def test_samples_keep_what_is_observed():
    """Observed values come back bit by bit, the gap is filled, and unknown values may be nan."""
    model, batch = unsettle(build("sssd")), draw_batch("sssd")
    values = torch.where(batch.observed, batch.values, torch.nan)
    results = [
        model.sample(values, batch.observed, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]

    assert torch.equal(results[0][batch.observed], batch.values[batch.observed])
    assert results[0].isfinite().all()
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_training_lowers_the_loss(name):
    """Forty steps on one batch take the loss of fixed noise below 0.75 of the first one."""
    model, batch = build(name), draw_batch(name)
    before = model.validation_step(batch, 0).item()
    train(model, batch, build_adamw(AdamWConfig(learning_rate=5e-3), model), 40)

    assert model.validation_step(batch, 0).item() < 0.75 * before


@pytest.mark.parametrize("optimizer", OPTIMIZERS.entries)
@pytest.mark.parametrize("name", ["dit", "sssd"])
def test_every_optimizer_makes_finite_steps(name, optimizer):
    """Its default settings, ten steps from the zero output: all is finite, and the prediction is not zero."""
    if optimizer in {"shampoo", "soap"}:
        pytest.importorskip("pytorch_optimizer")
    model, batch = build(name), draw_batch(name)
    before = model.validation_step(batch, 0).item()
    train(model, batch, OPTIMIZERS.load(optimizer)(GROUPS["optimizer"][optimizer](), model), 10)

    assert all(parameter.isfinite().all() for parameter in model.parameters())
    after = model.validation_step(batch, 0).item()
    assert math.isfinite(after) and after != before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            DiTConfig(model_dim=36, num_heads=8),
            "model.model_dim=36: must be a multiple of 4 (a sine and a cosine of two axes) "
            "and of model.num_heads=8",
        ),
        (SSSDConfig(state_dim=3), "model.state_dim=3: must be even (states come in pairs)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(model, message):
    """Each contradiction names the values and the rule; the defaults have none."""
    data = GROUPS["data"][DATA_OF[model.name][0]]()
    assert validate(TrainConfig(model=model, data=data)) == [("config-range", message)]
    assert validate(TrainConfig(model=type(model)(), data=data)) == []


def test_registry_gives_the_models():
    """The names of the configuration lead here."""
    assert (MODELS.load("dit"), MODELS.load("sssd")) == (DiT, SSSD)
