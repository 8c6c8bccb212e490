"""Models and their optimizer."""

import pytest
import torch
from torch.nn import functional as F

from trainkit.core.config import AdamWConfig, LSTMConfig, TransformerConfig
from trainkit.core.models import LSTM, CausalAttention, Transformer, rotate
from trainkit.core.optim import build_adamw, split_parameters


def build(name):
    """Give a small model in evaluation mode; vocabulary 11."""
    torch.manual_seed(3)
    if name == "lstm":
        return LSTM(LSTMConfig(embedding_dim=4, hidden_dim=6), vocab_size=11).eval()
    return Transformer(TransformerConfig(num_layers=2, num_heads=2, model_dim=8), vocab_size=11).eval()


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_logits_shape(name):
    """(batch, time) gives (batch, time, vocab)."""
    logits = build(name)(torch.zeros(3, 5, dtype=torch.int64))

    assert logits.shape == (3, 5, 11)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_no_look_ahead(name):
    """A later token changes no earlier logit, and does change its own."""
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    changed = torch.tensor([[1, 2, 3, 9, 9]])
    before, after = build(name)(tokens), build(name)(changed)

    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_order_of_tokens_matters():
    """Rotary positions tell apart what attention alone cannot."""
    one = build("transformer")(torch.tensor([[1, 2, 3]]))
    two = build("transformer")(torch.tensor([[2, 1, 3]]))

    assert not torch.allclose(one[:, -1], two[:, -1])


def test_rotation_depends_on_distance_alone():
    """The product of two rotated vectors is the same when both positions move."""
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    turned_query, turned_key = rotate(query.expand(6, 8)), rotate(key.expand(6, 8))

    torch.testing.assert_close(turned_query[3] @ turned_key[1], turned_query[5] @ turned_key[3])
    assert not torch.allclose(turned_query[3] @ turned_key[1], turned_query[3] @ turned_key[2])


def test_attention_matches_softmax_by_hand():
    """Attention is softmax(q·k/√d + causal mask)·v, heads side by side."""
    torch.manual_seed(0)
    attention = CausalAttention(TransformerConfig(num_heads=2, model_dim=8, dropout=0.5)).eval()
    hidden = torch.randn(2, 5, 8)
    query, key, value = (
        part.view(2, 5, 2, 4).transpose(1, 2) for part in attention.qkv(hidden).split(8, dim=-1)
    )
    scores = rotate(query) @ rotate(key).transpose(-1, -2) / 2.0
    masked = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    expected = attention.output((masked.softmax(-1) @ value).transpose(1, 2).reshape(2, 5, 8))

    torch.testing.assert_close(attention(hidden), expected)


def test_dropout_is_off_in_evaluation_only():
    """Two training passes differ, two evaluation passes are equal."""
    model, tokens = build("transformer"), torch.arange(5)[None]

    assert torch.equal(model(tokens), model(tokens))
    assert not torch.equal(model.train()(tokens), model(tokens))


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_matrices_decay_and_nothing_else(name):
    """Weight decay is on matrices, not on embeddings, norms and biases, and no parameter is lost."""
    model = build(name)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    decayed, kept = ({names[id(each)] for each in part} for part in split_parameters(model))

    assert decayed | kept == set(names.values())
    assert "head.weight" in decayed
    assert all(key == "embedding.weight" or "bias" in key or "norm" in key for key in kept)
    assert not [key for key in decayed if "embedding" in key or "bias" in key or "norm" in key]


def test_adamw_takes_its_settings():
    """Every field of the configuration arrives in the optimizer's groups."""
    config = AdamWConfig(learning_rate=0.5, beta1=0.1, beta2=0.2, eps=0.3, weight_decay=0.4, fused=True)
    groups = build_adamw(config, build("lstm")).param_groups

    assert [group["weight_decay"] for group in groups] == [0.4, 0.0]
    assert {(group["lr"], group["betas"], group["eps"], group["fused"]) for group in groups} == {
        (0.5, (0.1, 0.2), 0.3, True)
    }


def test_adamw_matches_its_formula():
    """One step is lr * (sign-like update) plus decoupled decay, as in Loshchilov & Hutter."""
    model = torch.nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_adamw(AdamWConfig(learning_rate=0.1, weight_decay=0.5, eps=1e-12), model)
    F.mse_loss(model(torch.ones(1, 2)), torch.full((1, 1), 9.0)).backward()
    optimizer.step()

    torch.testing.assert_close(model.weight.detach(), before * (1 - 0.1 * 0.5) + 0.1)
