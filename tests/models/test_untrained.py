"""Heads without training, against the cosines they are made of."""

import torch

from scl.method.vectors import cosine_map


def test_a_cosine_guide_takes_the_larger_cosine_of_its_stage(world):
    _, _, banks, guides, _, _ = world
    mid = banks["canet"].maps.mid[:2]
    for name, channels in (("3 (40", slice(0, 40)), ("5 (112", slice(40, 152))):
        head = next(g.head for n, g in guides.items() if name in n)
        features = head.reduce(mid, "query")
        vectors = features[:, :, 2:4, 5].transpose(1, 2)
        chance = head.query(features, vectors, None).logits.softmax(dim=1)[:, 1]
        both = [cosine_map(mid[:, channels], vectors[:, i]) for i in range(2)]
        assert torch.allclose(chance, torch.maximum(*both).clamp(0.02, 0.98), atol=1e-5)
