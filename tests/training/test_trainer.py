"""Bank, training, evaluation and checkpoints, on a tiny world of coloured squares."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scl.datasets.bank import FeatureBank
from scl.evaluation.evaluate import choose_threshold, evaluate
from scl.method.episode import Episodes, EpisodeSampler
from scl.method.records import Maps
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import load_checkpoint, read_config, save_checkpoint
from scl.models.untrained import all_foreground, cosine_method
from scl.training.captured import each_tensor, tensors_of
from scl.training.trainer import TrainConfig, Trainer, train
from tests.helpers.models import TinyBackbone


class Squares:
    """Each class is a colour: a square of it on a noisy grey ground, and another object."""

    classes = ("red", "green", "blue")
    labels = [i % 3 for i in range(30)]

    def sources(self, index):
        return frozenset((index,))

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(90, 160, (48, 48, 3)).astype(np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        y, x = 8 * rng.integers(0, 4, 2)
        mask[y : y + 24, x : x + 24] = 1
        image[mask == 1] = np.eye(3)[self.labels[index]] * 255
        return image, mask

    def wrong_mask(self, index):
        return 1 - self[index][1]


CONFIG = ModelConfig(d=8)


@pytest.fixture(scope="module")
def world():
    backbone, data = TinyBackbone(), Squares()
    model = build_model(ModelConfig(head="pfenet", d=8), backbone=backbone)
    return backbone, data, FeatureBank(model, data, wrong=True)


def trained(world, seed=0, steps=60, config=CONFIG) -> tuple[SCL, list[dict]]:
    backbone, data, bank = world
    model = build_model(config, seed, backbone)
    plan = TrainConfig(steps, 6, lr=3e-2, seed=seed)
    history = train(model, bank, EpisodeSampler(data), plan, "cpu", progress=False)
    return model, history


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_training_learns_to_segment_colours(world, head):
    backbone, data, bank = world
    model, history = trained(world, config=ModelConfig(head=head, d=8))
    assert history[-1]["total"] < 0.5 * history[0]["total"]
    assert set(history[0]) == {"q", "s1", "s2", "total", "seconds"}
    episodes = EpisodeSampler(data).fixed(40, 9)
    learned = evaluate(model, bank, episodes)["cross"]
    trivial = evaluate(all_foreground(backbone), bank, episodes)["cross"]
    share = np.mean([data[e.query][1].mean() for e in episodes])
    assert trivial.miou == pytest.approx(share, abs=0.01)
    assert learned.miou > 0.75 > trivial.miou
    assert set(learned.per_class) == {0, 1, 2} and learned.fb_iou > 0.7


def test_two_runs_give_the_same_bits_and_another_seed_others(world):
    a, b, c = (trained(world, seed, steps=8)[0].head.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_training_leaves_the_backbone_and_its_features_alone(world):
    backbone = world[0]
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    trained(world, steps=3)
    assert all(torch.equal(before[n], v) for n, v in backbone.state_dict().items())


def test_evaluation_keeps_the_mode_and_ignores_the_batch_size(world):
    _, data, bank = world
    model = build_model(CONFIG, 0, world[0]).train()
    episodes = EpisodeSampler(data, 2).fixed(7, 1)
    a = evaluate(model, bank, episodes, ("cross", "vectors"), batch=3)
    b = evaluate(model, bank, episodes, ("cross", "vectors"), batch=7)
    assert model.training
    for fusion in a:
        assert np.array_equal(a[fusion].counts, b[fusion].counts)


def test_the_bank_gathers_what_the_images_give(world):
    backbone, data, bank = world
    model = build_model(ModelConfig(head="pfenet", d=8), 0, backbone)
    episodes = EpisodeSampler(data, 2).fixed(3, 2)
    batch = bank.batch(episodes)
    first = episodes[0]
    images = [torch.from_numpy(data[i][0]).permute(2, 0, 1).float() / 255 for i in first.supports]
    masks = torch.stack([torch.from_numpy(data[i][1]) for i in first.supports])
    fresh = model.encode(torch.stack(images), masks)
    for kept, new in zip(batch.support, fresh, strict=True):
        assert torch.allclose(kept[0], new, atol=1e-6)
    assert torch.equal(batch.support_masks[0], masks)
    spoiled = bank.batch(episodes, wrong=1)
    assert torch.equal(spoiled.support_masks[:, 0], 1 - batch.support_masks[:, 0])
    assert torch.equal(spoiled.support_masks[:, 1], batch.support_masks[:, 1])
    assert not torch.equal(spoiled.support.masked[:, 0], batch.support.masked[:, 0])
    assert torch.equal(bank.batch(episodes).support_masks, batch.support_masks)


def test_the_threshold_is_the_best_on_the_given_episodes(world):
    backbone, data, bank = world
    episodes = EpisodeSampler(data).fixed(20, 3)
    best, mious = choose_threshold(backbone, bank, episodes)
    assert len(mious) == 11 and mious[best] == max(mious.values())
    again = evaluate(cosine_method(backbone, best), bank, episodes)["cross"].miou
    assert again == pytest.approx(mious[best])


def test_a_checkpoint_comes_back_whole(world, tmp_path):
    model, _ = trained(world, steps=5)
    path = save_checkpoint(model, CONFIG, tmp_path / "deep" / "head", seed=4)
    loaded = load_checkpoint(path, CONFIG, world[0])
    state = loaded.head.state_dict()
    assert all(torch.equal(v, state[n]) for n, v in model.head.state_dict().items())
    assert read_config(path) == CONFIG
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["seed"] == 4 and "torch" in record["versions"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["head.json", "head.safetensors"]


def test_a_checkpoint_is_not_overwritten_or_mistaken(world, tmp_path):
    model = build_model(CONFIG, 0, world[0])
    path = save_checkpoint(model, CONFIG, tmp_path / "head", seed=0)
    with pytest.raises(ValueError, match="exists: pass overwrite=True"):
        save_checkpoint(model, CONFIG, tmp_path / "head", seed=0)
    with pytest.raises(ValueError, match="another configuration: d is 8, expected 16"):
        load_checkpoint(path, ModelConfig(d=16), world[0])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="differs from its record"):
        load_checkpoint(path, backbone=world[0])
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match="no checkpoint record"):
        load_checkpoint(path, backbone=world[0])


def test_an_unwritable_folder_is_named(world, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write .* choose a folder"):
        save_checkpoint(build_model(CONFIG, 0, world[0]), CONFIG, tmp_path / "file" / "head", 0)


def test_bad_settings_are_named(world):
    with pytest.raises(ValueError, match="steps=0"):
        TrainConfig(steps=0)
    with pytest.raises(ValueError, match="training is one-shot"):
        model = build_model(CONFIG, 0, world[0])
        train(model, world[2], EpisodeSampler(world[1], 2), progress=False)
    with pytest.raises(ValueError, match="wrong=True"):
        FeatureBank(build_model(CONFIG, 0, world[0]), world[1]).batch(
            EpisodeSampler(world[1]).fixed(1, 0), wrong=1
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda_learns_as_well(world):
    backbone, data, _ = world
    model = build_model(CONFIG, 0, backbone).to("cuda")
    bank = FeatureBank(model, data, device="cuda")
    train(model, bank, EpisodeSampler(data), TrainConfig(60, 6, lr=3e-2), "cuda", progress=False)
    assert evaluate(model, bank, EpisodeSampler(data).fixed(40, 9))["cross"].miou > 0.75


def test_every_tensor_of_a_batch_is_found():
    first, second = Maps(torch.ones(1)), Maps(torch.ones(3), torch.ones(4))
    batch = Episodes(first, torch.zeros(2), second, torch.ones(5), torch.ones(6))
    assert [len(x) for x in tensors_of(batch)] == [1, 2, 3, 4, 5, 6]
    changed = each_tensor(batch, lambda x: x + 1)
    assert isinstance(changed, Episodes) and changed.query.masked is None
    assert [float(x[0]) for x in tensors_of(changed)] == [2, 1, 2, 2, 2, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_learns_what_one_kernel_after_the_other_learns():
    """The same seeds, drop-out included; two batch shapes, of which one is captured."""
    learnt = []
    for graph in (False, True):
        model = build_model(replace(CONFIG, dropout=0.5), 0)
        trainer = Trainer(model, TrainConfig(12, 2, lr=1e-3, precision="float32"), "cuda", graph)
        for step in range(12):
            torch.manual_seed(step)
            images = torch.rand(2 + (step == 7), 3, 64, 64, device="cuda")
            masks = (images[:, 0] > 0.5).byte()
            shown = images[:, None], masks[:, None]
            batch = Episodes(*shown, images.flip(0), masks.flip(0), torch.zeros(len(images)))
            losses = trainer.step(batch)
        assert graph == (trainer.captured is not None)
        learnt.append((float(losses["total"]), model.head.classify.weight.detach().cpu()))
    assert learnt[0][0] == pytest.approx(learnt[1][0], rel=1e-3)
    assert torch.allclose(learnt[0][1], learnt[1][1], atol=1e-3)
