"""A loss's options as attributes of its module: what can be set, and the word on what cannot."""

import difflib
from dataclasses import replace
from typing import Any, NoReturn

from bt_kernels.distributed.options import check_together
from bt_kernels.options import LossOptions

# So begins what libraries set on every module of a model: torch.ao.quantization's qconfig, DeepSpeed's ds_id.
OTHERS_NAMES = ("_", "qconfig", "ds_")


class Option:
    """An option of a BarlowTwinsLoss as its attribute. A value that is set, by a schedule for example, is checked.

    A preset has an option by its project's name, too: lambda_param = Option("lambd").
    """

    def __init__(self, option: str = "") -> None:
        self.option = option

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.option = self.option or name
        self.group = "_options" if hasattr(LossOptions, self.option) else "_distributed"

    def __get__(self, module: Any, owner: type) -> Any:
        return self if module is None else getattr(getattr(module, self.group), self.option)

    def __set__(self, module: Any, value: Any) -> None:
        if not hasattr(module, self.group):
            raise AttributeError(f"{self.name} is an option: call super().__init__() before it is set")
        try:
            changed = replace(getattr(module, self.group), **{self.option: value})
        except (TypeError, ValueError) as error:  # by the name that was written
            raise type(error)(str(error).replace(self.option, self.name, 1)) from None
        groups = {"_options": module._options, "_distributed": module._distributed, self.group: changed}
        check_together(*groups.values())
        setattr(module, self.group, changed)

    def __delete__(self, module: Any) -> NoReturn:
        raise AttributeError(f"{self.name} is an option of {type(module).__name__}: it can be set, not deleted")


def written_names(owner: type) -> dict[str, str]:
    """The attribute of each option of a BarlowTwinsLoss: in a preset, its project's."""
    options = (o for c in reversed(owner.__mro__) for o in vars(c).values() if isinstance(o, Option))
    return {o.option: o.name for o in options}


def no_option(owner: type, name: str) -> str:
    """The sentence for an attribute that is set and is no option."""
    options = list(written_names(owner).values())
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.58)  # of lambda_param and lambd: 0.588
    meant = f": did you mean {near[0]!r}?" if near else "."
    return f"{owner.__name__} has no option {name!r}{meant} Its options are {', '.join(options)}"


def refuse_hidden(owner: type) -> None:
    """Raises TypeError for a class that has something else by an option's name, which the loss would not read."""
    names = [name for c in owner.__mro__ for name, value in vars(c).items() if isinstance(value, Option)]
    for name in names:
        if not isinstance(getattr(owner, name), Option):
            raise TypeError(
                f"{owner.__name__}.{name} hides an option of the Barlow Twins loss: pass it to super().__init__() "
                f"instead, or set self.{name} after that"
            )
