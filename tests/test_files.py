"""Files are whole or not there, several together, and readable by whom the user lets read."""

import os
from pathlib import Path

import pytest
import torch

from scl.files import write_atomically, write_together
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import save_checkpoint


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_checkpoints_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        model = build_model(ModelConfig(d=8), 3)
        path = save_checkpoint(model, ModelConfig(d=8), tmp_path / "head", 3)
    finally:
        os.umask(before)
    for file in (path, path.with_suffix(".json")):
        assert file.stat().st_mode & 0o777 == 0o666 & ~mask


def test_several_files_are_all_there_or_none(tmp_path):
    def full(path: Path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    (tmp_path / "b").write_text("before")
    with pytest.raises(ValueError, match="cannot write .*b .No space left on device.: choose"):
        write_together({tmp_path / "a": lambda p: p.write_text("a"), tmp_path / "b": full})
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "before"
    write_together({tmp_path / n: lambda p: torch.save(1, p) for n in ("a", "b")})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_no_error_of_files_comes_through(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", lambda path: 1 / 0)
    assert not list(tmp_path.iterdir())
