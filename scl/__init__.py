"""Self-guided and cross-guided few-shot segmentation (SCL, CVPR 2021), small and tested.

Each folder is a room, and imports only what stands before it: `toyshop` shows toys, `method` is
the paper, `models` are ready to use, `datasets` give images with masks, `evaluation` scores,
`training` teaches, `study` holds what the course has measured, `bench` times it on a machine, and
`course` is what the chapters import.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def offer(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Let a package offer names of its modules, imported when asked for: stays quick to import.

    package: its __name__; names: module to the names in it, with a space between them. Returns
    the package's __getattr__ and __dir__.
    """
    home = {name: module for module, inside in names.items() for name in inside.split()}

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return find, lambda: sorted(home)


__getattr__, __dir__ = offer(
    __name__,
    {
        "evaluation.finder": "Finder",
        "models.build": "build_model full_size",
        "models.checkpoint": "load_checkpoint",
        "models.general": "load_general",
        "models.released": "load_released",
    },
)
