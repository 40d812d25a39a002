"""How the loss is spread over processes: one frozen dataclass, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import torch.distributed as dist

from bt_kernels.distributed.default_group import default_group_exists, warn_of_own_rows
from bt_kernels.options import LossOptions

GROUPS = ("world", "auto")
GRADIENTS = ("whole", "divided")
STATISTICS = ("global", "local")


class NotGiven(Enum):
    """What process_group is where the caller has said nothing: as None, but for a warning."""

    NOT_GIVEN = 0

    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


@dataclass(frozen=True)
class DistributedOptions:
    """See barlow_twins_loss. Raises TypeError for a value of the wrong type, ValueError for an unknown one."""

    process_group: dist.ProcessGroup | str | NotGiven | None = NOT_GIVEN
    gradient: str = "whole"
    statistics: str = "global"

    def __post_init__(self) -> None:
        for name, known in (("gradient", GRADIENTS), ("statistics", STATISTICS)):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, got {type(value).__name__}: {value!r}")
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        group = self.process_group
        kinds = '"world", "auto", a torch.distributed.ProcessGroup or None'
        if isinstance(group, str) and group not in GROUPS:
            raise ValueError(f"process_group must be {kinds}; got {group!r}")
        if not self.alone and not isinstance(group, str):
            if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
                raise TypeError(
                    f"process_group must be {kinds}, got {type(group).__name__}"
                    + (": this process is not in it" if group == -100 else "")
                )

    @property
    def alone(self) -> bool:
        """Whether the loss is that of this process's rows, whatever else is running."""
        return self.process_group is None or self.process_group is NOT_GIVEN

    def at_this_call(self) -> DistributedOptions:
        """With "auto" resolved: the default group where there is one, else this process alone.

        Warns where there is one of several ranks and the caller has said nothing about it.
        """
        if self.process_group is NOT_GIVEN and default_group_exists():
            warn_of_own_rows()
        if self.process_group != "auto":
            return self
        return replace(self, process_group="world" if default_group_exists() else None)

    def changed(self) -> dict[str, str]:
        """What differs from the defaults, as it is shown."""
        group = self.process_group
        shown = {}
        if group is not None and group is not NOT_GIVEN:
            shown["process_group"] = repr(group) if isinstance(group, str) else f"{group.size()} ranks"
        for name in ("gradient", "statistics"):
            if getattr(self, name) != getattr(DistributedOptions, name):
                shown[name] = repr(getattr(self, name))
        return shown

    def __deepcopy__(self, memo: dict) -> DistributedOptions:
        return self  # a process group is this process's membership: there is no copy of it


def check_together(options: LossOptions, distributed: DistributedOptions) -> None:
    """Raises ValueError for options that are each good but not both at once."""
    if options.eps_added_to == "std" and distributed.statistics == "global" and not distributed.alone:
        raise ValueError('eps_added_to="std" over a process_group needs statistics="local"')
