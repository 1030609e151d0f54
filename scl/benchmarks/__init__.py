"""The published benchmarks as data sets of scl.episode: PASCAL-5^i, COCO-20^i, FSS-1000, folders.

An item is one (image, class) pair at its original resolution: image H x W x 3 uint8, mask H x W
uint8 with 0, 1 and 255 (ignored). scl.episode.EpisodeSampler draws episodes from any of them.
Reading needs the extra packages of `pip install -e '.[benchmarks]'`; nothing is fetched unless
asked for. `python -m scl data verify` says whether a copy is whole.
"""

from scl.benchmarks.coco import Coco20i
from scl.benchmarks.fss import FSS1000, ClassFolder
from scl.benchmarks.items import Letterbox
from scl.benchmarks.pascal import Pascal5i

__all__ = ["FSS1000", "ClassFolder", "Coco20i", "Letterbox", "Pascal5i"]
