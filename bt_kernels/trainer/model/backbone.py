"""The backbone: a classification model of torchvision or timm, by its name, without its classifier."""

from __future__ import annotations

import difflib
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bt_kernels.trainer.config.parts import BackboneOptions
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.resnet import adapt_resnet
from bt_kernels.trainer.torchvision_import import import_torchvision

TIMM = "timm:"  # before a name that torchvision has, too
CLASSES = 1000  # of the classifiers that torchvision's models are made with
RESNETS = "torchvision.models.resnet"


def build_backbone(options: BackboneOptions, image_size: int) -> tuple[nn.Module, int]:
    """Return the untrained backbone, (N, 3, S, S) to (N, F) pooled features, and F.

    The last normalisation of every residual block of a ResNet begins with a weight of 0. A torchvision model's
    state_dict has the names and shapes of torchvision's own without the classifier, except ``conv1.weight`` with
    the small stem. The stem and the pooled shortcuts are no part of it: rebuild the backbone by this function to
    get the same features from the same weights.

    Args:
        options: The model's name, with "timm:" before it for timm's where torchvision has one of that name; its
            stem and shortcuts.
        image_size: Side of the images, S.

    Raises:
        TrainerError: there is no such model, timm is not installed, the stem or the shortcuts need a ResNet, or
            the model does not take images of this size or does not give one vector for each.
    """
    name, models = options.backbone, import_torchvision().models
    of_torchvision = models.list_models(module=models)  # those for classification
    timm = None if name in of_torchvision else _timm_with(name, of_torchvision)
    is_resnet = timm is None and models.get_model_builder(name).__module__ == RESNETS
    if not is_resnet:
        _refuse_resnet_options(options)
    try:
        if timm is None:
            backbone = _torchvision_model(models, name, image_size, is_resnet)
        else:
            backbone = _timm_model(timm, name.removeprefix(TIMM), image_size)
        if is_resnet:
            adapt_resnet(backbone, options, image_size)
        return backbone, _feature_width(backbone, name, image_size)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".!")
        raise TrainerError(
            f"--backbone {name} does not take images of --image-size {image_size} ({reason}); use another size"
        ) from error


def _refuse_resnet_options(options: BackboneOptions) -> None:
    for flag, value, instead in (
        ("--stem", options.stem, "imagenet"),
        ("--shortcuts", options.shortcuts, "strided"),
    ):
        if value != instead:
            raise TrainerError(
                f"{flag} {value} is for torchvision's ResNets, and --backbone {options.backbone} is none; "
                f"use {flag} {instead}"
            )


def _torchvision_model(models: ModuleType, name: str, image_size: int, is_resnet: bool) -> nn.Module:
    arguments: dict[str, object] = {}
    if is_resnet:
        arguments["zero_init_residual"] = True
    elif name.startswith("vit_"):
        arguments["image_size"] = image_size
    elif name.startswith("maxvit"):
        arguments["input_size"] = (image_size, image_size)
    elif name in ("googlenet", "inception_v3"):
        arguments.update(aux_logits=False, init_weights=True)
    backbone = models.get_model(name, weights=None, **arguments)
    classifier, _ = [
        (path, module)
        for path, module in backbone.named_modules()
        if CLASSES
        in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))  # SqueezeNet's is 1×1
    ][-1]
    backbone.set_submodule(classifier, nn.Identity())
    return backbone


def _timm_model(timm: ModuleType, name: str, image_size: int) -> nn.Module:
    defaults = timm.get_pretrained_cfg(name)
    fixed = defaults is not None and defaults.fixed_input_size
    return timm.create_model(name, num_classes=0, **({"img_size": image_size} if fixed else {}))


def _timm_with(name: str, of_torchvision: list[str]) -> ModuleType:
    """Return timm, which has a model of this name."""
    own_name = name.removeprefix(TIMM)
    try:
        import timm
    except ImportError:
        raise TrainerError(
            f"--backbone {name} is no classification model of torchvision{_similar(own_name, of_torchvision)}, "
            "and timm, which has more, is not installed; pip install timm"
        ) from None
    if not timm.is_model(own_name):
        similar = _similar(own_name, [*of_torchvision, *timm.list_models()])
        raise TrainerError(
            f"--backbone {name} is no classification model of torchvision and none of timm{similar}; "
            "timm.list_models() names them all"
        )
    return timm


def _similar(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, sorted(set(known)), n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _feature_width(backbone: nn.Module, name: str, image_size: int) -> int:
    """Return F, from a forward in training mode, where some models return more, that computes shapes alone."""
    tensors = {key: tensor.to("meta") for key, tensor in (*backbone.named_parameters(), *backbone.named_buffers())}
    images = torch.empty(2, 3, image_size, image_size, device="meta")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = functional_call(backbone.train(), tensors, (images,))
    if not isinstance(output, Tensor) or output.ndim != 2:
        given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise TrainerError(
            f"--backbone {name} gives {given} for two images and not a vector of features for each; use another "
            "model"
        )
    return output.shape[1]
