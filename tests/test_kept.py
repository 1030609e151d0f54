"""Heads are kept with the stored cells, and a foreign file is refused."""

import pytest

from scl.study import cells as runs
from scl.study.kept import kept_model


def test_heads_are_kept_and_read_again(stored):
    kept = stored / "heads"
    assert {p.stem for p in kept.iterdir()} == {f"toyshop-canet-{v}-f0-s0" for v in ("scl", "aux")}
    model = kept_model("aux", 0, backbone=runs.backbone(), results=stored, kept=kept)
    assert model.guidance.vectors == ("aux",) and not model.training
    with pytest.raises(ValueError, match="no head of toyshop-canet-cosine-f0-s0 is kept"):
        kept_model("cosine", 0, results=stored, kept=kept)
    with pytest.raises(ValueError, match="no head of toyshop-canet-all-f0-s0 is kept"):
        kept_model("all", 0, results=stored, kept=kept)
    path = kept / "toyshop-canet-aux-f0-s0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="differs from its record"):
        kept_model("aux", 0, backbone=runs.backbone(), results=stored, kept=kept)
