"""All figures that the benchmarks measure, in one file: benchmarks/results.json, a part
for each of them."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


def read(part: str) -> dict[str, Any]:
    "The stored figures of a part; empty if there are none."
    return (
        json.loads(RESULTS.read_text(encoding="utf-8")).get(part, {})
        if RESULTS.exists()
        else {}
    )


def store(part: str, figures: dict[str, Any]) -> None:
    "Store the figures of a part, and leave the other parts as they are."
    parts = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(
        json.dumps(parts | {part: figures}, indent=1) + "\n", encoding="utf-8"
    )
