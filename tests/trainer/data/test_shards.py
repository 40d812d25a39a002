import gzip
import io
import random
import sys
import tarfile
from contextlib import closing
from itertools import islice, pairwise, takewhile

import pytest
import torch

from bt_kernels.trainer.data import open_training_data, shards
from bt_kernels.trainer.data.shards import Problems, ShardStream, find_shards, read_shard
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from tests.support.trainer.image_data import encoded, needs_webdataset, photograph_config, write_shard

CPU = torch.device("cpu")
pytestmark = needs_webdataset


@pytest.fixture
def folder(tmp_path):
    """Four shards of 5, 6, 7 and 8 images."""
    first = 0
    for shard in range(4):
        write_shard(tmp_path / f"train-{shard}.tar", range(first, first + 5 + shard))
        first += 5 + shard
    return tmp_path


def shard_config(folder, **options):
    defaults = {"data": "webdataset", "shards": "train-{0..3}.tar", "epoch_images": 24}
    return photograph_config(folder, **{**defaults, **options})


def steps(config, first=0, number=6, processes=Processes()):
    with closing(open_training_data(config, processes, CPU).views(first)) as views:
        return list(islice(views, number))


def stacked(taken):
    return torch.stack([torch.stack([step.a, step.b]) for step in taken])


def names(paths, epoch, number, share=0, shares=1):
    return [image.name for image in islice(ShardStream(paths, 0, share, shares).images(epoch), number)]


@pytest.fixture
def paths(folder):
    return sorted(str(path) for path in folder.glob("*.tar"))


def test_an_epoch_is_nominal(folder):
    data = open_training_data(shard_config(folder), Processes(), CPU)
    assert (data.images, data.steps_per_epoch) == (24, 6)
    assert data.description == f"24 unlabelled images an epoch, from 4 shards, first {folder}/train-0.tar"
    (taken,) = steps(shard_config(folder), number=1)
    assert taken.a.shape == taken.b.shape == (4, 3, 12, 12) and taken.a.dtype == torch.float32
    assert not torch.equal(taken.a, taken.b)


def test_the_shares_of_an_epoch_have_every_image_once_in_an_order_of_their_own(paths):
    assert len(set(names(paths, 0, 26))) == 26
    assert set(names(paths, 0, 26)) == set(names(paths, 1, 26))
    assert names(paths, 0, 26) != names(paths, 1, 26)
    dealt = []
    for share in range(3):
        images = islice(ShardStream(paths, 0, share, 3).images(0), 30)
        dealt += [image.name for image in takewhile(lambda image: image.key[2] == 0, images)]  # the first turn
    assert sorted(dealt) == sorted(names(paths, 0, 26))


def test_every_epoch_deals_the_shards_anew(paths):
    hands = {frozenset(name.partition("/")[0] for name in names(paths, epoch, 5, 0, 4)) for epoch in range(8)}
    assert len(hands) > 1


def test_a_share_whose_shards_are_all_damaged_gets_others(paths):
    for path in paths[:3]:
        with open(path, "wb"):
            pass
    for share in range(4):
        assert {name.partition("/")[0] for name in names(paths, 0, 20, share, 4)} == {"train-3.tar"}


def test_the_generator_decides_about_the_order():
    first, again, other = (list(shards.shuffled(iter(range(300)), random.Random(seed))) for seed in (0, 0, 1))
    assert first == again != other and sorted(first) == sorted(other) == list(range(300))
    assert max(first[:50]) > 150  # two are read for each that is given out


def test_images_are_shuffled_over_shards(paths, monkeypatch):
    monkeypatch.setattr(shards, "SHUFFLED", 12)
    monkeypatch.setattr(shards, "SHUFFLED_AT_FIRST", 4)
    taken = names(paths, 0, 26)
    assert len(set(taken)) == 26
    switches = sum(a.partition("/")[0] != b.partition("/")[0] for a, b in pairwise(taken))
    assert switches > 3  # with nothing shuffled but the shards, they change thrice
    of_one = [image for image in taken if image.startswith("train-3")]
    assert of_one != sorted(of_one)


@pytest.mark.parametrize(
    "workers, augment_on", [(0, "loader"), (1, "device"), pytest.param(2, "loader", marks=pytest.mark.long)]
)
def test_a_later_start_goes_on_as_without_a_break(folder, workers, augment_on):
    config = shard_config(folder, workers=workers, augment_on=augment_on)
    before = torch.get_rng_state()
    whole = stacked(steps(config, number=14))
    for first in (1, 6, 11):
        assert torch.equal(stacked(steps(config, first, 14 - first)), whole[first:])
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(whole[:6], whole[6:12])


