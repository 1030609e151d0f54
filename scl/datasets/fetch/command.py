"""python -m scl data download, and python -m scl data verify."""

from __future__ import annotations

import argparse

from scl.datasets.fetch.verify import verify
from scl.datasets.registry import find, resolve


def download(options: argparse.Namespace) -> None:
    """Fetch and unpack the archives of a data set."""
    fetch = find(options.data).fetch
    assert fetch, "argparse offers only those that can be fetched"
    resolve(fetch)(options.root, options.archive, options.year)
    print(f"to check it: python -m scl data verify --data {options.data} --root {options.root}")


def check(options: argparse.Namespace) -> int:
    """Print what a verification found; the status says whether all is well."""
    asked = options.fold, options.subset, options.year, options.sums
    found = verify(options.data, options.root, *asked)
    print(found.text())
    return 0 if found.ok else 1
