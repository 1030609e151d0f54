"""Two hundred broken trees: each is read right, or refused by a ValueError that names the file.

What may a change of bytes do without being noticed? Masks in PNG and in SBD's .mat carry
checksums, so a change of theirs is refused or changes no label. A photograph may look different,
of the same size. A changed list is another list: what it still names is read as before. COCO's JSON
has no checksum, so a changed digit may be another outline or category: then the objects of one
annotation (at most two items: the class it left and the class it joined) may differ, and no other.
Only a record of checksums tells of these, and it tells of every one.
"""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from scl.datasets.coco import Coco20i
from scl.datasets.fetch.sums import check_sums, write_sums
from scl.datasets.fetch.verify import verify
from scl.datasets.folder import ClassFolder
from scl.datasets.fss import FSS1000
from scl.datasets.pascal import Pascal5i, open_val_only
from tests.helpers.trees import TREES

MUTANTS = 200
ENDINGS = {".txt", ".json", ".png", ".mat", ".jpg"}


def data_sets(kind: str, root: Path) -> list:
    """Every split of a tiny tree that it can fill."""
    if kind == "folder":
        return [ClassFolder(root)]
    if kind == "fss":
        return [FSS1000(root, split) for split in ("train", "validation", "test")]
    build = {"pascal": Pascal5i, "pascal-val": open_val_only, "coco": Coco20i}[kind]
    return [build(root, 0, split) for split in ("train", "test")]


def read_all(kind: str, root: Path) -> dict:
    """Every item: (file, class) to (image, mask), file names relative to the tree."""
    items = {}
    for data in data_sets(kind, root):
        for index, label in enumerate(data.labels):
            (file,) = data.sources(index)
            items[Path(file).relative_to(root).as_posix(), data.classes[label]] = data[index]
    return items


def flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 3))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def overwrite(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = dice.randrange(len(data))
    data[start : start + 16] = dice.randbytes(16)
    path.write_bytes(data)


def remove(path: Path, dice: random.Random) -> None:
    path.unlink()


def rename(path: Path, dice: random.Random) -> None:
    path.rename(path.with_name(dice.choice("abc") + path.name))


def mutate(root: Path, dice: random.Random) -> Path:
    """Change one file of the tree; formats are as likely as each other. Returns which."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    ending = dice.choice(sorted({path.suffix for path in files} & ENDINGS))
    path = dice.choice([path for path in files if path.suffix == ending])
    dice.choice((flip, flip, flip, overwrite, truncate, remove, rename))(path, dice)
    return path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """For each kind: the tree, everything read from it, and its checksums."""
    made = {}
    for kind, write in TREES.items():
        root = write(tmp_path_factory.mktemp("pristine") / kind)
        sums = root.with_suffix(".sums")
        write_sums(root, sums)
        made[kind] = root, read_all(kind, root), sums
    return made


def judge(kind: str, root: Path, path: Path, good: dict, listed: list[str]) -> str:
    """Read a mutated tree; "refused" or "read", and an AssertionError for anything else.

    listed: what the changed file named, if it is a list: a refusal may name one of those files.
    """
    try:
        found = read_all(kind, root)
    except ValueError as refusal:
        # One of a photograph and its mask stands for both; for a photograph gone, its class.
        named = [str(path.with_suffix(ending)) for ending in (path.suffix, ".jpg", ".png")] + listed
        named += [str(path.with_name(letter + path.name)) for letter in "abc"]
        named += [f"class {path.parent.name!r} has"] if kind in ("fss", "folder") else []
        assert any(name in str(refusal) for name in named), f"{path}: {refusal}"
        return "refused"
    changed = set()
    for item, (image, mask) in found.items():
        assert set(np.unique(mask)) <= {0, 1, 255} and (mask == 1).any()
        assert image.shape == (*mask.shape, 3) and image.dtype == mask.dtype == np.uint8
        if item not in good or not np.array_equal(mask, good[item][1]):
            changed.add(item)
        elif path.suffix != ".jpg" or not path.match(item[0]):
            assert np.array_equal(image, good[item][0]), item
    lost = set(good) - set(found)
    check_changes(path, path.relative_to(root).as_posix(), changed | lost, lost)
    return "read"


def check_changes(path: Path, name: str, changed: set, lost: set) -> None:
    """What may differ after a change of this file, when it was read at all."""
    if path.suffix in (".png", ".mat"):
        assert not changed, "a mask's change must be refused or change nothing"
    elif path.suffix == ".json":
        assert len(changed) <= 2 and len({file for file, _ in changed}) <= 2
    elif path.suffix == ".txt":
        assert changed == lost, "a list may lose items, and change none"
    else:
        assert changed == lost == {item for item in lost if item[0] == name}, "its own item alone"


@pytest.mark.parametrize("kind", sorted(TREES))
def test_a_mutated_tree_is_read_right_or_refused_by_name(tmp_path, pristine, kind):
    source, good, sums = pristine[kind]
    outcomes = []
    for seed in range(MUTANTS // len(TREES)):
        dice = random.Random(seed)
        root = tmp_path / f"{kind}-{seed}"
        shutil.copytree(source, root)
        path = mutate(root, dice)
        before = (source / path.relative_to(root)).read_bytes()
        listed = (
            [path.name, str(path.parent), *before.decode().split()] if path.suffix == ".txt" else []
        )
        outcome = judge(kind, root, path, good, listed)
        same = path.is_file() and path.read_bytes() == before
        assert same or check_sums(root, sums), "checksums tell of every change"
        report = verify(kind, root, 0, subset=True)
        # A subset of FSS-1000 may lack a list; which it should have cannot be known.
        unlisted = kind == "fss" and path.suffix == ".txt" and not path.is_file()
        assert outcome == "read" or unlisted or not report.ok, f"{seed}: verify saw nothing"
        shutil.rmtree(root)
        outcomes.append(outcome)
    assert min(outcomes.count("read"), outcomes.count("refused")) >= 3, "the mutants try both"
