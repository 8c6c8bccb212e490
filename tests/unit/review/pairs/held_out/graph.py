# === base
import torch
import torch.nn.functional as F


@torch.no_grad()
def evaluate(model, data, split_idx, evaluator):
    model.eval()
    out = model(data.x, data.adj_t)
    predicted = out.argmax(dim=-1, keepdim=True)
    results = {}
    for split in ("train", "valid", "test"):
        index = split_idx[split]
        results[split] = evaluator.eval({"y_true": data.y[index], "y_pred": predicted[index]})["acc"]
    return results
# === copy: comprehension, renamed
import torch


@torch.no_grad()
def test(net, graph, splits, judge):
    net.eval()
    scores = net(graph.x, graph.adj_t)
    guess = scores.argmax(dim=-1, keepdim=True)
    return {
        part: judge.eval({"y_true": graph.y[splits[part]], "y_pred": guess[splits[part]]})["acc"]
        for part in ("train", "valid", "test")
    }
# === copy: statements, written out
import torch


@torch.no_grad()
def test(model, data, split_idx, evaluator):
    model.eval()
    out = model(data.x, data.adj_t)
    predicted = out.argmax(dim=-1, keepdim=True)
    train_acc = evaluator.eval({"y_true": data.y[split_idx["train"]], "y_pred": predicted[split_idx["train"]]})["acc"]
    valid_acc = evaluator.eval({"y_true": data.y[split_idx["valid"]], "y_pred": predicted[split_idx["valid"]]})["acc"]
    test_acc = evaluator.eval({"y_true": data.y[split_idx["test"]], "y_pred": predicted[split_idx["test"]]})["acc"]
    return train_acc, valid_acc, test_acc
# === copy: positional arguments
import torch


@torch.no_grad()
def evaluate(model, data, split_idx, evaluator):
    model.eval()
    out = model(data.x, data.adj_t)
    predicted = out.argmax(-1, True)
    results = {}
    for split in ["train", "valid", "test"]:
        index = split_idx[split]
        score = evaluator.eval({"y_true": data.y[index], "y_pred": predicted[index]})
        results[split] = score["acc"]
    return results
# === other: training on nodes
import torch.nn.functional as F


def train(model, data, train_idx, optimizer):
    model.train()
    optimizer.zero_grad()
    out = model(data.x, data.adj_t)[train_idx]
    loss = F.nll_loss(out, data.y.squeeze(1)[train_idx])
    loss.backward()
    optimizer.step()
    return loss.item()
# === other: splitting edges
import torch


def split_edges(edge_index, num_nodes, generator, valid=0.05, test=0.1):
    row, col = edge_index
    upper = row < col
    row, col = row[upper], col[upper]
    order = torch.randperm(row.size(0), generator=generator)
    num_valid, num_test = int(valid * row.size(0)), int(test * row.size(0))
    results = {}
    for name, start, stop in (("valid", 0, num_valid), ("test", num_valid, num_valid + num_test)):
        index = order[start:stop]
        results[name] = torch.stack([row[index], col[index]])
    return results
