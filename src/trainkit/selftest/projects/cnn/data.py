"""Small images of four shapes, augmented with NumPy in the loader's workers."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

SIZE = 12
NUM_CLASSES = 4


def draw_shape(label, rng):
    """One image of a bar, a column, a diagonal or a square, with noise."""
    image = np.zeros((SIZE, SIZE), dtype=np.float32)
    at = rng.integers(2, SIZE - 5)
    if label == 0:
        image[at : at + 2, 1:-1] = 1.0
    elif label == 1:
        image[1:-1, at : at + 2] = 1.0
    elif label == 2:
        np.fill_diagonal(image, 1.0)
    else:
        image[at : at + 4, at : at + 4] = 1.0
    return image + rng.normal(0.0, 0.3, image.shape).astype(np.float32)


class Shapes(Dataset):
    def __init__(self, num_images, seed, augment):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, NUM_CLASSES, num_images)
        self.images = np.stack([draw_shape(label, rng) for label in self.labels])
        self.augment = augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        if self.augment:
            image = np.roll(image, np.random.randint(-2, 3, size=2), axis=(0, 1))
            image = image * np.float32(np.random.uniform(0.8, 1.2))
        return torch.from_numpy(image)[None], int(self.labels[index])


def seed_worker(worker_id):
    """Every worker and every epoch has a NumPy stream of its own."""
    np.random.seed(torch.initial_seed() % 2**32)


def train_loader(dataset, batch_size, num_workers, seed):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
        worker_init_fn=seed_worker,
        generator=generator,
        multiprocessing_context="fork" if num_workers else None,
    )


def test_loader(dataset, batch_size):
    return DataLoader(dataset, batch_size=batch_size, generator=torch.Generator())
