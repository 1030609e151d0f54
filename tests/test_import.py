"""What importing the package does not do."""

import subprocess
import sys

import pytest

CODE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")
socket.socket.connect = refuse
socket.create_connection = refuse
import scl.method.scl, scl.datasets.toyshop, scl.study.compute, scl.course.draw, scl.course.widgets
import torch
assert not torch.cuda.is_initialized()
assert not {"scipy", "torch._dynamo", "torchvision"} & set(sys.modules), "slow to import"
print("quiet")
"""


def test_import_touches_no_gpu_and_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.strip() == "quiet", done.stderr


HEAVY = ("IPython", "matplotlib", "pandas", "scipy", "sympy", "torch._dynamo", "torchvision")
FIND = """
import sys

import pytest
import numpy as np
from PIL import Image
picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
mask = np.zeros((96, 128), np.uint8)
mask[20:60, 30:80] = 255
Image.fromarray(picture).save("mug.png")
Image.fromarray(mask).save("mug-mask.png")
import scl
if sys.argv[1] == "command":
    from scl.__main__ import main
    assert not main("predict --support mug.png:mug-mask.png --query mug.png --out found".split())
else:
    assert scl.Finder(scl.load_general()).fit("mug.png", "mug-mask.png").predict("mug.png")
print("imported:", *(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("way", ["command", "five lines"])
def test_finding_a_thing_imports_nothing_that_it_does_not_use(way, tmp_path):
    """Each of these takes as long to import as the search itself, or longer."""
    command = [sys.executable, "-c", FIND, way, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout.splitlines()[-1].split() == ["imported:"], done.stdout + done.stderr
