"""The line coverage that coverage.json or coverage.xml in the project states, as coverage.py writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

_RATE = re.compile(rb'<coverage\b[^>]*\bline-rate="([0-9.]+)"')


def read_coverage(root: Path) -> float | None:
    """Give the percentage of lines, or None where there is no report, or none that can be read."""
    try:
        if (path := root / "coverage.json").is_file():
            return float(json.loads(path.read_bytes())["totals"]["percent_covered"])
        found = _RATE.search((root / "coverage.xml").read_bytes()[:10_000])
        return 100 * float(found[1]) if found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
