"""What each part is worth on photographs and on toys, as crosses of two intervals.

python docs/figures/effects.py results/figures/effects.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from scl.course.draw import crosses, to_bytes
from scl.files import write_atomically
from scl.study.side_tables import effect_points

if __name__ == "__main__":
    labels = "photographs (PASCAL-5^i): gain in mIoU", "toys (Toyshop-5^i): gain in mIoU"
    picture = to_bytes(crosses(effect_points(), *labels), "png", 150)
    write_atomically(Path(sys.argv[1]), lambda path: path.write_bytes(picture))
