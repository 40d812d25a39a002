"""A ResNet-18 with its names and a few numbers a tensor, whose files are read in no time."""

import torch
from torch import nn

from bt_kernels.trainer.config.parts import BackboneOptions
from bt_kernels.trainer.model.backbone import build_backbone

SIDE = 2


def small_backbone(seed):
    """The backbone, without its classifier, with random numbers everywhere, its counts included."""
    backbone, _ = build_backbone(BackboneOptions(backbone="resnet18", shortcuts="strided"), 32)
    generator = torch.Generator().manual_seed(seed)
    for module in backbone.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            values = torch.randn(tensor[(slice(SIDE),) * tensor.ndim].shape, generator=generator)
            kind = nn.Parameter if isinstance(tensor, nn.Parameter) else lambda values: values
            setattr(module, name, kind(values if tensor.is_floating_point() else (100 * values).to(tensor.dtype)))
    return backbone


def state_of(backbone):
    return {name: tensor.detach() for name, tensor in backbone.state_dict().items()}


def same(weights, others):
    """Whether names, dtypes and all bits are the same."""
    return weights.keys() == others.keys() and all(
        tensor.dtype == others[name].dtype and torch.equal(tensor, others[name])
        for name, tensor in weights.items()
    )


def behind(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}
