"""The loss in a plain PyTorch loop: python examples/swap_into_pytorch_loop.py

A small convolutional network learns from scikit-learn's handwritten digits without their labels; every few steps
both terms of the loss are printed, which cost no second pass.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from bt_kernels import BarlowTwinsLoss


def network(width: int) -> nn.Module:
    """Backbone and projector: (N, 1, 8, 8) -> (N, width)."""
    backbone = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()]
    projector = [nn.Linear(32 * 64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*backbone, *projector)


def view(images: Tensor) -> Tensor:
    """Each image turned, scaled and shifted by an amount of its own."""
    angle, scale = 0.25 * torch.randn(len(images)), 1 + 0.1 * torch.randn(len(images))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    affine = torch.cat([turn * scale.view(-1, 1, 1), 0.1 * torch.randn(len(images), 2, 1)], dim=2)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def main() -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128, help="N")
    parser.add_argument("--width", type=int, default=512, help="D")
    options = parser.parse_args()
    torch.manual_seed(0)

    images = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16  # (1797, 1, 8, 8)
    model = network(options.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = BarlowTwinsLoss(lambd=0.0051)

    losses = []
    for step in range(options.steps):
        batch = images[torch.randint(len(images), (options.batch,))]
        loss, on_diagonal, off_diagonal = criterion.terms(model(view(batch)), model(view(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 5 == 0:
            print(
                f"step {step:3d}  loss {loss:8.2f}  invariance {on_diagonal:7.2f}  redundancy {off_diagonal:9.1f}"
            )
    return losses


if __name__ == "__main__":
    main()
