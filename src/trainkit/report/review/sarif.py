"""A review as SARIF 2.1.0, for code scanning: one result per issue, the same one as long as its key is.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from trainkit import __version__
from trainkit.review.findings import RULES
from trainkit.review.model import Issue, Place
from trainkit.review.result import Review

_LEVELS = {"high": "error", "medium": "warning", "low": "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(review: Review) -> str:
    """Give the log; what could not be read is a notification of the run."""
    names = sorted({issue.rule for issue in review.issues})
    driver = {
        "name": "trainkit review",
        "version": __version__,
        "rules": [{"id": name, "shortDescription": {"text": RULES[name]}} for name in names],
    }
    invocation = {
        "executionSuccessful": True,
        "toolExecutionNotifications": [_notify(path, why) for path, why in review.unreadable],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {"ROOT": {"description": {"text": "the project's folder"}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": [_result(issue, names.index(issue.rule)) for issue in review.issues],
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _result(issue: Issue, rule: int) -> dict[str, Any]:
    first, *others = issue.places
    said = "\n".join([issue.title, *issue.evidence[:8], issue.proposal])
    return {
        "ruleId": issue.rule,
        "ruleIndex": rule,
        "level": _LEVELS[issue.severity],
        "message": {"text": said},
        "locations": [_locate(first)],
        "relatedLocations": list(_relate(others)),
        "partialFingerprints": {"trainkit/v1": hashlib.sha256(issue.key.encode()).hexdigest()},
        "properties": {"id": issue.id, "priority": issue.priority, "effortMinutes": list(issue.effort_min)},
    }


def _relate(places: Iterable[Place]) -> Iterable[dict[str, Any]]:
    for number, place in enumerate(places):
        yield _locate(place) | {"id": number, "message": {"text": place.name or "here, too"}}


def _locate(place: Place) -> dict[str, Any]:
    region = {"startLine": max(1, place.line), "endLine": max(1, place.line, place.end)}
    return {"physicalLocation": {"artifactLocation": _artifact(place.path), "region": region}}


def _artifact(path: str) -> dict[str, str]:
    return {"uri": quote(path, errors="surrogateescape"), "uriBaseId": "ROOT"}


def _notify(path: str, why: str) -> dict[str, Any]:
    return {
        "level": "error",
        "message": {"text": f"could not be judged: {why}"},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(path)}}],
    }
