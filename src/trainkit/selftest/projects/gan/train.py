"""Train a GAN on a ring of clusters, stop after two epochs, and resume."""

import torch
import torch.nn.functional as F

from data import batches, ring
from model import build_models, draw_latent

CONFIG = {
    "seed": 11,
    "epochs": 3,
    "batch_size": 32,
    "lr_g": 2e-3,
    "lr_d": 1e-3,
    "betas": (0.5, 0.999),
    "lr_decay": 0.7,
    "real_label": 0.9,
}


def bce(logits, value):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, value))


def train_discriminator(generator, discriminator, optimizer, real, real_label):
    fake = generator(draw_latent(len(real))).detach()
    loss = bce(discriminator(real), real_label) + bce(discriminator(fake), 0.0)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train_generator(generator, discriminator, optimizer, batch_size):
    discriminator.requires_grad_(False)
    fake = generator(draw_latent(batch_size))
    loss = bce(discriminator(fake), 1.0)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    discriminator.requires_grad_(True)
    return loss.item()


@torch.no_grad()
def evaluate(generator, points, seed):
    """Mean distance from a generated point to the nearest real one."""
    generator.eval()
    latent = draw_latent(64, torch.Generator().manual_seed(seed))
    distance = torch.cdist(generator(latent), points).min(dim=1).values.mean()
    generator.train()
    return distance.item()


class Training:
    """The two models, their optimizers and their schedules."""

    def __init__(self, config):
        self.generator, self.discriminator = build_models()
        betas = config["betas"]
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=config["lr_g"], betas=betas)
        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=config["lr_d"], betas=betas)
        self.sched_g = torch.optim.lr_scheduler.ExponentialLR(self.opt_g, gamma=config["lr_decay"])
        self.sched_d = torch.optim.lr_scheduler.ExponentialLR(self.opt_d, gamma=config["lr_decay"])
        self.epoch = 0

    def parts(self):
        names = ("generator", "discriminator", "opt_g", "opt_d", "sched_g", "sched_d")
        return {name: getattr(self, name) for name in names}

    def save(self, path):
        state = {name: part.state_dict() for name, part in self.parts().items()}
        torch.save({**state, "epoch": self.epoch, "rng": torch.get_rng_state()}, path)

    def load(self, path):
        state = torch.load(path)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.epoch = state["epoch"]
        torch.set_rng_state(state["rng"])

    def run_epoch(self, points, config):
        for real in batches(points, config["batch_size"]):
            loss_d = train_discriminator(
                self.generator, self.discriminator, self.opt_d, real, config["real_label"]
            )
            loss_g = train_generator(self.generator, self.discriminator, self.opt_g, len(real))
            print(f"epoch {self.epoch} loss_d {loss_d:.6f} loss_g {loss_g:.6f}")
        self.sched_g.step()
        self.sched_d.step()
        self.epoch += 1


def main():
    torch.set_num_threads(1)
    torch.manual_seed(CONFIG["seed"])
    points, val_points = ring(140, seed=1), ring(64, seed=2)

    training = Training(CONFIG)
    while training.epoch < CONFIG["epochs"] - 1:
        training.run_epoch(points, CONFIG)
        print(f"epoch {training.epoch} distance {evaluate(training.generator, val_points, seed=3):.6f}")
    training.save("gan.pt")

    training = Training(CONFIG)
    training.load("gan.pt")
    while training.epoch < CONFIG["epochs"]:
        training.run_epoch(points, CONFIG)
        print(f"epoch {training.epoch} distance {evaluate(training.generator, val_points, seed=3):.6f}")


if __name__ == "__main__":
    main()
