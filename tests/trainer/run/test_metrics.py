"""The metrics' file, what is shown of it while training, and the copy for TensorBoard."""

import dataclasses
import io
import json
import math
import sys

import pytest

from bt_kernels.trainer.data.decoding import Unreadable
from bt_kernels.trainer.data.unreadable import UnreadableImages
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run import progress as progress_module
from bt_kernels.trainer.run.metrics import MetricsFile, StepMetrics, read_metrics
from bt_kernels.trainer.run.progress import Progress, describe


def step_metrics(step, **more):
    values = {"loss": 10.5, "on_diagonal": 8.0, "off_diagonal": 500.0, "learning_rate": 1e-3}
    return StepMetrics(step=step, epoch=(step - 1) // 2 + 1, seconds=step / 4, **{**values, **more})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def write(path, steps, done_steps=0):
    file = MetricsFile(path, done_steps)
    for step in steps:
        file.append(step_metrics(step))
    file.sync()
    file.close()


def recorded_steps(path):
    return [metrics.step for metrics in read_metrics(path)]


def test_steps_are_read_as_they_were_written(path):
    written = [step_metrics(1), step_metrics(2, effective_rank=7.25, knn_accuracy=0.5, unreadable_images=3)]
    file = MetricsFile(path, 0)
    for metrics in written:
        file.append(metrics)
        assert recorded_steps(path)[-1] == metrics.step  # before the file is closed
    file.close()
    assert read_metrics(path) == written
    assert json.loads(path.read_text().splitlines()[0])["knn_accuracy"] is None


def test_steps_that_are_done_again_are_dropped(path, capsys):
    write(path, range(1, 8))
    write(path, (5, 6), done_steps=4)
    assert recorded_steps(path) == [1, 2, 3, 4, 5, 6]
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]
    assert capsys.readouterr().err == ""


def test_step_that_was_measured_further_replaces_its_line(path):
    write(path, (1, 2))
    file = MetricsFile(path, 2)
    assert file.last == step_metrics(2)
    for metrics in (step_metrics(2, knn_accuracy=0.5), step_metrics(3), step_metrics(3, knn_accuracy=0.25)):
        file.append(metrics)
        assert read_metrics(path)[-1] == file.last == metrics
    file.close()
    assert [metrics.knn_accuracy for metrics in read_metrics(path)] == [None, 0.5, 0.25]
    assert recorded_steps(path) == [1, 2, 3]


def test_line_that_a_kill_cut_off_is_passed_over_and_then_replaced(path):
    write(path, (1, 2, 3))
    path.write_text(path.read_text()[:-20])
    assert recorded_steps(path) == [1, 2]
    write(path, (3,), done_steps=2)
    assert recorded_steps(path) == [1, 2, 3]


@pytest.mark.parametrize("damage", ["\0\0\0", "\udcff", "[1]", '{"step": 4', '{"step": 4}', '{"step": null}'])
def test_lost_lines_are_said_and_do_not_end_the_run(path, capsys, damage):
    write(path, range(1, 6))
    lines = path.read_text().splitlines()
    lines[2] = damage
    path.write_text("\n".join(lines), errors="surrogateescape")
    write(path, (6,), done_steps=5)
    assert recorded_steps(path) == [1, 2, 4, 5, 6]
    assert capsys.readouterr().err == f"warning: {path} lacks 1 of 5 steps\n"


def test_missing_file_begins_anew(path, capsys):
    write(path, (4,), done_steps=3)
    assert recorded_steps(path) == [4]
    assert capsys.readouterr().err == f"warning: {path} lacks 3 of 3 steps\n"


def test_run_that_began_with_the_weights_of_another_lacks_nothing(path, capsys):
    path.write_text("")
    write(path, (101, 102), done_steps=100)
    write(path, (103,), done_steps=102)
    assert recorded_steps(path) == [101, 102, 103]
    assert capsys.readouterr().err == ""


