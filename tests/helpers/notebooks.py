"""Small notebooks for tests."""

from collections.abc import Sequence


def notebook_of(cells: Sequence[str]) -> dict:
    """A notebook of code cells; the first holds the parameters, the last the headline."""
    tags = {0: ["parameters"], len(cells) - 1: ["headline"]}
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{i}",
            "metadata": {"tags": tags.get(i, [])},
            "execution_count": None,
            "outputs": [],
            "source": source.strip(),
        }
        for i, source in enumerate(cells)
    ]
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
