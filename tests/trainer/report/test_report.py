"""What a run's pictures are drawn from, and the report on a run that is not finished."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bt_kernels import cross_correlation
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import Views, open_training_data
from bt_kernels.trainer.data.digits import ShuffledBatches, load_split
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.report import finish as finish_module
from bt_kernels.trainer.report.__main__ import main
from bt_kernels.trainer.report.pictures import accuracy, curves, embedding, images
from bt_kernels.trainer.report.subject import (
    BATCH,
    as_pictures,
    correlation_of,
    features_of,
    originals,
    sample_of,
    some_views,
)
from bt_kernels.trainer.run.metrics import MetricsFile, StepMetrics
from bt_kernels.trainer.run.run_folder import RunFolder
from tests.support.trainer.image_data import photograph_config, write_folder

CPU = torch.device("cpu")
CURVES = {"loss_curves.png", "statistics.png"}
OF_VIEWS = {"augmented_views.png", "cross_correlation.png"}
OF_FEATURES = {"embedding.png", "neighbours.png"}


def step_metrics(step, **more):
    return StepMetrics(step, 1, 100.0 / step, 80.0 / step, 400.0 / step, 1e-3 * step, 0.5 * step, **more)


@pytest.fixture
def figure(monkeypatch):
    """The last figure that was drawn, instead of its file."""
    drawn = SimpleNamespace(figure=None)
    for module in (curves, embedding, images, accuracy):
        monkeypatch.setattr(module, "save", lambda figure, path: setattr(drawn, "figure", figure))
    yield drawn
    curves.plt.close("all")


@pytest.mark.parametrize("count", [1, 29, 60, 100])
def test_running_mean_is_that_of_every_window(count):
    values = np.random.default_rng(0).normal(size=count)
    window = max(1, count // 30)
    expected = [values[start : start + window].mean() for start in range(count - window + 1)]
    np.testing.assert_allclose(curves.running_mean(values), expected, rtol=0, atol=1e-14 * count)


def test_long_curves_are_thinned():
    steps = np.arange(100_001)
    short, also = curves.thinned(steps, 2 * steps)
    assert 2000 < len(short) <= 4000 and np.array_equal(also, 2 * short)
    assert np.array_equal(curves.thinned(steps[:4000])[0], steps[:4000])


def test_loss_curves_show_the_weighted_terms(figure, tmp_path):
    metrics = [step_metrics(step) for step in (101, 102, 103)]  # a run that began with another's weights
    curves.draw_loss_curves(tmp_path / "x.png", metrics, lambd=0.01)
    top, bottom = figure.figure.axes
    lines = {line.get_label(): line.get_ydata() for line in top.lines}
    np.testing.assert_allclose(lines["loss"], [entry.loss for entry in metrics])
    np.testing.assert_allclose(
        lines["λ · off-diagonal (redundancy)"], [0.01 * entry.off_diagonal for entry in metrics]
    )
    assert bottom.get_xlim() == (100, 103)
    curves.draw_loss_curves(tmp_path / "x.png", metrics[:1], lambd=0.01)  # a single step


def test_statistics_have_a_panel_for_each_that_was_measured(figure, tmp_path):
    metrics = [step_metrics(step, effective_rank=2.0 * step if step % 2 else None) for step in range(1, 6)]
    curves.draw_statistics(tmp_path / "x.png", metrics)
    (axis,) = figure.figure.axes
    assert axis.lines[0].get_xydata().tolist() == [[1, 2], [3, 6], [5, 10]]
    metrics.append(step_metrics(6, knn_accuracy=0.9, mean_correlation=-0.3))
    curves.draw_statistics(tmp_path / "x.png", metrics)
    titles = [axis.get_title(loc="left") for axis in figure.figure.axes]
    assert titles == ["mean $C_{ii}$", "effective rank", "kNN accuracy"]
    assert figure.figure.axes[0].get_ylim()[0] == -0.3


def test_nearest_neighbours_are_those_of_the_largest_cosines():
    features = np.random.default_rng(0).normal(size=(20, 6))
    features[3] = 0  # a dead network's
    found = images.nearest_neighbours(features, np.array([7, 3]), 4)
    norms = np.linalg.norm(features, axis=1)
    norms[3] = 1
    cosines = features @ features[7] / norms
    others = [index for index in np.argsort(-cosines) if index != 7]
    assert found[0].tolist() == others[:4]
    assert 3 not in found[1]


def test_share_of_the_same_class():
    labels = np.array([0, 0, 1, 1])
    assert images.same_class_share(labels, np.array([[1, 2], [0, 3], [3, 0], [0, 1]])) == 3 / 8


def test_frames_of_neighbours_tell_their_class(figure, tmp_path):
    pictures = np.random.default_rng(0).random((4, 5, 5, 3))
    nearest = {"untrained": np.array([[1], [0], [0], [2]]), "trained": np.array([[2], [3], [3], [0]])}
    images.draw_neighbours(tmp_path / "x.png", pictures, np.array([0, 0, 1, 1]), np.array([2, 0]), nearest)
    axes = np.array(figure.figure.axes).reshape(2, 5)
    frames = [[axis.spines["left"].get_edgecolor() for axis in axes[row, [2, 4]]] for row in (0, 1)]
    green, red = (images.plt.matplotlib.colors.to_rgba(colour) for colour in ("#0b6e4f", "#b5382f"))
    assert frames == [[red, green], [green, red]]
    assert np.array_equal(axes[0, 4].images[0].get_array(), pictures[3])
    assert axes[0, 2].get_title().startswith("untrained network: 75 %")


@pytest.mark.parametrize("classes", [3, 15])
def test_embedding_names_the_classes(figure, tmp_path, classes):
    labels = np.arange(3 * classes) % classes * 7
    names = {7 * label: f"a name that is too long {label}" for label in range(classes)}
    points = np.random.default_rng(0).random((2, 3 * classes, 2))
    embedding.draw_embedding(tmp_path / "x.png", *points, labels, names)
    texts = [text.get_text() for text in figure.figure.legends[0].get_texts()]
    assert len(texts) == classes and all(len(text) == 18 for text in texts)
    for axis, expected in zip(figure.figure.axes, points, strict=True):
        drawn = np.concatenate([dots.get_offsets() for dots in axis.collections])
        assert np.array_equal(drawn, np.concatenate([expected[labels == 7 * label] for label in range(classes)]))


@pytest.mark.parametrize("count", [4, 40])
def test_embedding_of_few_images(count):
    features = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    assert embedding.embed_2d(features, seed=0).shape == (count, 2)


def test_photographs_are_shown_as_they_were_before_their_normalisation(tmp_path):
    write_folder(tmp_path / "train", classes=2)
    write_folder(tmp_path / "val", classes=2)
    sample = sample_of(photograph_config(tmp_path))
    shown = as_pictures(sample.train_images)
    assert shown.shape == (8, 12, 12, 3) and shown.min() >= 0 and shown.max() <= 1
    levels = shown * 255  # of 8-bit files
    np.testing.assert_allclose(levels, levels.round(), rtol=0, atol=1e-3)
    assert as_pictures(torch.tensor([[[[0.25]]], [[[2.0]]]])).tolist() == [[[[0.25]]], [[[1.0]]]]


def test_sample_of_many_classes_is_of_ten_of_them(tmp_path):
    write_folder(tmp_path / "train", classes=22, images=1)
    write_folder(tmp_path / "val", classes=22, images=2)
    config = photograph_config(tmp_path)
    sample = sample_of(config)
    assert len(np.unique(sample.train_labels)) == 22
    labels, counts = np.unique(sample.test_labels, return_counts=True)
    assert len(labels) == 10 and set(counts) == {2}
    folders = sorted(f"class{label}" for label in range(22))
    assert sample.test_classes == {label: folders[label] for label in labels}
    again = sample_of(config)
    assert torch.equal(sample.test_images, again.test_images)


def test_sample_leaves_out_images_that_cannot_be_read(tmp_path):
    for part in ("train", "val"):
        write_folder(tmp_path / part)
    (tmp_path / "val" / "class1" / "2.png").write_bytes(b"no image")
    assert len(sample_of(photograph_config(tmp_path)).test_labels) == 11


def test_without_held_out_images_there_is_no_sample(tmp_path, capsys):
    write_folder(tmp_path / "train")
    assert sample_of(photograph_config(tmp_path)) is None
    captured = capsys.readouterr().err
    assert captured.startswith("no pictures of held-out images: ") and str(tmp_path / "val") in captured
    assert sample_of(Config(data="synthetic", epoch_images=8, batch_size=4)) is None
    write_folder(tmp_path / "val", classes=1)  # four images
    assert sample_of(photograph_config(tmp_path)) is None
    assert capsys.readouterr().err == ""


def test_originals_are_the_images_of_the_first_views(tmp_path):
    for part in ("train", "val"):
        write_folder(tmp_path / part)
    never = dict.fromkeys(("flip_probability", "jitter_probability", "greyscale_probability"), 0.0)
    plain = {"crop_scale": (0.9, 1.0), "blur_probability": (0.0, 0.0), "solarize_probability": (0.0, 0.0)}
    config = photograph_config(tmp_path, **never, **plain)
    data, sample = open_training_data(config, Processes(), CPU), sample_of(config)
    shown = originals(config, data, sample, 10).flatten(1)
    assert len(shown) == 4  # a batch
    distances = torch.cdist(some_views(data)[0].a.flatten(1), shown)
    assert distances.argmin(dim=1).tolist() == [0, 1, 2, 3]

    digits = Config(image_size=8)
    expected = load_split(8, 0).train_images[ShuffledBatches(1297, 64, 0)[0][:10]]
    assert torch.equal(originals(digits, SimpleNamespace(images=1297), sample_of(digits), 10), expected)
    (tmp_path / "train" / "beside.png").write_bytes((tmp_path / "train" / "class0" / "0.png").read_bytes())
    assert originals(config, open_training_data(config, Processes(), CPU), sample_of(config), 10) is None
    assert originals(config, data, None, 10) is None


def small_network(**options):
    return build_network(Config(backbone="resnet18", image_size=8, projector="8", **options))


@pytest.mark.parametrize("rows", [[20], [20, 12], [BATCH + 14]])
def test_correlation_is_that_of_all_views_and_the_network_is_as_before(rows, generator):
    network = small_network().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batches = [Views(*torch.rand(2, n, 1, 8, 8, generator=generator)) for n in rows]
    found = correlation_of(network, batches, CPU)
    assert not network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())

    network.train()
    count = -(-rows[0] // BATCH)
    parts = [pair for batch in batches for pair in zip(batch.a.chunk(count), batch.b.chunk(count), strict=True)]
    with torch.no_grad():
        z_a, z_b = (torch.cat(views) for views in zip(*(network(*pair) for pair in parts), strict=True))
    c = cross_correlation(z_a.double(), z_b.double())
    np.testing.assert_allclose(found.corner, c, rtol=0, atol=1e-4)
    assert found.features == 8
    assert found.mean_diagonal == pytest.approx(c.diagonal().mean().item(), abs=1e-4)
    off = c[~torch.eye(8, dtype=bool)]
    assert found.off_diagonal_rms == pytest.approx(off.square().mean().sqrt().item(), abs=1e-4)


def test_features_where_a_last_calibration_batch_would_be_one_image(generator):
    sample = SimpleNamespace(
        train_images=torch.rand(BATCH + 1, 1, 8, 8, generator=generator),
        test_images=torch.rand(3, 1, 8, 8, generator=generator),
    )
    train, test = features_of({"trained": small_network()}, sample)["trained"]
    assert train.shape == (BATCH + 1, 512) and test.shape == (3, 512) and np.isfinite(train).all()


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run on photographs that was stopped after its second step, of two checkpoints."""
    monkeypatch.setattr(embedding, "embed_2d", lambda features, seed: features[:, :2])  # t-SNE takes seconds
    for part in ("train", "val"):
        write_folder(tmp_path / "images" / part)
    config = photograph_config(tmp_path / "images", backbone="resnet18", projector="8", image_size=8)
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.folder.mkdir(parents=True)
    folder.config.write_text(json.dumps(config.as_dict()))
    file = MetricsFile(folder.metrics, 0)
    for step in (1, 2):
        file.append(step_metrics(step, effective_rank=3.0))
        folder.checkpoints.save(step, config.as_dict(), {"network": build_network(config).state_dict()})
    file.close()
    return folder


