"""Verdicts as report.json: `format` 1, the fields of Verdict, Finding and Measurement as they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from trainkit.verdict import Verdict, exit_status


def render_value(value: Any) -> str:
    """Give any of our dataclasses as indented JSON, its fields as they are."""
    return json.dumps(dataclasses.asdict(value), indent=2, ensure_ascii=False) + "\n"


def render_json(verdicts: Sequence[Verdict], *, candidate: str, baseline: str) -> str:
    """Give the whole judgement as indented JSON; `baseline` is empty when there was none."""
    document = {
        "format": 1,
        "candidate": candidate,
        "baseline": baseline,
        "exit_status": exit_status(verdicts),
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
