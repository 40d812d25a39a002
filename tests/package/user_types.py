"""The public names as a user writes them, for mypy in `make lint`; the wrong arguments are what it has to find.

An ignore that is not needed is an error there (warn_unused_ignores), so a wrong argument that is taken shows.
"""

import torch

from bt_kernels import BarlowTwinsLoss, LossTerms, barlow_twins_loss, barlow_twins_terms, cross_correlation
from bt_kernels.presets import lightly, monai
from bt_kernels.presets.solo import barlow_loss_func

z = torch.zeros(4, 8)
loss: torch.Tensor = barlow_twins_loss(z, z, lambd=0.005)
terms: LossTerms = barlow_twins_terms(z_a=z, z_b=z)
terms = BarlowTwinsLoss(0.005).terms(z, z)
c: torch.Tensor = cross_correlation(z, z)
loss = barlow_loss_func(z, z, lamb=0.005)


class Counted(lightly.BarlowTwinsLoss):
    calls: int = 0

    def forward(self, z_a: torch.Tensor, z_b: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(z_a, z_b)


preset: lightly.BarlowTwinsLoss | None = Counted(5e-3, gather_distributed=True)
criterion: BarlowTwinsLoss = preset if isinstance(preset, lightly.BarlowTwinsLoss) else monai.BarlowTwinsLoss()
preset = monai.BarlowTwinsLoss()  # type: ignore[assignment]
lightly.BarlowTwinsLoss(lambd=0.005)  # type: ignore[call-arg]
barlow_twins_loss(z, z, lambd="0.005")  # type: ignore[arg-type]
barlow_twins_loss(z, z, lamda=0.005)  # type: ignore[call-arg]
BarlowTwinsLoss(0.005, 1e-12)  # type: ignore[call-arg]