def drawn(folder):
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in folder.iterdir())
    return {picture.name for picture in folder.iterdir()}


@pytest.mark.long
def test_report_of_a_stopped_run_that_has_moved_to_a_machine_without_its_gpu(stopped, tmp_path, capsys):
    saved = json.loads(stopped.config.read_text())
    stopped.config.write_text(json.dumps({**saved, "device": "cuda:7"}))
    (tmp_path / "images").rename(tmp_path / "moved")
    damaged = stopped.checkpoints.path(2)
    damaged.write_bytes(damaged.read_bytes()[:500])
    before = {path: path.stat().st_mtime_ns for path in stopped.root.rglob("*")}
    output = tmp_path / "drawn"
    moved = ["--device", "cpu", "--data-dir", str(tmp_path / "moved")]
    assert main([str(stopped.root), "--output", str(output), *moved]) == 0
    assert drawn(output) == CURVES | OF_VIEWS | OF_FEATURES
    captured = capsys.readouterr()
    assert captured.out == f"Pictures  {output}\n"
    assert captured.err.startswith(f"warning: {damaged} is damaged") and captured.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in stopped.root.rglob("*")} == before  # it may be going on


def test_report_before_the_first_checkpoint_draws_the_metrics(stopped, capsys):
    shutil.rmtree(stopped.checkpoints.folder)
    assert main([str(stopped.root)]) == 0
    assert drawn(stopped.pictures) == CURVES
    assert "no checkpoint" in capsys.readouterr().err
    stopped.metrics.unlink()
    assert main([str(stopped.root)]) == 1
    assert f"error: {stopped.root} has no metrics and no checkpoint yet; wait" in capsys.readouterr().err


