"""Heads are shipped with the stored experiments, and a foreign file is refused."""

import pytest

from scl.study.compute import backbone
from scl.study.shipped_heads import shipped_model


def test_heads_are_shipped_and_read_again(stored):
    heads = stored / "heads"
    assert {p.stem for p in heads.iterdir()} == {f"toyshop-canet-{v}-f0-s0" for v in ("scl", "aux")}
    model = shipped_model("aux", 0, backbone=backbone(), results=stored, heads=heads)
    assert model.guidance.vectors == ("aux",) and not model.training
    with pytest.raises(ValueError, match="no head of toyshop-canet-cosine-f0-s0 is shipped"):
        shipped_model("cosine", 0, results=stored, heads=heads)
    with pytest.raises(ValueError, match="no head of toyshop-canet-all-f0-s0 is shipped"):
        shipped_model("all", 0, results=stored, heads=heads)
    path = heads / "toyshop-canet-aux-f0-s0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="differs from its record"):
        shipped_model("aux", 0, backbone=backbone(), results=stored, heads=heads)
