"""Unpack an archive that might be hostile: plain files, inside one folder, none overwritten.

Our own, because Python's extractall leaves out or renames what is hostile instead of refusing the
archive, and overwrites what is there.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from tqdm.auto import tqdm

from scl.datasets.files import reading
from scl.files import write_atomically

BLOCK = 1 << 18
REMEDY = "fetch it again from its publisher"


class Member(NamedTuple):
    """One entry of an archive; kind: "file", "folder" or "other" (links, devices)."""

    name: str
    size: int
    kind: str
    open: Callable[[], Any]


def unpack(archive: str | Path, folder: str | Path) -> int:
    """Unpack a tar or zip into a folder; returns how many files it wrote.

    Everything is checked before the first file is written: a member with an absolute path, with
    "..", a link or a device refuses the whole archive. A file that is there already stays, and must
    be the same.
    """
    archive, folder = Path(archive), Path(folder)
    with _members(archive) as members:
        places = {member.name: _place(archive, member, folder) for member in members}
        files = [member for member in members if member.kind == "file"]
        if len(places) < len(members):
            raise ValueError(f"{archive} holds two members of one name: {REMEDY}")
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(archive, sum(m.size for m in files if not places[m.name].exists()), folder)
        bar = tqdm(files, desc=f"unpacking {archive.name}", leave=False, disable=None)
        return sum(_write(archive, member, places[member.name]) for member in bar)


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """List the members of an archive, as long as it is open."""
    opened: zipfile.ZipFile | tarfile.TarFile
    with reading(archive, "an archive", REMEDY):
        if zipfile.is_zipfile(archive):
            opened = files = zipfile.ZipFile(archive)
            members = [
                Member(info.filename, info.file_size, _zip_kind(info), partial(files.open, info))
                for info in files.infolist()
            ]
        else:
            opened, members = _tar(archive)
    with opened:
        yield members


def _tar(archive: Path) -> tuple[tarfile.TarFile, list[Member]]:
    opened = tarfile.open(archive, "r:*")
    kinds = ((i, "file" if i.isreg() else "folder" if i.isdir() else "other") for i in opened)
    members = [Member(i.name, i.size, kind, partial(opened.extractfile, i)) for i, kind in kinds]
    while opened.fileobj and opened.fileobj.read(BLOCK):
        pass  # a compressed tar has its one checksum at the very end
    return opened, members


def _zip_kind(info: zipfile.ZipInfo) -> str:
    """Read the kind of a file, which Unix keeps in the upper half of a zip's attributes."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir() or kind == stat.S_IFDIR:
        return "folder"
    return "file" if kind in (0, stat.S_IFREG) else "other"


def _place(archive: Path, member: Member, folder: Path) -> Path:
    """Decide where a member goes; outside the folder, nothing does."""
    path = PurePosixPath(member.name)
    strange = "\\" in member.name or "\0" in member.name or ":" in member.name.split("/")[0]
    if path.is_absolute() or ".." in path.parts or strange or member.kind == "other":
        what = "a link or a device" if member.kind == "other" else "a path that leads elsewhere"
        raise ValueError(f"{archive} holds {member.name!r}, {what}: nothing was unpacked; {REMEDY}")
    place = folder.joinpath(*path.parts)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{archive} would write {member.name!r} outside {folder}, where a link leads: nothing "
            "was unpacked; remove the link"
        )
    return place


def _check_space(archive: Path, needed: int, folder: Path) -> None:
    """Raise unless the files will fit on the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{archive} unpacks to {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free: make room, or choose another folder"
        )


def _write(archive: Path, member: Member, place: Path) -> int:
    """Write one file, whole or not at all; one that is there must be the same."""
    with reading(archive, "an archive", REMEDY):
        source = member.open()
        same = place.is_file() and _same(source, place)
    if place.exists() and not same:
        raise ValueError(
            f"{place} exists and is not what {archive} holds: move it away, nothing is overwritten"
        )

    def copy(temporary: Path) -> None:
        with reading(archive, "an archive", REMEDY), source, open(temporary, "wb") as target:
            shutil.copyfileobj(source, target, BLOCK)

    if not same:
        write_atomically(place, copy)
    return int(not same)


def _same(source: BinaryIO, place: Path) -> bool:
    """Does a file hold what a stream holds?"""
    with open(place, "rb") as file:
        while block := source.read(BLOCK):
            if block != file.read(len(block)):
                return False
        return not file.read(1)