def test_values_that_are_not_finite_are_written_as_json(path):
    file = MetricsFile(path, 0)
    file.append(step_metrics(1, loss=math.nan, on_diagonal=math.inf, effective_rank=math.nan))
    file.close()
    line = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert line["loss"] is None and line["on_diagonal"] is None and line["effective_rank"] is None
    metrics = read_metrics(path)[0]
    assert math.isnan(metrics.loss) and math.isnan(metrics.on_diagonal) and metrics.effective_rank is None


def test_full_disk_is_one_sentence(path):
    file = MetricsFile(path, 0)
    with open("/dev/full", "w") as full:
        file._file = full
        with pytest.raises(TrainerError, match=f"^cannot write {path}: No space left on device$"):
            file.append(step_metrics(1))
        file.close()


def test_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(TrainerError, match=f"cannot read {tmp_path}: Is a directory"):
        read_metrics(tmp_path)
    with pytest.raises(TrainerError, match="cannot write .*: No such file or directory"):
        MetricsFile(tmp_path / "missing" / "metrics.jsonl", 0)


@pytest.fixture
def clock(monkeypatch):
    """The time that a pace is measured by; set ``clock.now``."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_line_at_the_end_of_an_epoch_shows_its_means_its_measurements_and_the_pace_of_this_part(
    path, clock, capsys
):
    write(path, (1, 2))
    with Progress(path, done_steps=2, total_steps=8, epochs=4, batch_size=30) as progress:
        for step, measured in (
            (3, {"loss": 20.0, "effective_rank": 12.3}),
            (4, {"loss": 10.0, "on_diagonal": 4.0, "off_diagonal": 300.0}),
            (5, {"loss": 1.0}),
            (6, {"loss": 3.0, "knn_accuracy": 0.98765}),
            (6, {"loss": 3.0, "knn_accuracy": 0.98765, "unreadable_images": 1}),  # once more, measured further
        ):
            clock.now += 1000 if step == 3 else 2  # what was before the first step does not count
            progress.log(step_metrics(step, **measured))
    assert recorded_steps(path) == [1, 2, 3, 4, 5, 6]
    assert capsys.readouterr().err.splitlines()[:3] == [
        "epoch 2/4 loss  20.0 on-diag   8.0 off-diag   500 eff. rank 12 waiting 0 % step 1/2",  # after a silence
        "epoch 2/4 loss  15.0 on-diag   6.0 off-diag   400 waiting 0 %  15 images/s, 00:08 left",
        "epoch 3/4 loss   2.0 on-diag   8.0 off-diag   500 kNN 98.8 % waiting 0 %  15 images/s, 00:04 left",
    ]
    assert read_metrics(path)[-1].loss == 3.0  # on record is the step


def test_the_means_of_a_resumed_epoch_are_those_of_the_whole_epoch_as_far_as_it_is_on_record(path, capsys):
    write(path, (1, 2))
    for done, lost in ((3, False), (3, True)):
        write(path, () if lost else (3,), done_steps=2)
        capsys.readouterr()
        with Progress(path, done_steps=done, total_steps=8, epochs=4, batch_size=30) as progress:
            progress.log(step_metrics(4, loss=20.5))
        line = capsys.readouterr().err.splitlines()[-1]
        assert ("loss  20.5" if lost else "loss  15.5") in line
        assert ("(means of 1 steps)" in line) == lost


def test_the_share_of_an_epoch_that_was_spent_waiting_is_shown(path, capsys):
    waited = {1: 3.0, 2: 3.0, 3: 3.25, 4: 3.5}  # in all; every step itself takes 0.25 s
    for done in (0, 3):
        with Progress(path, done, total_steps=4, epochs=2, batch_size=30) as progress:
            for step in range(done + 1, 4 if done == 0 else 5):
                progress.log(step_metrics(step, waiting_seconds=waited[step]))
    first, second = capsys.readouterr().err.splitlines()
    assert "waiting 86 %" in first and "waiting 50 %" in second  # 3 s beside 0.5 s, then, in two parts, 0.5 s
    assert [metrics.waiting_seconds for metrics in read_metrics(path)] == list(waited.values())


def test_bar_on_a_terminal(path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(path, 0, total_steps=4, epochs=2, batch_size=30) as progress:
        for step in (1, 2):
            progress.log(step_metrics(step, loss=9.0 + step, effective_rank=3.0 if step == 1 else None))
            progress._bar.refresh()
    assert (
        "epoch 1/2 loss  10.5 on-diag   8.0 off-diag   500 eff. rank 3 waiting 0 % |"
        in terminal.getvalue().split("\r")[-2]
    )
    assert "\n" not in terminal.getvalue().rstrip("\n")


def test_names_of_unreadable_images_are_written_once_and_said_once(tmp_path, capsys):
    file = tmp_path / "unreadable.txt"
    images = UnreadableImages(file)
    images.add([])
    assert not file.exists()
    first = Unreadable("a/1.png", "it is empty")
    images.add([first, Unreadable("b/\udcff.png", "No\tsuch\nfile"), Unreadable("a/1.png", "another time")])
    images.add([Unreadable("a/1.png", "another time"), Unreadable("a\nb\t.png", "broken")])
    lines = [b"a/1.png\tit is empty", b"b/\xff.png\tNo such file", b"a b .png\tbroken"]
    assert file.read_bytes().splitlines() == lines
    assert capsys.readouterr().err == (
        "warning: a/1.png cannot be read (it is empty), and another image takes its place; all such images are "
        f"named in {file}\n"
    )
    resumed = UnreadableImages(file)
    resumed.add([first, Unreadable("a\nb\t.png", "broken"), Unreadable("c.png", "gone")])
    assert file.read_bytes().splitlines() == [*lines, b"c.png\tgone"]


def test_unreadable_images_are_shown_once_there_are_any():
    assert "unreadable" not in describe(step_metrics(1), 2, 0.0)
    assert describe(step_metrics(1, unreadable_images=4), 2, 0.0).endswith(" unreadable 4 waiting 0 %")


def scalars(folder):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = events.EventAccumulator(str(folder), purge_orphaned_data=True)
    reader.Reload()
    names = reader.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in reader.Scalars(name)] for name in names}


def test_tensorboard_has_every_metric_and_hides_the_steps_that_are_done_again(path, tmp_path):
    pytest.importorskip("tensorboard")
    board = tmp_path / "tensorboard"
    for done, rank in ((0, 2.0), (2, 8.0)):
        with Progress(path, done, total_steps=8, epochs=4, batch_size=2, tensorboard=board) as progress:
            for step in range(done + 1, done + 4):
                progress.log(step_metrics(step, effective_rank=rank if step % 2 else None))
    found = scalars(board)
    assert found["effective_rank"] == [(1, 2.0), (3, 8.0), (5, 8.0)]
    assert [step for step, _ in found["loss"]] == [1, 2, 3, 4, 5]
    measured = {"step", "mean_correlation", "off_diagonal_rms", "embedding_std", "knn_accuracy"}
    assert set(found) == {entry.name for entry in dataclasses.fields(StepMetrics)} - measured


def test_missing_tensorboard_is_one_sentence(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TrainerError, match="--tensorboard needs the package tensorboard; run: pip install"):
        Progress(path, 0, total_steps=4, epochs=2, batch_size=2, tensorboard=tmp_path / "tensorboard")


def test_tensorboard_folder_that_cannot_be_made_is_one_sentence(path, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainerError, match=f"cannot write {tmp_path / 'file' / 'board'}: Not a directory"):
        Progress(path, 0, total_steps=4, epochs=2, batch_size=2, tensorboard=tmp_path / "file" / "board")
