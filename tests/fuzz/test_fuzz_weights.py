"""Files of weights and checkpoints as people have them: under any names, damaged, or something else altogether.

What is read is bit for bit what was written, or it is refused by one TrainerError that names the file; there is no
other error and no part of a network.
"""

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.checkpoint import Checkpoints, load_checkpoint
from bt_kernels.trainer.training.continuation import begin_from
from bt_kernels.trainer.training.initial_weights import differences
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.weights.load import read_backbone
from bt_kernels.trainer.weights.names import WRAPPERS
from tests.support.small_weights import behind, same, small_backbone, state_of

pytestmark = pytest.mark.long

BACKBONE, TRAINED, OTHER = (small_backbone(seed) for seed in range(3))
OWN, THEIRS = state_of(TRAINED), state_of(OTHER)
NAMES = list(OWN)
COUNTS = {name for name in NAMES if name.endswith("num_batches_tracked")}
TOPS = ["", *dict.fromkeys(name.partition(".")[0] for name in NAMES)]

wrappers = st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3)
prefixes = st.lists(
    st.sampled_from([
        "model", "net", "network", "backbone", "encoder", "encoder_q", "encoder_k", "momentum_encoder",
        "base_encoder", "teacher", "student", "target_net", "online_net", "state_dict", "state_dict_ema", "trunk",
        "_feature_blocks", "0", "1", "layer1", "layer1.0", "conv1", "fc", "a.b",
    ]),
    max_size=4,
)  # fmt: skip
# A wrapper around the children of each name, or around the whole of it: "".
insertions = st.dictionaries(st.sampled_from(TOPS), wrappers, max_size=4)


def spelled(spelling, name):
    """A backbone's name as it is when its children are in an nn.Sequential, or as it is."""
    if spelling == "plain":
        return name
    children = [
        child for child, module in TRAINED.named_children() if spelling == "children" or module.state_dict()
    ]
    top, dot, rest = name.partition(".")
    name = f"{children.index(top)}{dot}{rest}"
    return name.replace("downsample", "shortcut") if spelling == "weighty" else name


def wrapped(state, spelling, prefix, inserted):
    """A state_dict with other names."""
    new = {}
    for name, tensor in state.items():
        top = name.partition(".")[0]
        parts = spelled(spelling, name).split(".")
        parts[1:1] = inserted.get(top, []) if len(parts) > 1 else []
        new[".".join([*prefix, *inserted.get("", []), *parts])] = tensor
    return new


def nested(state, depth):
    """Some of a name's parts as the keys of dicts around it."""
    if not depth:
        return state
    inner = {}
    for name, tensor in state.items():
        top, _, rest = name.partition(".")
        if rest:
            inner.setdefault(top, {})[rest] = tensor
        else:
            inner[top] = tensor
    return {key: nested(value, depth - 1) if isinstance(value, dict) else value for key, value in inner.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def outcome(action, path):
    """What is returned, or None if it is refused as it should be."""
    try:
        return action(path)
    except TrainerError as error:
        sentence = str(error)
        assert "\n" not in sentence and str(path) in sentence and len(sentence) < 1000, sentence
        return None


def read(path):
    before = {name: tensor.clone() for name, tensor in BACKBONE.state_dict().items()}
    weights = outcome(lambda path: read_backbone(path, BACKBONE), path)
    assert same(state_of(BACKBONE), before)
    return weights.state if weights is not None else None


def written(content, folder, old_format=False):
    path = folder / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    return path


spellings = st.sampled_from(["plain", "children", "weighty"])


@given(spellings, prefixes, insertions, st.integers(0, 3), st.booleans())
def test_weights_are_found_under_any_names(folder, spelling, prefix, inserted, depth, old_format):
    content = nested(wrapped(OWN, spelling, prefix, inserted), depth)
    assert same(read(written({"epoch": 3, **content}, folder, old_format)), OWN)


@given(spellings, st.lists(prefixes, min_size=2, max_size=2), insertions, insertions, st.randoms())
def test_of_two_backbones_one_is_taken_whole_or_none(folder, spelling, prefix, inserted, inserted_too, random):
    both = [
        *wrapped(OWN, spelling, prefix[0], inserted).items(),
        *wrapped(THEIRS, "plain", prefix[1], inserted_too).items(),
    ]
    assume(len(dict(both)) == len(both))
    random.shuffle(both)
    found = read(written(dict(both), folder))
    assert found is None or same(found, OWN) or same(found, THEIRS)


CHANGES = {
    "missing": lambda tensor: None,
    "shape": lambda tensor: tensor.new_zeros((*tensor.shape, 2)),
    "transposed": lambda tensor: tensor.unsqueeze(0),
    "integer": lambda tensor: tensor.to(torch.int32),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "sparse": lambda tensor: tensor.to_sparse() if tensor.ndim else None,
    "meta": lambda tensor: tensor.to("meta"),
    "infinite": lambda tensor: torch.full_like(tensor, float("inf")) if tensor.is_floating_point() else None,
    "text": lambda tensor: "tensor",
    "half": lambda tensor: tensor.half() if tensor.is_floating_point() else tensor,
}


@given(
    prefixes,
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3),
    st.lists(st.sampled_from(["fc.weight", "layer1.2.conv1.weight", "layer5.weight", "neck", "head.0.bias"])),
)
def test_tensors_that_do_not_fit_are_refused(folder, prefix, changes, added):
    state = {name: CHANGES[changes[name]](tensor) if name in changes else tensor for name, tensor in OWN.items()}
    state |= {name: torch.zeros(2) for name in added}
    found = read(written(wrapped({n: t for n, t in state.items() if t is not None}, "plain", prefix, {}), folder))
    lost = {name for name in changes if not isinstance(state[name], torch.Tensor)}
    harmless = lost <= COUNTS and all(
        name in lost or change in ("half",) or (change == "integer" and name in COUNTS)
        for name, change in changes.items()
    )
    if not harmless or not set(added) <= {"fc.weight", "head.0.bias"}:
        assert found is None
        return
    expected = {name: BACKBONE.state_dict()[name] if name in lost else tensor for name, tensor in state.items()}
    assert same(found, {name: expected[name] for name in NAMES})


