# === base
import torch
from torchvision.utils import make_grid, save_image


def gradient_penalty(critic, real, fake, device, weight=10.0):
    alpha = torch.rand(real.size(0), 1, 1, 1, device=device)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    scores = critic(mixed)
    gradients = torch.autograd.grad(
        outputs=scores,
        inputs=mixed,
        grad_outputs=torch.ones_like(scores),
        create_graph=True,
        retain_graph=True,
    )[0]
    norms = gradients.flatten(1).norm(2, dim=1)
    return weight * ((norms - 1) ** 2).mean()
# === copy: keywords, renamed, literals
import torch


def penalty(D, x_real, x_fake, dev, lambda_gp=5.0):
    eps = torch.rand(x_real.size(0), 1, 1, 1, device=dev)
    x_hat = (eps * x_real + (1 - eps) * x_fake).requires_grad_(True)
    d_hat = D(x_hat)
    g = torch.autograd.grad(
        inputs=x_hat,
        outputs=d_hat,
        create_graph=True,
        retain_graph=True,
        grad_outputs=torch.ones_like(d_hat),
    )[0]
    n = g.flatten(1).norm(2, dim=1)
    return lambda_gp * ((n - 1) ** 2).mean()
# === copy: temporaries, docstring, hints
import torch
from torch import Tensor, nn


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, device: str, weight: float = 10.0) -> Tensor:
    """The penalty of WGAN-GP."""
    alpha = torch.rand(real.size(0), 1, 1, 1, device=device)
    mixed = alpha * real + (1 - alpha) * fake
    mixed = mixed.requires_grad_(True)
    scores = critic(mixed)
    ones = torch.ones_like(scores)
    found = torch.autograd.grad(
        outputs=scores, inputs=mixed, grad_outputs=ones, create_graph=True, retain_graph=True
    )
    gradients = found[0].flatten(1)
    norms = gradients.norm(2, dim=1)
    excess = (norms - 1) ** 2
    return weight * excess.mean()
# === copy: method, statement
import torch


class WGAN:
    def penalty(self, real, fake):
        with torch.enable_grad():
            alpha = torch.rand(real.size(0), 1, 1, 1, device=self.device)
            mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
            scores = self.critic(mixed)
            gradients = torch.autograd.grad(
                outputs=scores,
                inputs=mixed,
                grad_outputs=torch.ones_like(scores),
                create_graph=True,
                retain_graph=True,
            )[0]
        norms = gradients.flatten(1).norm(2, dim=1)
        result = self.weight * ((norms - 1) ** 2).mean()
        self.log("penalty", result)
        return result
# === other: mixup
import torch


def mixup(images, labels, num_classes, device, alpha=0.2):
    weight = torch.distributions.Beta(alpha, alpha).sample((images.size(0), 1, 1, 1)).to(device)
    order = torch.randperm(images.size(0), device=device)
    mixed = weight * images + (1 - weight) * images[order]
    one_hot = torch.nn.functional.one_hot(labels, num_classes).float()
    flat = weight.flatten(1)
    targets = flat * one_hot + (1 - flat) * one_hot[order]
    return mixed, targets
# === other: sampling images
import torch
from torchvision.utils import make_grid, save_image


def sample(generator, path, device, count=64, z_dim=100):
    generator.eval()
    noise = torch.randn(count, z_dim, 1, 1, device=device)
    with torch.no_grad():
        fake = generator(noise).cpu()
    grid = make_grid(fake, nrow=8, normalize=True)
    save_image(grid, path)
    generator.train()
    return grid
