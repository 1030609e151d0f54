"""Lists of episodes: written down as JSON, and replayed on the same images wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scl.evaluation.walk import WALKS, Walk
from scl.files import write_text
from scl.method.episode import Dataset, EpisodeIndex

READ_ERRORS = (
    *(json.JSONDecodeError, UnicodeDecodeError),
    *(AttributeError, KeyError, TypeError, IndexError),
)
EpisodeLists = Mapping[int, Sequence[EpisodeIndex]]  # by seed


def item_name(dataset: Dataset, index: int) -> str:
    """Name an item by the file names of its sources, wherever its data set lies."""
    sources = dataset.sources(index)
    names = (Path(s).name if isinstance(s, str) else "-".join(map(str, s)) for s in sources)
    return "+".join(sorted(names))


def plain_rows(dataset: Dataset, episodes: EpisodeLists) -> list[dict]:
    """Describe episodes by plain values: the class, and place and name of every image."""

    def entry(index: int) -> list:
        return [index, item_name(dataset, index)]

    return [
        {
            "seed": seed,
            "class": dataset.classes[e.label],
            "query": entry(e.query),
            "supports": [entry(i) for i in e.supports],
        }
        for seed, some in episodes.items()
        for e in some
    ]


def write_episodes(
    path: str | Path, dataset: Dataset, episodes: EpisodeLists, walk: Walk = "uniform"
) -> Path:
    """Write episodes to a JSON file, one a line, to be replayed by read_episodes.

    walk: by which they were drawn; dataset: laid out as that walk needs it.
    """
    path = Path(path)
    rows = ",\n".join(json.dumps(row) for row in plain_rows(dataset, episodes))
    head = f'"items": {len(dataset.labels)}, "walk": "{walk}"'
    write_text(path, f'{{{head}, "episodes": [\n{rows}\n]}}\n')
    return path


def read_walk(path: str | Path) -> Walk:
    """Tell by which walk the episodes of a file were drawn; older files had one only."""
    with _reading(path):
        walk = json.loads(Path(path).read_text(encoding="utf-8")).get("walk", "uniform")
    if walk not in WALKS:
        raise ValueError(f"{path}: walk={walk!r}: expected one of {WALKS}; write the episodes anew")
    return walk


def read_episodes(path: str | Path, dataset: Dataset) -> dict[int, list[EpisodeIndex]]:
    """Read the episodes of a file, by seed; one that does not fit the data set is refused."""
    episodes: dict[int, list[EpisodeIndex]] = {}
    with _reading(path):
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["episodes"]
        for place, row in enumerate(rows):
            episode = _episode(dataset, row, f"{path}, episode {place}")
            episodes.setdefault(int(row["seed"]), []).append(episode)
    shapes = {(len(e.supports), len(some)) for some in episodes.values() for e in some}
    if len(shapes) != 1 or min(shapes)[0] < 1:
        raise ValueError(
            f"{path} holds seeds and episodes of {sorted(shapes)} (supports, episodes a seed): "
            "expected as many in all"
        )
    return episodes


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong with a file's form into one line that names it."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except READ_ERRORS as error:
        raise ValueError(
            f"{path} is no list of episodes ({type(error).__name__}: {error}): expected a file "
            "that --write-episodes wrote"
        ) from None


def _episode(dataset: Dataset, row: dict, where: str) -> EpisodeIndex:
    """Read one episode of a file, and compare every image with the data set's."""
    if row["class"] not in dataset.classes:
        raise ValueError(f"{where} is of class {row['class']!r}, which this data set has not")
    label, places = dataset.classes.index(row["class"]), []
    for index, name in (row["query"], *row["supports"]):
        known = 0 <= index < len(dataset.labels) and dataset.labels[index] == label
        found = item_name(dataset, index) if known else "none of that class"
        if found != name:
            raise ValueError(
                f"{where} has {name} of class {row['class']!r} at place {index}, and this data "
                f"set {found}: expected the same list of images; evaluate on the data set, fold "
                "and split that it was written for, or write the episodes anew"
            )
        places.append(index)
    if len(set(places)) < len(places):
        raise ValueError(f"{where} uses an image twice: expected a query and other supports")
    return EpisodeIndex(places[0], tuple(places[1:]), label)
