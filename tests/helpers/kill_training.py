"""Kill a training again and again (kill -9), go on each time, and compare the weights at the end.

    python tests/helpers/kill_training.py --times 30

Prints the moments of the kills; exits 1 unless the weights are those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]


def paint_photos(root: Path) -> None:
    """A folder of four classes of coloured squares, four photographs each."""
    rng = np.random.default_rng(0)
    for name in ("amber", "blue", "coral", "dun"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
            mask = np.zeros((64, 64), np.uint8)
            y, x = rng.integers(0, 32, 2)
            mask[y : y + 28, x : x + 28] = 255
            pixels[mask > 0] = rng.integers(0, 256, 3)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
            Image.fromarray(mask).save(root / name / f"{i}.png")


def command(photos: Path, out: Path, steps: int) -> list[str]:
    """Start the run, or go on with it."""
    start = [sys.executable, "-m", "scl", "train", "--device", "cpu"]
    if (out / "recipe.json").exists():
        return [*start, "--resume", str(out)]
    changes = ["data.name=folder", "data.side=64", "data.workers=0", "train.batch=4"]
    changes += ["data.augment=pfenet", "model.dropout=0.5", "run.save_every=3", "run.log_every=1"]
    changes += ["run.select=last"]
    flags = ["--config", "toyshop-small", "--root", str(photos), "--steps", str(steps)]
    return [*start, *flags, "--out", str(out), "--set", *changes]


def begin(photos: Path, out: Path, steps: int) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command(photos, out, steps), cwd=ROOT, env=environment, stdout=quiet, stderr=quiet
    )


def steps_logged(out: Path) -> int:
    log = out / "log.csv"
    return log.read_text().count("\n") if log.exists() else 0


def kill_once(photos: Path, out: Path, steps: int, rng: random.Random) -> int:
    """Kill the run within its next six steps, or before the first; the rows it had logged."""
    process = begin(photos, out, steps)
    if rng.random() < 0.15:  # while it is still starting
        time.sleep(rng.uniform(0, 3))
    else:
        wanted = steps_logged(out) + rng.randint(1, 6)
        while steps_logged(out) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
    assert process.poll() is None, "the run ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return steps_logged(out)


def trial(times: int, seed: int, folder: Path) -> tuple[bool, list[int]]:
    """Are the weights of a run killed so many times those of an undisturbed one?"""
    paint_photos(folder / "photos")
    whole, cut, steps = folder / "whole", folder / "cut", 20 + 5 * times
    process = begin(folder / "photos", whole, steps)
    rng = random.Random(seed)
    killed = [kill_once(folder / "photos", cut, steps, rng) for _ in range(times)]
    assert process.wait() == 0 and begin(folder / "photos", cut, steps).wait() == 0
    a, b = (load_file(path / "last.safetensors") for path in (whole, cut))
    same = set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)
    return same and steps_logged(cut) == steps + 1, killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        same, killed = trial(options.times, options.seed, Path(folder))
    print("killed after rows", *killed)
    print("the same weights" if same else "OTHER WEIGHTS")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