def of_format(kind, folder):
    """A file of the kind, and whether it has checksums of its tensors."""
    path = folder / {"safetensors": "tensors.safetensors", "checkpoint": "step-00000001.pt"}.get(kind, "file.pth")
    if kind == "safetensors":
        save_file(OWN, path, {"backbone": "resnet18"})
    elif kind == "checkpoint":
        Checkpoints(folder).save(1, {"seed": 1}, {"network": behind("backbone.", OWN), "step": 1})
    else:
        torch.save({"state_dict": OWN}, path, _use_new_zipfile_serialization=kind == "zip")
    return path, kind in ("zip", "checkpoint")


def truncated(content, draw):
    return content[: draw(st.integers(0, len(content) - 1))]


def flipped(content, draw):
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        # Half of them where the structure is: in the beginning and in the end.
        last = len(content) - 1
        place = draw(st.integers(0, last) | st.integers(0, 200) | st.integers(last - 200, last))
        damaged[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(damaged)


def overwritten(content, draw):
    start, size = draw(st.integers(0, len(content) - 1)), draw(st.integers(1, 500))
    return content[:start] + draw(st.binary(min_size=1, max_size=3)) * size + content[start + size :]


def moved(content, draw):
    start = draw(st.integers(0, len(content) - 1))
    return content[start:] + content[:start]


@given(
    st.sampled_from(["zip", "old", "safetensors", "checkpoint"]),
    st.sampled_from([truncated, flipped, overwritten, moved]),
    st.data(),
)
def test_damage_is_seen(folder, kind, damage, data):
    path, checksums = of_format(kind, folder)
    content = path.read_bytes()
    damaged = damage(content, data.draw)
    assume(damaged != content)
    path.write_bytes(damaged)
    found = read(path)
    if checksums:
        assert found is None or same(found, OWN)
    else:  # where only numbers are damaged, they are other numbers
        assert found is None or [t.shape for t in found.values()] == [t.shape for t in OWN.values()]
    outcome(lambda path: differences(path, Config()), path)
    if kind == "checkpoint":
        content = outcome(load_checkpoint, path)
        assert content is None or same(content["training"]["network"], behind("backbone.", OWN))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from([torch.zeros(2), torch.zeros(()), torch.float32, torch.Size([1]), np.float32(1), OWN]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "state_dict", "training", "config", "epoch", "optimizer", "format", 0]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(values, st.booleans(), st.sampled_from(["saved.pth", "saved.pt", "torch.safetensors"]))
def test_whatever_else_was_saved_is_read_or_refused(folder, content, old_format, name):
    path = folder / name
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    found = read(path)
    assert found is None or same(found, OWN)
    for action in (load_checkpoint, lambda path: differences(path, Config())):
        outcome(action, path)


def image(content):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, content.decode())
    return buffer.getvalue()


