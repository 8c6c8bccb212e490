# === base
import cv2
import numpy as np
import torch


def draw_masks(image, masks, labels, scores, names, threshold=0.5):
    canvas = image.copy()
    rng = np.random.default_rng(0)
    for mask, label, score in zip(masks, labels, scores):
        if score < threshold:
            continue
        colour = rng.integers(0, 255, size=3)
        binary = (mask.squeeze(0).cpu().numpy() > 0.5).astype(np.uint8)
        canvas[binary == 1] = canvas[binary == 1] * 0.5 + colour * 0.5
        contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, contours, -1, colour.tolist(), 2)
        x, y = contours[0].min(axis=0)[0]
        cv2.putText(canvas, f"{names[label]} {score:.2f}", (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    return canvas
# === copy: if against continue, renamed
import cv2
import numpy


def overlay(picture, segments, classes, confidences, label_names, minimum=0.7):
    out = picture.copy()
    random = numpy.random.default_rng(0)
    for segment, cls, confidence in zip(segments, classes, confidences):
        if confidence >= minimum:
            paint = random.integers(0, 255, size=3)
            flat = (segment.squeeze(0).cpu().numpy() > 0.5).astype(numpy.uint8)
            out[flat == 1] = out[flat == 1] * 0.5 + paint * 0.5
            lines, _ = cv2.findContours(flat, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(out, lines, -1, paint.tolist(), 2)
            left, top = lines[0].min(axis=0)[0]
            text = "{} {:.2f}".format(label_names[cls], confidence)
            cv2.putText(out, text, (int(left), int(top)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    return out
# === copy: exact
import cv2
import numpy as np


def draw_masks(image, masks, labels, scores, names, threshold=0.5):
    canvas = image.copy()
    rng = np.random.default_rng(0)
    for mask, label, score in zip(masks, labels, scores):
        if score < threshold:
            continue
        colour = rng.integers(0, 255, size=3)
        binary = (mask.squeeze(0).cpu().numpy() > 0.5).astype(np.uint8)
        canvas[binary == 1] = canvas[binary == 1] * 0.5 + colour * 0.5
        contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, contours, -1, colour.tolist(), 2)
        x, y = contours[0].min(axis=0)[0]
        cv2.putText(canvas, f"{names[label]} {score:.2f}", (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    return canvas
# === copy: reordered, statements
import cv2
import numpy as np


def show_masks(image, masks, labels, scores, names, out=None, threshold=0.5):
    rng = np.random.default_rng(0)
    canvas = image.copy()
    count = 0
    for mask, label, score in zip(masks, labels, scores):
        if score < threshold:
            continue
        count += 1
        binary = (mask.squeeze(0).cpu().numpy() > 0.5).astype(np.uint8)
        colour = rng.integers(0, 255, size=3)
        canvas[binary == 1] = canvas[binary == 1] * 0.5 + colour * 0.5
        contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, contours, -1, colour.tolist(), 2)
        x, y = contours[0].min(axis=0)[0]
        cv2.putText(canvas, f"{names[label]} {score:.2f}", (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    if out:
        cv2.imwrite(out, canvas)
    print("drew", count)
    return canvas
# === other: drawing boxes
import cv2


def draw_boxes(image, boxes, labels, scores, names, colours, threshold=0.5):
    canvas = image.copy()
    height, width = canvas.shape[:2]
    for box, label, score in zip(boxes, labels, scores):
        if score < threshold:
            continue
        x1, y1, x2, y2 = (int(v) for v in box)
        x1, x2 = max(x1, 0), min(x2, width - 1)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colours[label], thickness=2)
        (w, h), base = cv2.getTextSize(names[label], cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        cv2.rectangle(canvas, (x1, y1 - h - base), (x1 + w, y1), colours[label], -1)
    return canvas
# === other: a test of the same shape
import numpy as np


def test_draws_nothing_below_the_threshold():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    masks = [np.ones((1, 8, 8)), np.zeros((1, 8, 8))]
    labels, scores = [0, 1], [0.4, 0.2]
    result = render(image, masks, labels, scores, names=["a", "b"])
    assert result.shape == image.shape
    assert np.array_equal(result, image)