def test_one_worker_gives_what_the_process_itself_gives(folder):
    assert torch.equal(stacked(steps(shard_config(folder))), stacked(steps(shard_config(folder, workers=1))))


def test_ranks_share_the_shards(folder, monkeypatch):
    seen = {}
    original = shards.read_shard
    for rank in range(2):
        seen[rank] = set()

        def noting(path, *arguments, rank=rank):
            seen[rank].add(path)
            return original(path, *arguments)

        monkeypatch.setattr(shards, "read_shard", noting)
        taken = steps(shard_config(folder), number=2, processes=Processes(rank=rank, size=2))
        assert all(len(step.a) == 2 for step in taken)
    assert seen[0] and seen[1] and not seen[0] & seen[1]


def test_no_more_workers_than_shards(folder):
    three, two = (shard_config(folder, shards="train-{0..1}.tar", workers=workers) for workers in (3, 2))
    assert torch.equal(stacked(steps(three)), stacked(steps(two)))


def read(path, ending=""):
    problems = Problems()
    samples = list(read_shard(str(path), problems, ending))
    found, notices = problems.take()
    assert all(f"/{image.name} {image.reason}" in " ".join(map(str, notices)) for image in found)
    return samples, tuple(image.name for image in found), tuple(map(str, notices))


def test_a_whole_shard_has_no_problems(folder):
    samples, problems, sentences = read(folder / "train-0.tar")
    assert samples == [(f"{number:04}.png", encoded(number)) for number in range(5)]
    assert (problems, sentences) == ((), ())


def test_a_compressed_shard_is_read(tmp_path, folder):
    path = tmp_path / "packed.tar.gz"
    path.write_bytes(gzip.compress((folder / "train-0.tar").read_bytes()))
    samples, problems, _ = read(path)
    assert len(samples) == 5 and problems == ()


def test_a_compressed_shard_in_parts_is_read_and_one_without_its_end_is_said(tmp_path, folder):
    content = (folder / "train-0.tar").read_bytes()
    path = tmp_path / "packed.tar.gz"
    path.write_bytes(gzip.compress(content[:3000]) + gzip.compress(content[3000:]))  # as bgzip and cat write it
    assert [len(part) for part in read(path)] == [5, 0, 0]
    path.write_bytes(gzip.compress(cut_between_files(content)))
    samples, _, (sentence,) = read(path)
    assert len(samples) == 2 and sentence.startswith(f"{path} ends early (no end of the archive);")


def cut_in_an_image(content):
    return content[: 3 * 2048 + 700]


