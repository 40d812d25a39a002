"""How the loss is spread over processes: one frozen dataclass, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.distributed as dist

GROUPS = ("world", "auto")
GRADIENTS = ("whole", "divided")
STATISTICS = ("global", "local")


@dataclass(frozen=True)
class DistributedOptions:
    """See barlow_twins_loss. Raises TypeError for a value of the wrong type, ValueError for an unknown one."""

    process_group: dist.ProcessGroup | str | None = None
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
        if group is not None and not isinstance(group, str):
            if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
                raise TypeError(
                    f"process_group must be {kinds}, got {type(group).__name__}"
                    + (": this process is not in it" if group == -100 else "")
                )

    def at_this_call(self) -> DistributedOptions:
        """With "auto" resolved: the default group if torch.distributed is initialized, else this process alone."""
        if self.process_group != "auto":
            return self
        return replace(self, process_group="world" if dist.is_available() and dist.is_initialized() else None)

    def changed(self) -> dict[str, str]:
        """What differs from the defaults, as it is shown."""
        group = self.process_group
        shown = {}
        if group is not None:
            shown["process_group"] = repr(group) if isinstance(group, str) else f"{group.size()} ranks"
        for name in ("gradient", "statistics"):
            if getattr(self, name) != getattr(DistributedOptions, name):
                shown[name] = repr(getattr(self, name))
        return shown

    def __deepcopy__(self, memo: dict) -> DistributedOptions:
        return self  # a process group is this process's membership: there is no copy of it
