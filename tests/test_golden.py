"""The heads at full width against numbers of the released models.

The numbers start from the released models' reduced features, so no backbone is needed. Weights
follow from a formula of their names. The files are not part of the project.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scl.heads import CANetHead, PFENetHead
from scl.model import SCL
from scl.rules import Rules
from scl.vectors import masked_gap, split_regions
from tests.helpers import TinyBackbone

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")

D = "FPM_Decoder."
CANET = {
    "reducer.0": "layer5.0",
    "compare.0": D + "layer55.0",
    "query_branch.1.0": D + "residule1.1",
    "query_branch.2.0": D + "residule1.3",
    "support_branch.1.0": D + "supp_residule1.1",
    "support_branch.2.0": D + "supp_residule1.3",
    "aspp.whole.0": D + "layer6_0.0",
    "aspp.cell.0": D + "layer6_1.0",
    "aspp.merge.0": D + "layer7.0",
    "classify": D + "layer9",
    **{f"aspp.rings.{i}.0": f"{D}layer6_{i + 2}.0" for i in range(3)},
    **{
        f"branches.{i}.{1 + j}.0": f"{D}residule{i + 2}.{1 + 2 * j}" for i in (0, 1) for j in (0, 1)
    },
}
PFENET = {
    "reducers.query.0": "down_query.0",
    "reducers.support.0": "down_supp.0",
    "gather.0": "res1.0",
    "refine.0.0": "res2.0",
    "refine.1.0": "res2.2",
    "classify.0.0": "cls.0",
    "classify.1": "cls.3",
    **{f"query_merge.{i}.0": f"init_merge.{i}.0" for i in range(4)},
    **{f"support_merge.{i}.0": f"supp_init_merge.{i}.0" for i in range(4)},
    **{f"alpha.{i}.0": f"alpha_conv.{i}.0" for i in range(3)},
    **{f"beta.{i}.{j}.0": f"beta_conv.{i}.{2 * j}" for i in range(4) for j in (0, 1)},
    **{f"inner.{i}.0.0": f"inner_cls.{i}.0" for i in range(4)},
    **{f"inner.{i}.1": f"inner_cls.{i}.3" for i in range(4)},
}


def drawn(name: str, shape: torch.Size, salt: str) -> torch.Tensor:
    """The formula of the golden weights, for convolutions."""
    seed = zlib.crc32((salt + name).encode())
    n = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))
    scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.1
    return torch.from_numpy((n * scale).astype(np.float32))


def filled(head: torch.nn.Module, names: dict[str, str], salt: str) -> torch.nn.Module:
    state = {}
    for key, value in head.state_dict().items():
        place, kind = key.rsplit(".", 1)
        state[key] = drawn(f"{names[place]}.{kind}", value.shape, salt)
    head.load_state_dict(state)
    return head.eval()


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k: torch.from_numpy(np.array(file[k])) for k in file.files if "grad" not in k}


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Within 2e-5 of the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def guided(head, features, mask, rules):
    """The released self-guidance from reduced features: v_s, first prediction, vectors."""
    model = SCL(TinyBackbone(), head, rules=rules)
    guide = model.self_guide(features, mask)
    return guide, model.second_pass(features, guide.vectors, guide.first)


@torch.no_grad()
def test_canet_head_gives_the_released_numbers():
    g = golden("scl_canet_1shot")
    head = CANetHead(1536, n=2, d=256, rates=(6, 12, 18), reduce_kernel=3, norm=False)
    filled(head, CANET, "s0:")
    rules = Rules(epsilon=0.0005, regions="truncated", empty="zero")
    guide, second = guided(head, g["supp_layer5"], g["mask_lowres"][:, 0], rules)
    close(guide.v_s, g["v_s"][..., 0, 0])
    close(guide.first.logits, g["supp1_logits_lowres"])
    close(guide.vectors[:, 0], g["v_pri"][..., 0, 0])
    close(guide.vectors[:, 1], g["v_aux"][..., 0, 0])
    close(second.logits, g["supp2_logits_lowres"])
    first = head.query(g["query_layer5"], guide.vectors, torch.zeros(2, 2, 41, 41)).logits
    close(first, g["query_logits_lowres"])
    close(first.softmax(dim=1), g["history1"])
    again = head.query(g["query_layer5"], guide.vectors, g["history1"]).logits
    close(again, g["query_logits_lowres_iter2"])


@torch.no_grad()
def test_canet_vectors_of_a_soft_mask_give_the_released_numbers():
    """Maps of 13 x 11 cells: the released code moves soft, found cells to the auxiliary region."""
    g = golden("scl_canet_1shot")
    mask, predicted = g["ms_mask_lowres"][:, 0], g["ms_supp1_logits_lowres"].argmax(dim=1)
    found, lost = split_regions(mask, predicted, Rules(regions="truncated"))
    assert int(found.sum()) == int(g["ms_n_primary"]) and int(g["ms_n_soft"]) > 0
    assert int(lost.sum()) == int(g["ms_n_auxiliary"])


@torch.no_grad()
def test_pfenet_head_gives_the_released_numbers():
    g = golden("scl_pfenet_1shot")
    head = filled(
        PFENetHead(1536, n=2, d=256, scales=(13, 7, 4, 2), norm=False), PFENET, "s10:"
    ).train()
    rules = Rules(epsilon=0.0005, regions="exact", empty="zero", second_pyramid="first")
    guide, second = guided(head, g["supp_feat_map"], g["mask_lowres"][:, 0], rules)
    close(guide.v_s, g["v_s"].flatten(1))
    close(guide.first.logits, g["supp1_logits_lowres"])
    close(guide.vectors[:, 0], g["v_pri"].flatten(1))
    close(guide.vectors[:, 1], g["v_aux"].flatten(1))
    close(second.logits, g["supp2_logits_lowres"])
    query = head.query(g["query_feat"], guide.vectors, g["prior_mask"])
    close(query.logits, g["query_logits_lowres"])
    for name, prediction in (("supp1", guide.first), ("supp2", second), ("query", query)):
        for scale, logits in enumerate(prediction.inner):
            close(logits, g[f"{name}_inner{scale}_logits"])


@torch.no_grad()
def test_plain_pfenet_is_the_same_head_with_one_vector():
    g = golden("pfenet_1shot")
    head = filled(PFENetHead(1536, n=1, d=256, scales=(13, 7, 4, 2), norm=False), PFENET, "s10:")
    v_s = masked_gap(g["supp_feat_map"], g["mask_lowres"][:, 0], 0.0005)
    close(v_s, g["v_s"].flatten(1))
    out = head.query(g["query_feat"], v_s.unsqueeze(1), g["prior_mask"])
    close(out.logits, g["query_logits_lowres"])
