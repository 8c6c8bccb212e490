"""A review as a page: the format follows the ending of the file."""

from __future__ import annotations

import importlib
import json

from trainkit.review.result import Review

# ending -> module with `render(review) -> str`
FORMATS = {
    ".html": "trainkit.report.review.html",
    ".md": "trainkit.report.review.markdown",
    ".json": "trainkit.report.review",
    ".sarif": "trainkit.report.review.sarif",
}


def render_as(review: Review, ending: str) -> str:
    """Give the report in the format of a file with this ending."""
    text: str = importlib.import_module(FORMATS[ending]).render(review)
    return text


def render(review: Review) -> str:
    """Give JSON: `format` 1, and the fields of `Review` and its parts as they are."""
    import dataclasses

    return json.dumps({"format": 1, **dataclasses.asdict(review)}, indent=1, ensure_ascii=False) + "\n"
