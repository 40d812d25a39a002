"""lightly's transform and projection head with this loss: python examples/with_lightly.py    (pip install lightly)

The line with "presets" is all that changes in a script that uses lightly.
"""

import argparse

import torch
from torch import nn

from bt_kernels.presets.lightly import BarlowTwinsLoss  # was: from lightly.loss import BarlowTwinsLoss
from bt_kernels.trainer.torchvision_import import import_torchvision

torchvision = import_torchvision()  # "import torchvision" fails beside some CPU builds of torch
from lightly.models.modules import BarlowTwinsProjectionHead  # noqa: E402
from lightly.transforms.byol_transform import (  # noqa: E402
    BYOLTransform,
    BYOLView1Transform,
    BYOLView2Transform,
)


class BarlowTwins(nn.Module):
    """A backbone and lightly's head: (N, 3, H, W) -> (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = BarlowTwinsProjectionHead(512, width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


def main() -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=64, help="of random ones, for want of a data set")
    parser.add_argument("--size", type=int, default=32, help="of the views, in pixels")
    parser.add_argument("--width", type=int, default=256)
    options = parser.parse_args()
    torch.manual_seed(0)

    transform = BYOLTransform(
        view_1_transform=BYOLView1Transform(input_size=options.size, gaussian_blur=0.0),
        view_2_transform=BYOLView2Transform(input_size=options.size, gaussian_blur=0.0),
    )
    dataset = torchvision.datasets.FakeData(options.images, (3, 40, 40), transform=transform)
    loader = torch.utils.data.DataLoader(dataset, batch_size=options.batch, shuffle=True, drop_last=True)
    model = BarlowTwins(options.width)
    criterion = BarlowTwinsLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)

    losses = []
    for epoch in range(options.epochs):
        for (x0, x1), _ in loader:
            loss = criterion(model(x0), model(x1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch}  loss {losses[-1]:.2f}")
    return losses


if __name__ == "__main__":
    main()
