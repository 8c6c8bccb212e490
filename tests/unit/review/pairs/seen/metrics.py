# === base
import numpy as np


def summarise(logits, labels, num_classes, names):
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    for truth, guess in zip(labels, predicted):
        confusion[truth, guess] += 1
    rows = []
    for index in range(num_classes):
        hits = confusion[index, index]
        precision = hits / max(confusion[:, index].sum(), 1)
        recall = hits / max(confusion[index].sum(), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        rows.append({"name": names[index], "precision": precision, "recall": recall, "f1": f1})
    return rows
# === copy: comprehension, renamed
import numpy as np


def per_class_scores(scores, targets, k, classes):
    guesses = scores.argmax(axis=1)
    table = np.zeros((k, k), dtype=np.int64)
    for t, g in zip(targets, guesses):
        table[t, g] += 1
    precision = [table[c, c] / max(table[:, c].sum(), 1) for c in range(k)]
    recall = [table[c, c] / max(table[c].sum(), 1) for c in range(k)]
    f1 = [2 * p * r / max(p + r, 1e-12) for p, r in zip(precision, recall)]
    return [
        {"name": classes[c], "precision": precision[c], "recall": recall[c], "f1": f1[c]} for c in range(k)
    ]
# === copy: async, docstring
import numpy as np


async def summarise(queue, labels, num_classes, names):
    """Say how each class does, once the logits are there."""
    logits = await queue.get()
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    for truth, guess in zip(labels, predicted):
        confusion[truth, guess] += 1
    rows = []
    for index in range(num_classes):
        hits = confusion[index, index]
        precision = hits / max(confusion[:, index].sum(), 1)
        recall = hits / max(confusion[index].sum(), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        rows.append({"name": names[index], "precision": precision, "recall": recall, "f1": f1})
    return rows
# === other: calibration
import numpy as np


def calibration(probabilities, labels, num_bins=15):
    confidence = probabilities.max(axis=1)
    predicted = probabilities.argmax(axis=1)
    edges = np.linspace(0, 1, num_bins + 1)
    error = 0.0
    rows = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs((predicted[inside] == labels[inside]).mean() - confidence[inside].mean())
            error += gap * inside.mean()
            rows.append({"low": low, "high": high, "gap": gap})
    return error, rows
# === other: nearest neighbours
import numpy as np


def recall_at_k(queries, gallery, labels, truth, ks):
    similarity = queries @ gallery.T
    order = np.argsort(-similarity, axis=1)
    rows = []
    for k in ks:
        found = 0
        for index in range(len(queries)):
            found += int(truth[index] in labels[order[index, :k]])
        rows.append({"k": k, "recall": found / len(queries)})
    return rows
