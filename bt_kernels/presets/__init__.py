"""The losses of other projects by their own names and defaults: one line is exchanged, the numbers stay.

    from bt_kernels.presets.lightly import BarlowTwinsLoss    # was: from lightly.loss import BarlowTwinsLoss

There is a module for each project. It is named after the package that the project is imported as; `official` is
the authors' code. Each has the project's BarlowTwinsLoss: a class that is a bt_kernels.BarlowTwinsLoss too, takes
the two views by the project's names for them and has the project's options as attributes. solo-learn's loss is a
function, barlow_loss_func. The loss and, where the same gradient arrives on all ranks, its gradient are the
project's, up to rounding.

                         y of whose rows   eps                             gradient after DDP's averaging
    official             all ranks'        1e-5, to the variance           1/W of the joined batch's
    lightly              each rank's own   1e-5, to the variance           whole, if gather_distributed
    solo                 each rank's own   1e-5, to the variance           1/W
    stable_pretraining   each rank's own   1e-5, to the unbiased std       whole
    monai                each rank's own   1e-6, to the unbiased std       nothing is exchanged
    catalyst             each rank's own   1e-12, to the unbiased variance nothing is exchanged

official, solo, stable_pretraining and lightly with gather_distributed take the default group if torch.distributed
is initialized at the time of the call, as these projects do; torch.compile then breaks the graph at the loss. All
take the keywords formulation and backend of barlow_twins_loss besides, and raise what it raises.
"""

from bt_kernels.presets import catalyst, lightly, monai, official, solo, stable_pretraining

__all__ = ["catalyst", "lightly", "monai", "official", "solo", "stable_pretraining"]
