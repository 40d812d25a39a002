import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bt_kernels.trainer.data import open_labelled
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.features import extract_features, training_features
from bt_kernels.trainer.evaluate.linear import epoch_order, fit, new_classifier, of_features, of_images
from bt_kernels.trainer.evaluate.options import LinearOptions, SemiSupervisedOptions
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.evaluate.semi_supervised import (
    Classifier,
    build_schedule,
    build_tuning_optimizer,
    fine_tune,
    measure_accuracy,
    readable,
)
from bt_kernels.trainer.precision import Precision
from tests.support.trainer.image_data import photograph_config, write_folder

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    write_folder(root / "train", classes=3, images=3)
    write_folder(root / "val", classes=3, images=2)
    return root


@pytest.fixture
def train(folder):
    return open_labelled(photograph_config(folder), "train")


@pytest.fixture
def backbone():
    """Images to 8 features, with batch norm whose running averages are not those of a new one."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone[1].running_mean.uniform_(-0.1, 0.1)
    backbone[1].running_var.uniform_(0.5, 2)
    return backbone


class Points:
    """Stands for images with labels: rows of numbers, which it hands out as images of a pixel."""

    def __init__(self, rows, labels):
        self.rows, self.labels = rows, labels.numpy()
        self.classes, self.names = int(labels.max()) + 1, None
        self.asked = []

    def batches(self, indices, batch_size, *, augment, epoch=0, leave_out=False):
        self.asked.append((list(indices), augment, epoch))
        for part in torch.as_tensor(np.asarray(indices)).split(batch_size):
            yield self.rows[part, :, None, None], torch.from_numpy(self.labels)[part]


@pytest.fixture
def points(generator):
    """Three classes of points in three dimensions, in float64."""
    labels = torch.arange(17) % 3
    return Points(3 * torch.eye(3).double()[labels] + torch.randn(17, 3, generator=generator).double(), labels)


def test_features_are_those_of_the_frozen_backbone(backbone, train):
    before = copy.deepcopy(backbone.state_dict())
    features, labels = extract_features(backbone.eval(), train, FLOAT32, CPU, batch_size=4)
    assert all(torch.equal(before[name], t) for name, t in backbone.state_dict().items())
    assert labels.tolist() == train.labels.tolist()
    assert features.shape == (9, 8) and features.dtype == torch.float32 and not features.requires_grad
    images = torch.cat([batch for batch, _ in train.batches(range(9), 9, augment=False)])
    exact = backbone.double().eval()(images.double()).detach()
    rounding = (backbone.float()(images).detach() - exact).abs().max()
    assert (features - exact).abs().max() <= 2 * rounding + 1e-6


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_left_out_with_its_label(tmp_path, workers):
    folder = tmp_path
    write_folder(folder / "train", classes=3, images=3)
    (folder / "train" / "class1" / "0.png").write_bytes(b"no image")
    train = open_labelled(photograph_config(folder, workers=workers), "train")
    one_pixel, images = (lambda views: views[:, :, 5, 5]), np.array([0, 1, 8])
    found, _ = extract_features(one_pixel, train, FLOAT32, CPU, batch_size=4, indices=images)
    features, labels = training_features(one_pixel, train, FLOAT32, CPU, 4)
    assert list(train.unreadable) == [3] and train.name(3) == f"class1/0.png in {folder / 'train'}"
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2] and torch.equal(features[[0, 1, -1]], found)
    assert readable(train, np.array([0, 3, 4, 6]), 4).tolist() == [0, 4, 6]
    with pytest.raises(TrainerError, match="^the labelled images that can be read are no image of class1; add"):
        readable(train, np.array([0, 3, 6]), 4)
    for file in (folder / "train").glob("*/*"):
        file.write_bytes(b"")
    with pytest.raises(TrainerError, match="^none of the 9 training images can be read; check --data-dir$"):
        training_features(one_pixel, train, FLOAT32, CPU, 4)


def test_features_under_autocast_are_float32(backbone, train):
    features, exact = (
        extract_features(backbone.eval(), train, precision, CPU, batch_size=4)[0]
        for precision in (Precision("bfloat16", CPU), FLOAT32)
    )
    assert features.dtype == torch.float32
    # Two roundings to 8 bits of numbers that are averages of a row of such.
    assert 0 < (features - exact).abs().max() <= 4 * 2**-8 * exact.abs().max()


def test_the_classifier_begins_small_and_by_its_seed():
    state = torch.get_rng_state()
    classifier = new_classifier(512, 100, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert classifier.weight.shape == (100, 512) and not classifier.bias.any()
    # The deviation of 51200 draws is known to within 1 / sqrt(2 · 51200) of itself, five times of which is 1.6 %.
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.016)
    assert torch.equal(classifier.weight, new_classifier(512, 100, seed=1).weight)
    assert not torch.equal(classifier.weight, new_classifier(512, 100, seed=2).weight)


def cosine(rate, epoch, epochs):
    return rate * (1 + math.cos(math.pi * epoch / epochs)) / 2


def test_the_linear_training_is_sgd_as_it_is_written(points):
    """Momentum, decay and the cosine over epochs, restated with the gradient by hand, in float64."""
    options = LinearOptions(weights="file", epochs=4, batch_size=5, weight_decay=0.01, seed=3)
    labels = torch.from_numpy(points.labels)
    classifier = new_classifier(3, 3, seed=3).double()
    weight, bias = classifier.weight.detach().clone(), classifier.bias.detach().clone()
    asked = []

    def batches(order, epoch):
        asked.append((order.tolist(), epoch))
        return of_features(points.rows, labels, 5)(order, epoch)

    measured = fit(classifier, batches, 17, points.rows, labels, options, repeat=1)
    # Images are in another order, and under an epoch that no other repetition has.
    assert asked == [(epoch_order(17, 4, epoch).tolist(), 4 + epoch) for epoch in range(4)]

    momenta = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for epoch in range(4):
        order = torch.from_numpy(epoch_order(17, 4, epoch))
        for part in order.split(5):
            scores = (points.rows[part] @ weight.T + bias).softmax(dim=1)
            error = (scores - F.one_hot(labels[part], 3)) / len(part)
            for momentum, gradient, parameter in zip(
                momenta, (error.T @ points.rows[part], error.sum(dim=0)), (weight, bias), strict=True
            ):
                momentum.mul_(0.9).add_(gradient + 0.01 * parameter)
                parameter -= cosine(0.3, epoch, 4) * momentum
    torch.testing.assert_close(classifier.weight.detach(), weight, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(classifier.bias.detach(), bias, rtol=1e-11, atol=1e-13)
    right = (points.rows @ weight.T + bias).argmax(dim=1) == labels
    assert measured[-1].top1 == right.double().mean().item() and len(measured) == 4


def test_a_classifier_that_diverges_is_said(points):
    options = LinearOptions(weights="file", epochs=3, learning_rate=1e200)
    labels = torch.from_numpy(points.labels)
    batches = of_features(1e200 * points.rows, labels, 5)
    with pytest.raises(
        TrainerError, match=r"the classifier's loss is (nan|inf) in epoch \d; lower --learning-rate"
    ):
        fit(new_classifier(3, 3, seed=0).double(), batches, 17, points.rows, labels, options, repeat=0)


def test_linear_batches_are_augmented_and_leave_the_backbone(backbone, train):
    backbone.eval()
    before = copy.deepcopy(backbone.state_dict())
    batches = of_images(backbone, train, FLOAT32, 4)
    order = epoch_order(9, seed=0, epoch=0)
    features, labels = (torch.cat(parts) for parts in zip(*batches(order, 2), strict=True))
    images = torch.cat([batch for batch, _ in train.batches(order, 4, augment=True, epoch=2)])
    exact = copy.deepcopy(backbone).double()(images.double())
    rounding = (backbone(images) - exact).abs().max()
    assert (features - exact).abs().max() <= 2 * rounding + 1e-6
    assert labels.tolist() == train.labels[order].tolist() and not features.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    other, _ = (torch.cat(parts) for parts in zip(*batches(order, 3), strict=True))
    assert not torch.equal(features, other)  # another epoch's crops


def small_classifier():
    """A backbone whose batch norm cannot take a single row, and a classifier, in float64."""
    torch.manual_seed(1)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 3)).double()


def test_fine_tuning_is_sgd_with_two_rates_as_it_is_written(points):
    options = SemiSupervisedOptions(weights="file", epochs=3, batch_size=4, weight_decay=0.01, seed=2)
    chosen = np.array([0, 1, 2, 5, 7, 9, 10])
    model, restated = small_classifier(), small_classifier()
    fine_tune(model, points, chosen, FLOAT32, options, repeat=1)
    assert [(augment, epoch) for _, augment, epoch in points.asked] == [(True, 3), (True, 4), (True, 5)]

    momenta = {name: torch.zeros_like(p) for name, p in restated.named_parameters()}
    for epoch in range(3):
        order = torch.from_numpy(chosen[epoch_order(7, 3, epoch)])
        for part in order.split(4):
            scores = restated(points.rows[part, :, None, None])
            restated.zero_grad()
            F.cross_entropy(scores.float(), torch.from_numpy(points.labels)[part]).backward()
            with torch.no_grad():
                for name, parameter in restated.named_parameters():
                    rate = 0.5 if name.startswith("classifier.") else 0.005
                    momenta[name].mul_(0.9).add_(parameter.grad + 0.01 * parameter)
                    parameter -= cosine(rate, epoch, 3) * momenta[name]
    for (name, value), other in zip(model.state_dict().items(), restated.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12, msg=name)


def test_a_single_row_that_is_left_over_is_left_out(points):
    options = SemiSupervisedOptions(weights="file", epochs=2, batch_size=4)
    fine_tune(small_classifier(), points, np.arange(9), FLOAT32, options, repeat=0)
    assert [len(indices) for indices, _, _ in points.asked] == [8, 8]


def test_fine_tuning_that_diverges_is_said(points):
    options = SemiSupervisedOptions(weights="file", epochs=3, learning_rate_classifier=1e300)
    points.rows = points.rows * 1e30
    with pytest.raises(TrainerError, match="loss is (nan|inf) in epoch .; lower --learning-rate-classifier or"):
        fine_tune(small_classifier(), points, np.arange(8), FLOAT32, options, repeat=0)


@pytest.mark.parametrize(
    ("decay", "shares"),
    [
        ("cosine", [cosine(1, epoch, 20) for epoch in range(20)]),
        ("steps", [1.0] * 12 + [0.2] * 4 + [0.04] * 4),
    ],
)
def test_both_rates_fall_by_the_same_shares(decay, shares):
    options = SemiSupervisedOptions(weights="file", decay=decay)
    optimizer = build_tuning_optimizer(small_classifier(), options)
    schedule = build_schedule(optimizer, options)
    for share in shares:
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.5 * share, 0.005 * share], rel=1e-12)
        optimizer.step()
        schedule.step()


def test_measuring_classifies_all_test_images_in_evaluation_mode(points):
    model = small_classifier()
    accuracy = measure_accuracy(model, points, FLOAT32, batch_size=16)  # a single row is left over
    right = model(points.rows[:, :, None, None]).argmax(dim=1) == torch.from_numpy(points.labels)
    assert accuracy.top1 == right.double().mean().item() and accuracy.top5 == 1
    assert points.asked == [(list(range(17)), False, 0)]


def test_parts_with_other_classes_are_refused(folder, tmp_path):
    def opened(root):
        return open_parts(LinearOptions(weights="file", data="imagefolder", data_dir=str(root), image_size=12))

    assert [part.classes for part in opened(folder)] == [3, 3]
    for name, classes in (("fewer", 2), ("others", 3)):
        write_folder(tmp_path / name / "train", classes=3, images=1)
        write_folder(tmp_path / name / "val", classes=classes, images=1)
    with pytest.raises(
        TrainerError, match=r"3 classes and the test images 2 \(class2 is in one alone\); give both"
    ):
        opened(tmp_path / "fewer")
    (tmp_path / "others" / "val" / "class0").rename(tmp_path / "others" / "val" / "another")
    with pytest.raises(
        TrainerError, match=r"3 classes and the test images 3 \(another is in one alone\); give both"
    ):
        opened(tmp_path / "others")