def cut_between_files(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return content[: tar.getmembers()[4].offset]


def damaged_header(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        offset = tar.getmembers()[4].offset
    return content[:offset] + b"x" * 512 + content[offset + 512 :] + bytes(20480)


@pytest.mark.parametrize("damage", [cut_in_an_image, cut_between_files, damaged_header])
def test_a_shard_that_ends_early_gives_what_it_has(folder, damage):
    path = folder / "train-0.tar"
    path.write_bytes(damage(path.read_bytes()))
    samples, problems, (sentence,) = read(path)
    assert 0 < len(samples) < 5 and all(sample == (f"{n:04}.png", encoded(n)) for n, sample in enumerate(samples))
    assert problems == ("train-0.tar",)
    assert sentence.startswith(f"{path} ends early (") and sentence.endswith("); the rest of it is left out")
    assert "\n" not in sentence and "@" not in sentence


def test_unreadable_shards_and_samples_without_an_image_are_named(tmp_path):
    (tmp_path / "none.tar").write_bytes(b"no tar" * 1000)
    assert read(tmp_path / "none.tar")[:2] == ([], ("none.tar",))
    (tmp_path / "empty.tar").write_bytes(b"")
    assert read(tmp_path / "empty.tar")[:2] == ([], ("empty.tar",))
    assert read(tmp_path / "missing.tar")[2] == (
        f"{tmp_path / 'missing.tar'} cannot be read (No such file or directory); it is left out",
    )
    write_shard(tmp_path / "void.tar", [])
    assert read(tmp_path / "void.tar")[2] == (f"{tmp_path / 'void.tar'} holds no images; it is left out",)
    write_shard(tmp_path / "labels.tar", [0, 1], also=[("0002.cls", b"1"), ("0003.txt", b"a cat")])
    samples, problems, sentences = read(tmp_path / "labels.tar")
    assert len(samples) == 2
    assert problems == ()
    assert sentences == (
        f"{tmp_path / 'labels.tar'}: samples without an image are left out: 2, such as 0002.cls; --shard-image "
        "names the ending of other images",
    )


def named(*names):
    """A file of an image, or a label's, under each name; images by their number."""
    endings = ("png", "jpg", "jpeg", "heic")
    return [(name, encoded(n) if name.lower().endswith(endings) else b"3") for n, name in enumerate(names)]


KINDS = {
    "several": ": images whose names are the same up to the first dot are all used, each by itself: ",
    "beside": ": images beside their sample's own are left out: ",
    "without": ": samples without an image are left out: ",
    "other ending": ": samples without an image of the ending that --shard-image names are left out: ",
    "scattered": ": samples whose files do not follow each other are taken for several: ",
}
SCANS = tuple(f"scan.{number:04}.png" for number in range(64))
DEPTH = ("0.depth.png", "0.jpg", "0.cls", "1.JPG", "1.mask.png", "2.rgb.png", "2.depth.png")


@pytest.mark.parametrize(
    "names, ending, taken, noted",
    [
        (SCANS, "", SCANS, {"several": 64}),
        (("clip.mp4_00001.jpg", "clip.mp4_00002.jpg"), "", (0, 1), {"several": 2}),
        (("0001.left.png", "0001.right.png", "2.left.png", "2.right.png"), "", (0, 1, 2, 3), {"several": 4}),
        (("2024.01.05.jpg", "2024.01.06.jpg", "2025.01.01.JPEG"), "", (0, 1, 2), {"several": 2}),
        (DEPTH, "", (1, 3, 5, 6), {"beside": 2, "several": 2}),
        (DEPTH, "jpg", (1, 3), {"other ending": 1}),
        (DEPTH, "Depth.PNG", (0, 6), {"other ending": 1}),
        (DEPTH, "all", (0, 1, 3, 4, 5, 6), {}),
        (("0.heic", "1.heic"), "", (), {"without": 2}),
        (("0.heic", "1.heic"), "heic", (0, 1), {}),
        (("0.jpg", "0.jpg"), "", (0, 1), {"several": 2}),
        (("0.jpg", "1.jpg", "0.depth.png"), "", (0, 1, 2), {"scattered": 1}),
        (("v1.0/a.b/0.jpg", "v1.0/a.b/1.jpg", "v2/0.jpg", "./3.jpg"), "", (0, 1, 2, 3), {}),
        (("0", "1.jpg", "README.md"), "", (1,), {"without": 2}),
    ],
)
def test_every_image_is_used_or_counted(tmp_path, names, ending, taken, noted):
    files = named(*names)
    samples, _, sentences = read(write_shard(tmp_path / "a.tar", (), also=files), ending)
    expected = files if taken is SCANS else [files[number] for number in taken]
    assert sorted(samples) == sorted(expected)
    counted = {kind: int(said.split(text)[1].split(",")[0]) for said in sentences
               for kind, text in KINDS.items() if text in said}  # fmt: skip
    assert counted == noted


def test_a_large_sample_is_not_kept_in_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHUFFLED", 4)
    files = named(*[f"scan.{number}.png" for number in range(6)], "scan.png", "scan.6.png")
    samples, _, (sentence,) = read(write_shard(tmp_path / "a.tar", (), also=files))
    assert samples == files and ": 8, such as scan.6.png" in sentence


def test_hidden_files_and_links_are_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("a", tarfile.DIRTYPE), ("a/0.jpg", tarfile.SYMTYPE), ("a/1.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a/2.jpg"
            tar.addfile(info)
        for name in ("a/._2.jpg", "a/2.jpg", ".cache/3.jpg", "._a"):
            info = tarfile.TarInfo(name)
            info.size = len(encoded(2))
            tar.addfile(info, io.BytesIO(encoded(2)))
    samples, _, sentences = read(tmp_path / "a.tar")
    assert samples == [("a/2.jpg", encoded(2))]
    assert sentences == (
        f"{tmp_path / 'a.tar'}: links and special files are left out: 2, such as a/0.jpg; tar --dereference "
        "--hard-dereference stores files in their place",
        f"{tmp_path / 'a.tar'}: files whose names begin with a dot are left out: 3, such as a/._2.jpg",
    )


def test_zeros_behind_a_shard_are_no_damage(tmp_path, folder):
    content = (folder / "train-0.tar").read_bytes()
    (folder / "train-0.tar").write_bytes(content + bytes(1 << 20))  # as tar --blocking-factor 2048 writes them
    assert read(folder / "train-0.tar")[1:] == ((), ())
    (folder / "train-0.tar").write_bytes(content + content)  # as cat writes two of them
    samples, _, (sentence,) = read(folder / "train-0.tar")
    assert len(samples) == 5 and "ends early" in sentence
    (folder / "packed.tar").write_bytes(gzip.compress(content))  # whatever it is called
    assert read(folder / "packed.tar")[1:] == ((), ())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_kind_of_files_that_are_left_out_is_said_once_and_added_up(tmp_path, capsys, workers):
    for shard in range(4):
        write_shard(tmp_path / f"train-{shard}.tar", (), also=named(*DEPTH[:5], *DEPTH[:1]))
    config = shard_config(tmp_path, workers=workers, epoch_images=8)
    assert len(steps(config, number=6)) == 6
    lines = capsys.readouterr().err.splitlines()
    for kind, count in (("beside", 2), ("scattered", 1)):
        first, last = (line for line in lines if KINDS[kind].strip(": ") in line)
        assert first.startswith(f"warning: {tmp_path}/train-") and f"{KINDS[kind]}{count}, such as" in first
        assert last == f"warning: {KINDS[kind].strip(': ')}: {4 * count} in 4 of the shards that were read"
    with pytest.raises(TrainerError, match=r"^none of the 4 shards gave an image: .*--shard-image names"):
        steps(shard_config(tmp_path, workers=workers, epoch_images=8, shard_image="gif"), number=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_past_damaged_shards_and_warns_once(folder, capsys, workers):
    (folder / "train-1.tar").write_bytes(b"")
    damaged = folder / "train-2.tar"
    damaged.write_bytes(cut_in_an_image(damaged.read_bytes()))
    config = shard_config(folder, workers=workers)
    taken = steps(config, number=24)
    found = {image.name for step in taken for image in step.unreadable}
    assert found == {"train-1.tar", "train-2.tar"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert {line.partition(".tar")[0] for line in lines} == {f"warning: {folder}/train-{n}" for n in (1, 2)}
    later = steps(config, first=5, number=19)
    assert torch.equal(stacked(later), stacked(taken)[5:])
    assert [step.unreadable for step in later] == [step.unreadable for step in taken[5:]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_replaced_and_does_not_shift_the_others(folder, workers):
    path = folder / "train-3.tar"
    good = stacked(steps(shard_config(folder, workers=workers), number=12))
    content = path.read_bytes()
    path.write_bytes(content.replace(encoded(20), b"x" * len(encoded(20))))
    taken = steps(shard_config(folder, workers=workers), number=12)
    found = [image.name for step in taken for image in step.unreadable]
    assert found and set(found) == {"train-3.tar/0020.png"}
    different = (stacked(taken) != good).flatten(3).any(dim=3)
    assert different.sum() == 2 * len(found)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_readable_shard_is_an_error(folder, workers):
    for path in folder.glob("*.tar"):
        path.write_bytes(b"nothing")
    with pytest.raises(TrainerError, match=r"^none of the 4 shards gave an image: .*train-\d.tar cannot be read"):
        steps(shard_config(folder, workers=workers))


def test_shards_are_named_by_braces_and_wildcards(folder):
    numbers = {"train-{0..3}.tar": "0123", "*.tar": "0123", "train-[12].tar": "12", "train-{3,?}.tar": "3012"}
    for pattern, expected in numbers.items():
        expected = [f"train-{number}.tar" for number in expected]
        assert find_shards(pattern, str(folder)) == expected
        assert find_shards(f"{folder}/{pattern}", "elsewhere") == [str(folder / name) for name in expected]
    (folder / "train-[12].tar").touch()
    assert find_shards("train-[12].tar", str(folder)) == ["train-[12].tar"]


def refusal(folder, processes=Processes(), **options):
    with pytest.raises(TrainerError) as error:
        open_training_data(shard_config(folder, **options), processes, CPU)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_options_are_refused(folder, monkeypatch):
    missing = f"there is no shard {folder / 'train-4.tar'}; check --shards and --data-dir"
    assert refusal(folder, shards="train-{0..9}.tar") == missing
    missing = f"there is no shard {folder / 'val-*.tar'}; check --shards and --data-dir"
    assert refusal(folder, shards="val-*.tar") == missing
    assert refusal(folder, shards="train-{0..3.tar").startswith("--shards train-{0..3.tar is no pattern")
    assert refusal(folder, shards="${THERE}-*.tar").startswith("--shards ${THERE}-*.tar is no pattern")
    assert refusal(folder, Processes(size=2), shards="train-0.tar") == (
        "--shards train-0.tar names fewer shards (1) than there are processes (2), each of which needs one; "
        "start fewer processes or split the shards"
    )
    assert (
        refusal(folder, batch_size=25) == "--batch-size 25 is more than the 24 training images; lower --batch-size"
    )
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    assert refusal(folder).endswith("pip install webdataset")