def archive(content, kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("archive/data.pkl", content)
    else:
        with tarfile.open(fileobj=buffer, mode=kind) as file:
            entry = tarfile.TarInfo("data.pkl")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def arrays(content):
    buffer = io.BytesIO()
    np.savez(buffer, conv1=np.zeros(3))
    return buffer.getvalue()


KINDS = {
    "bytes": lambda content: content,
    "pickle": lambda content: pickle.dumps({"model": content, "conv1.weight": np.zeros(3)}),
    "pickle 2": lambda content: pickle.dumps([content, 1.5, {"a": {1}}], protocol=2),
    "json": lambda content: json.dumps({"conv1.weight": content.decode("latin-1")}).encode(),
    "text": lambda content: b"--epochs 3\n" + content,
    "PNG": lambda content: image(b"PNG"),
    "JPEG": lambda content: image(b"JPEG"),
    "arrays": arrays,
    "zip": lambda content: archive(content, "zip"),
    "tar": lambda content: archive(content, "w"),
    "tar.gz": lambda content: archive(content, "w:gz"),
    "header": lambda content: len(content).to_bytes(8, "little") + b"{" + content,
    "tensors": lambda content: save({"conv1.weight": torch.zeros(2), "x" + content.hex(): torch.zeros(1)}),
}


@given(
    st.sampled_from(sorted(KINDS)),
    st.binary(max_size=64),
    st.sampled_from(["a.pth", "b.safetensors", "c.pt", "d"]),
)
def test_files_of_another_kind_are_refused(folder, kind, content, name):
    path = folder / name
    path.write_bytes(KINDS[kind](content))
    assert read(path) is None
    for action in (load_checkpoint, lambda path: differences(path, Config())):
        outcome(action, path)


@given(
    st.dictionaries(
        st.sampled_from(["backbone", "stem", "shortcuts", "image_size", "mean", "std", "seed", "data", "format"]),
        st.text(max_size=8) | st.sampled_from(["strided", "pooled", "224", "resnet18", "imagenet", "small"]),
    )
)
def test_any_metadata_are_compared(folder, metadata):
    path = folder / "metadata.safetensors"
    save_file({"conv1.weight": OWN["conv1.weight"]}, path, metadata)
    said = outcome(lambda path: differences(path, Config()), path)
    own = Config().as_dict()
    assert (said is None) == any(metadata.get(name, own[name]) != own[name] for name in ("stem", "shortcuts"))


@pytest.fixture(scope="module")
def run():
    """A run that is as it began, its options, and what a checkpoint of it holds."""
    config = Config(
        device="cpu", backbone="resnet18", projector="8-8", image_size=8, epochs=2, batch_size=600, knn_every=0
    )
    state = Pretraining(config, Processes())
    return state, config.as_dict(), state.state_dict()


def mutated(tree, draw, depth=0):
    """A nested dict or list with one part of it gone, another thing, or there twice."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return tree
    key = draw(st.sampled_from(keys))
    new = tree.copy()
    inner = tree[key]
    if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 3)):
        new[key] = mutated(inner, draw, depth + 1)
    elif draw(st.booleans()):
        del new[key]
    else:
        strange = [
            None,
            -1,
            3,
            "text",
            [],
            {},
            1.5,
            torch.zeros(3),
            torch.zeros(0),
            [None],
            {"a": 1},
            {0: {"b": 2}},
        ]
        new[key] = draw(st.sampled_from(strange))
    return new


@settings(max_examples=15)
@given(st.data())
def test_a_run_goes_on_from_its_own_state_or_refuses(folder, run, data):
    state, config, training = run
    part = data.draw(st.sampled_from([*training, None]))
    if part is None or not isinstance(training[part], (dict, list)):
        changed = mutated(training, data.draw)
    else:
        changed = {**training, part: mutated(training[part], data.draw)}
    path = folder / "checkpoints" / "step-00000001.pt"
    path.parent.mkdir(exist_ok=True)
    Checkpoints(path.parent).save(1, mutated(config, data.draw) if data.draw(st.booleans()) else config, changed)
    outcome(lambda path: begin_from(path, state, lambda sentence: None), path)
    try:
        state.load_state_dict(load_checkpoint(path)["training"])
    except TrainerError as error:
        assert "\n" not in str(error)
    state.load_state_dict(training)
