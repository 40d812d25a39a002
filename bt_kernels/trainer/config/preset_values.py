"""Named settings, complete for a task.

``imagenet`` is the recipe of the authors' repository. It differs from the paper in the weight decay (1e-6; the
paper has 1.5e-6) and in the weight of the redundancy term (0.0051; the paper has 0.005). Two things are not the
authors': bfloat16 where they have float16 with a scaled gradient, and batch 2048 on any number of ranks, with
``gradient_divisor`` for what their number of GPUs did to the gradient.

``photographs`` is for some 1,000 to 100,000 images of one's own. It has the recipe's optimizer, loss and
augmentation, and the peak learning rate that the paper found best for a batch of 256, over 300 epochs of ImageNet:
0.4. Not the recipe's are the projector's width, that of lightly's and solo-learn's benchmarks on small data sets;
the epochs, as many as lightly's best on Imagenette's 9,469 images has (few images need many); and a warm-up that
is a share of the run, as it fits any number of steps. These values have not been tuned together.

``cifar`` has the network, loss, batch and optimizer of lightly's CIFAR-10 benchmark
(docs/source/getting_started/benchmarks/cifar10_benchmark.py). Not lightly's are the colours, the paper's, a
learning rate that falls step by step instead of epoch by epoch, and weight decay of weights alone. ``small`` is
the digits' demonstration.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "cifar": {
        "data": "cifar10",
        "data_dir": "data",
        "image_size": 32,
        "workers": 4,
        "blur_probability": (0.0, 0.0),
        "solarize_probability": (0.0, 0.0),
        "backbone": "resnet18",
        "stem": "small",
        "shortcuts": "strided",
        "projector": "2048-2048",
        "lambd": 0.005,
        "epochs": 200,
        "batch_size": 512,
        "optimizer": "sgd",
        "learning_rate": 0.12,
        "learning_rate_biases": 0.12,
        "scale_learning_rates": True,
        "warmup": "0",
        "weight_decay": 5e-4,
        "views": "separately",
    },
    "photographs": {
        "data": "imagefolder",
        "image_size": 224,
        "workers": 8,
        "shortcuts": "strided",
        "projector": "2048-2048-2048",
        "gradient_divisor": 32.0,
        "epochs": 800,
        "batch_size": 256,
        "optimizer": "lars",
        "learning_rate": 0.4,
        "learning_rate_biases": 0.0048,
        "scale_learning_rates": True,
        "warmup": "10%",
        "final_learning_rate": 0.001,
        "weight_decay": 1e-6,
        "views": "separately",
        "precision": "bfloat16",
    },
    "imagenet": {
        "data": "imagefolder",
        "epoch_images": 1281167,  # with shards and synthetic images
        "image_size": 224,
        "workers": 8,
        "shortcuts": "strided",
        "projector": "8192-8192-8192",
        "gradient_divisor": 32.0,
        "epochs": 1000,
        "batch_size": 2048,
        "optimizer": "lars",
        "learning_rate": 0.2,
        "learning_rate_biases": 0.0048,
        "scale_learning_rates": True,
        "warmup": "10",
        "final_learning_rate": 0.001,
        "weight_decay": 1e-6,
        "views": "separately",
        "precision": "bfloat16",
        "checkpoint_every": 1,
        "statistics_every": 100,
    },
}

# What is taken where none is named; of all other data photographs.
PRESET_OF = {"digits": "small", "cifar10": "cifar", "cifar100": "cifar"}

# Of a preset these are the most that a machine is asked for: it may have fewer cores, and no bfloat16.
BY_MACHINE = ("workers", "precision")
