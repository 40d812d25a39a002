"""Shards as people make them: whatever names, kinds of files and formats; and damaged. No image is lost unsaid."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections import Counter
from itertools import groupby, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_kernels.trainer.data.shard_problems import BESIDE, HIDDEN, LINKS, OTHER_ENDING, SEVERAL, WITHOUT, Problems
from bt_kernels.trainer.data.shards import IMAGE_SUFFIXES, NoReadableShard, ShardStream, read_shard

base_plus_ext = pytest.importorskip("webdataset.tariterators").base_plus_ext
FOLDERS = st.sampled_from(["", "a/", "./", "../", "a/b.c/", ".hidden/", "__MACOSX/", "ü/", "x\ny/", "\udcff/"])
STEMS = st.sampled_from(["0", "1", "scan", "2024", "a b", "", ".", "._1", "n" * 150, "图"])
MIDDLES = st.sampled_from(["", "", "", ".left", ".right", ".0001", ".01.05", ".mp4_1", ".", ".jpg"])
ENDINGS = st.sampled_from([".jpg", ".png", ".JPG", ".JPEG", ".Webp", ".tiff", ".cls", ".json", ".heic", "", "."])
NAMES = st.builds("{}{}{}{}".format, FOLDERS, STEMS, MIDDLES, ENDINGS).filter(lambda name: name.rpartition("/")[2])
OTHER_KINDS = [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
KINDS = st.one_of(st.just(tarfile.REGTYPE), st.sampled_from([tarfile.REGTYPE, *OTHER_KINDS]))
MEMBERS = st.lists(st.tuples(NAMES, KINDS, st.sampled_from([0, 7, 512, 3000])), max_size=14)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
COMPRESSIONS = st.sampled_from([bytes, bytes, gzip.compress, bz2.compress, lzma.compress])
CHOICES = st.sampled_from(["", "", "", "all", "jpg", "left.png", "LEFT.PNG", "heic", "gif"])


def tar(members, layout):
    """A tar of the members, and what is in its files: contents are different in each."""
    written, files = io.BytesIO(), []
    with tarfile.open(fileobj=written, mode="w", format=layout) as archive:
        for number, (name, kind, size) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "0.jpg"
            content = (f"{number} " * size)[:size].encode() if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            files.append((name, kind, content))
    return written.getvalue(), files


def read(folder, content, choice=""):
    path = folder / "shard.tar"
    path.write_bytes(content)
    problems = Problems()
    images = list(read_shard(str(path), problems, choice))
    found, notices = problems.take()
    assert all("\n" not in str(notice).replace(str(path), "") for notice in notices)
    return images, tuple(image.name for image in found), {notice.what: notice.files for notice in notices}


def hidden(name):
    return any(part not in ("", ".", "..") and part[0] == "." for part in name.split("/") if part.strip("."))


def parts(name):
    """The sample and the ending as WebDataset has them; of a name that it has none of, itself."""
    key, ending = base_plus_ext(name)
    return (name, "") if key is None else (key, ending.lower())


def expected(files, choice):
    """The images to be used, and how many files of each kind are not."""
    without = WITHOUT if choice in ("", "all") else OTHER_ENDING
    counts = dict.fromkeys((BESIDE, without, SEVERAL), 0)
    counts[HIDDEN] = sum(hidden(name) for name, kind, _ in files if kind != tarfile.DIRTYPE)
    visible = [file for file in files if not hidden(file[0]) and file[1] != tarfile.DIRTYPE]
    counts[LINKS] = sum(kind != tarfile.REGTYPE for _, kind, _ in visible)
    regular = [(name, content) for name, kind, content in visible if kind == tarfile.REGTYPE]
    taken = []
    for _, sample in groupby(regular, key=lambda file: parts(file[0])[0]):
        sample = list(sample)
        if choice in ("", "all"):
            images = [file for file in sample if parts(file[0])[1].rpartition(".")[2] in IMAGE_SUFFIXES]
        else:
            images = [file for file in sample if parts(file[0])[1] == choice.lower()]
        plain = [file for file in images if "." not in parts(file[0])[1]] if choice == "" else []
        used = plain or images
        counts[BESIDE] += len(images) - len(used)
        counts[without] += not used
        counts[SEVERAL] += len(used) if len(used) > 1 and choice != "all" else 0
        taken += used
    return taken, {kind: count for kind, count in counts.items() if count}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@given(MEMBERS, FORMATS, COMPRESSIONS, CHOICES)
def test_every_image_is_used_or_counted(folder, members, layout, compress, choice):
    content, files = tar(members, layout)
    images, names, found = read(folder, compress(content), choice)
    taken, counts = expected(files, choice)
    assert sorted(images) == sorted(taken)
    assert {kind: found.get(kind) for kind in counts} == counts
    assert names == (() if taken else ("shard.tar",))


@given(MEMBERS, FORMATS, COMPRESSIONS, st.floats(0, 1, exclude_max=True))
def test_what_a_cut_shard_lacks_is_said(folder, members, layout, compress, where):
    content, files = tar(members, layout)
    packed = compress(content)
    cut = packed[: int(where * len(packed))]
    images, names, _ = read(folder, cut)
    # What a sample lacks may make another of its images the one that is used; no image is made up.
    assert not Counter(images) - Counter(expected(files, "all")[0])
    only_zeros = compress is bytes and cut and not content[len(cut) :].strip(b"\0")
    assert names == ("shard.tar",) or only_zeros


@given(MEMBERS, FORMATS, COMPRESSIONS, st.floats(0, 1), st.binary(min_size=1, max_size=600))
def test_bytes_that_changed_are_no_traceback(folder, members, layout, compress, where, damage):
    content, files = tar(members, layout)
    packed = bytearray(compress(content))
    start = int(where * len(packed))
    packed[start : start + len(damage)] = damage
    images, names, _ = read(folder, bytes(packed))
    if len(images) < len(expected(files, "")[0]) and not names:
        # Without a compression's checksum a field of a header may have changed into another that is valid.
        assert compress is bytes


@settings(max_examples=15)
@given(st.lists(MEMBERS, min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 3))
def test_an_epoch_of_all_shares_has_every_image_once(folder, shards, shares, epoch):
    shares = min(shares, len(shards))
    paths, whole = [], []
    for number, members in enumerate(shards):
        content, files = tar(members, tarfile.PAX_FORMAT)
        paths.append(str(folder / f"epoch-{number}.tar"))
        (folder / f"epoch-{number}.tar").write_bytes(content)
        whole += [(f"epoch-{number}.tar/{name}", content) for name, content in expected(files, "")[0]]
    dealt = {}
    for share in range(shares):
        images = ShardStream(paths, 0, share, shares).images(epoch)
        if not whole:
            with pytest.raises(NoReadableShard):
                next(images)
            continue
        own = list(takewhile(lambda image: image.key[2] == 0, images))  # the first turn
        assert len({image.key for image in own}) == len(own)
        dealt |= {image.key: (image.name, image.encoded) for image in own}  # a share without images gets others'
    assert sorted(dealt.values()) == sorted(whole)
