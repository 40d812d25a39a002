"""A folder of your own images, two views of each: python examples/custom_data.py --images FOLDER

FOLDER has image files, in folders of its own or not. Without --images some are drawn, to try it out. The views are
the paper's (Zbontar et al. 2021, appendix A), made by torchvision.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.data.decoding import UnreadableImage, decode
from bt_kernels.trainer.data.folders import find_images, image_endings
from bt_kernels.trainer.torchvision_import import import_torchvision

torchvision = import_torchvision()  # "import torchvision" fails beside some CPU builds of torch
from torchvision.transforms import v2  # noqa: E402


def view(size: int, blur: float, solarize: float) -> v2.Compose:
    jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([jitter], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(size // 20 * 2 + 1, sigma=(0.1, 2.0))], p=blur),
            v2.RandomSolarize(threshold=128, p=solarize),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )


class TwoViews(Dataset):
    """Two views, (3, size, size) each, of every image below a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.names, _, _ = find_images(str(folder))
        if not self.names:
            raise SystemExit(f"{folder} has no image files ({', '.join(image_endings())})")
        self.views = view(size, blur=1.0, solarize=0.0), view(size, blur=0.1, solarize=0.2)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        name = self.names[index]
        try:
            image = decode(str(self.folder / name), name, max_pixels=0)  # RGB, of 16-bit and transparent ones, too
        except UnreadableImage as error:
            raise SystemExit(f"{error.name} cannot be read ({error.reason}); remove it") from None
        return self.views[0](image), self.views[1](image)


def draw_images(folder: Path, count: int = 64) -> None:
    for index in range(count):
        colours = (torch.rand(3, 6, 6) * 255).to(torch.uint8)
        v2.functional.to_pil_image(colours).resize((64, 64), Image.Resampling.BICUBIC).save(
            folder / f"{index}.png"
        )


def train(folder: Path, options: argparse.Namespace) -> list[float]:
    loader = DataLoader(TwoViews(folder, options.size), options.batch, shuffle=True, drop_last=True)
    if not len(loader):
        raise SystemExit(f"--batch {options.batch} is more than the {len(loader.dataset)} images")
    model = torchvision.models.resnet18(num_classes=options.width)
    criterion = BarlowTwinsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(options.epochs):
        for x_a, x_b in loader:
            loss = criterion(model(x_a), model(x_b))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}  loss {losses[-1]:.2f}")
    model.fc = nn.Identity()
    torch.save(model.state_dict(), options.output)
    print(f"wrote {options.output}: the backbone, (N, 3, H, W) -> (N, 512)")
    return losses


def main() -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32, help="N")
    parser.add_argument("--width", type=int, default=256, help="D")
    parser.add_argument("--size", type=int, default=32, help="of the views, in pixels")
    parser.add_argument("--output", type=Path, default=Path("backbone.pth"))
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.images:
        return train(options.images, options)
    with tempfile.TemporaryDirectory() as folder:
        draw_images(Path(folder))
        return train(Path(folder), options)


if __name__ == "__main__":
    main()
