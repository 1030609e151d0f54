"""Fetch the archives of the benchmarks, continue after a cut, check and unpack them.

Our own, because neither urllib nor torchvision continues a download of gigabytes where it broke.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tqdm.auto import tqdm

from scl.datasets.fetch.unpack import unpack
from scl.datasets.files import reading
from scl.files import write_text

BLOCK = 1 << 18
ALGORITHMS = {32: "md5", 64: "sha256"}  # by the number of hexadecimal digits


@dataclass(frozen=True)
class Archive:
    """A published file: its name, where it is fetched from, its MD5 or SHA-256."""

    name: str
    url: str
    checksum: str


def pascal_archives() -> tuple[Archive, ...]:
    """List VOC 2012 and SBD, as torchvision knows them."""
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    voc = DATASET_YEAR_DICT["2012"]
    return (
        Archive(voc["filename"], voc["url"], voc["md5"]),
        Archive(SBDataset.filename, SBDataset.url, SBDataset.md5),
    )


COCO_URL = "http://images.cocodataset.org/{}/{}"
# COCO publishes no checksums; these MD5 are those that other libraries check its archives by.
COCO_MD5 = {
    "train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
    "val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    "annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
    "train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
    "annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
}


def coco_archives(year: str = "2014") -> tuple[Archive, ...]:
    """List COCO's images and annotations of a year."""
    return tuple(
        Archive(name, COCO_URL.format("annotations" if "annot" in name else "zips", name), md5)
        for name, md5 in COCO_MD5.items()
        if year in name
    )


def fetch_pascal(root: Path, given: Sequence[Path] = (), year: str = "") -> None:
    """Fetch VOC 2012 and SBD into a folder."""
    obtain(pascal_archives(), root, given)


def fetch_coco(root: Path, given: Sequence[Path] = (), year: str = "2014") -> None:
    """Fetch a year of COCO into a folder."""
    obtain(coco_archives(year), root, given)


def fetch_fss(root: Path, given: Sequence[Path] = (), year: str = "") -> None:
    """Unpack FSS-1000, whose page no program may read and whose archive has no checksum."""
    if not given:
        raise ValueError("FSS-1000 is fetched with a browser: pass its file with --archive")
    for archive in given:
        unpack(archive, root)


def obtain(archives: Sequence[Archive], root: Path, given: Sequence[Path] = ()) -> None:
    """Unpack archives into root, fetching those that are neither given nor there already.

    given: files fetched by hand, known by their names. An archive that was unpacked before leaves
    a note in root, and is not touched again.
    """
    strangers = {path.name for path in given} - {archive.name for archive in archives}
    if strangers:
        names = ", ".join(archive.name for archive in archives)
        raise ValueError(f"{min(strangers)} is none of the archives needed: expected {names}")
    for archive in archives:
        done = root / f".{archive.name}.unpacked"
        if done.is_file():
            continue
        local = next((path for path in given if path.name == archive.name), None)
        if local is None:
            local = fetch(archive.url, root / archive.name, archive.checksum)
        else:
            check(local, archive.checksum)
        unpack(local, root)
        write_text(done, f"{archive.checksum}  {archive.name}\n")


def fetch(url: str, target: Path, checksum: str, tries: int = 4) -> Path:
    """Fetch url to target, whole and of that checksum (MD5 or SHA-256), or leave no target.

    What arrived is kept beside it as NAME.part and continued, now or by a later call; a part whose
    checksum is wrong when complete is removed. A file that exists is checked, never overwritten.
    """
    target = Path(target)
    if target.exists():
        check(target, checksum)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    trouble = _complete(url, part, tries)
    if trouble:
        raise ValueError(
            f"{url} could not be fetched to {target} ({trouble}): run it again to continue, or "
            "fetch it with a browser and pass the file with --archive"
        )
    try:
        check(part, checksum)
    except ValueError:
        part.unlink()  # continuing it would not mend it
        raise
    os.replace(part, target)
    return target


def _complete(url: str, part: Path, tries: int) -> str | None:
    """Bring the part to its full length; return the last reason why that failed."""
    trouble = "the connection ended early"
    for _ in range(tries):
        try:
            if _continue(url, part):
                return None
        except urllib.error.HTTPError as error:
            trouble = f"the server answers {error.code} {error.reason}"
            if error.code < 500:  # asking again would change nothing
                return trouble
        except (OSError, HTTPException, ValueError) as error:
            trouble = str(error) or type(error).__name__
    return trouble


def _continue(url: str, part: Path) -> bool:
    """Append to the part what it lacks; true when it has all the server has."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send: the part is complete, or not of this file
            raise
        whole = re.search(r"/(\d+)$", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == have:
            return True
        part.unlink()
        return False
    with answer:
        continued = f"bytes {have}-" in answer.headers.get("Content-Range", "")
        have = have if continued and answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(
            desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None
        )
        with open(part, "ab" if have else "wb") as file, bar:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or part.stat().st_size == total


def check(path: Path, checksum: str) -> None:
    """Raise unless a file has this MD5 (32 digits) or SHA-256 (64)."""
    if len(checksum) not in ALGORITHMS:
        raise ValueError(f"checksum {checksum!r}: expected 32 (MD5) or 64 (SHA-256) digits")
    found = digest(path, ALGORITHMS[len(checksum)])
    if found != checksum.lower():
        raise ValueError(
            f"{path} has the checksum {found}: expected {checksum}; it is broken or another file: "
            "remove it and fetch it again"
        )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Compute the checksum of a file, in hexadecimal digits."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with reading(path, "a file"), open(path, "rb") as file:
        while block := file.read(BLOCK):
            state.update(block)
    return state.hexdigest()