def test_report_without_a_run_is_one_sentence(stopped, tmp_path, capsys):
    assert main([str(tmp_path / "missing")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'missing'} is no run: cannot read config.json (No such file or directory)\n"
    )
    assert main([str(stopped.root), "--output", str(stopped.config)]) == 1
    assert capsys.readouterr().err == f"error: cannot write to {stopped.config}: File exists\n"
    stopped.config.write_text("{")
    assert main([str(stopped.root)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {stopped.config} is damaged")


def test_report_of_a_finished_run_draws_the_accuracies_of_its_summary(stopped, figure, capsys):
    values = {"mean": 0.5, "std": 0.1, "draws": 2}
    by_labels = {"1": values, "all": values}
    stopped.summary.write_text(json.dumps({"accuracy": {"trained": by_labels, "pixels": by_labels}}))
    shutil.rmtree(stopped.checkpoints.folder)
    assert main([str(stopped.root)]) == 0
    assert [bar.get_height() for bar in figure.figure.axes[0].patches] == [50, 50]


@pytest.mark.long
def test_run_whose_held_out_images_are_gone_still_finishes(stopped, tmp_path, capsys):
    shutil.rmtree(tmp_path / "images" / "val")
    config = photograph_config(tmp_path / "images", backbone="resnet18", projector="8", image_size=8)
    stopped.pictures.mkdir()
    data = open_training_data(config, Processes(), CPU)
    last = step_metrics(3, knn_accuracy=0.25, unreadable_images=2)
    file = MetricsFile(stopped.metrics, 2)
    file.append(last)
    file.close()
    text = finish_module.finish(
        config,
        build_network(config),
        data,
        stopped,
        device=CPU,
        loss_backend="eager",
        steps=3,
        seconds={"training": 1.5, "waiting_for_data": 0.5},
    )
    assert text.splitlines() == [
        "Nearest-neighbour accuracy of the held-out images: 25.0 %",
        "Reads of images that failed, each replaced by another image: 2.",
    ]
    assert drawn(stopped.pictures) == CURVES | OF_VIEWS
    summary = json.loads(stopped.summary.read_text())
    assert summary["accuracy"] == {} and summary["images"] == {"train": 12} and summary["precision"] == "float32"
    assert summary["loss_backend"] == "eager"
    assert summary["final"]["knn_accuracy"] == 0.25 and summary["final"]["unreadable_images"] == 2
    assert summary["seconds"]["training"] == 1.5 and summary["seconds"]["waiting_for_data"] == 0.5
    assert summary["steps"] == 3
    assert {"resnet18.pth", "resnet18.safetensors"} <= {file.name for file in stopped.root.iterdir()}
    assert "no pictures of held-out images" in capsys.readouterr().err
