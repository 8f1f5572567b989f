"""Settings to try: the same small random search for every model, ours and those of
other libraries."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Settings = dict[str, Any]


def draw(
    space: Settings, trials: int, seed: int, authors: Sequence[Settings] = ()
) -> list[Settings]:
    """The settings of each trial: first the defaults, then what the authors report,
    then random ones.

    A space gives a list of choices for each name, the default first. A pair of numbers
    among them is a range: from then on values are drawn from it, evenly in the
    logarithm; otherwise one of the choices is drawn.
    """
    rng = np.random.default_rng(seed)

    def one(choices: list[Any]) -> Any:
        for choice in choices:
            if isinstance(choice, tuple):
                return float(f"{np.exp(rng.uniform(*np.log(choice))):.4g}")
        return choices[int(rng.integers(len(choices)))]

    drawn = [
        {name: one(choices) for name, choices in space.items()}
        for _ in range(trials - 1)
    ]
    defaults = {name: choices[0] for name, choices in space.items()}
    return [defaults, *({**defaults, **given} for given in authors), *drawn][:trials]


def write(table: Any, about: Any, path: Path) -> None:
    """Write a polars table as path.parquet and then what is known about it as
    path.json, each as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".parquet", ".json"):
        whole = path.with_name(path.name + suffix)
        partial = whole.with_name(whole.name + ".partial")
        if suffix == ".parquet":
            table.write_parquet(partial)
        else:
            partial.write_text(json.dumps(about, indent=1) + "\n")
        partial.rename(whole)
