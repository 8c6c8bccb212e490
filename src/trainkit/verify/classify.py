"""The phase and the class of cause of a divergence, from what differs first and what the deep pass found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainkit.trace.divergence import Comparison, Divergence
from trainkit.trace.locate import Culprit, Location

_MASKS = {
    "masked_fill",
    "masked_fill_",
    "where",
    "tril",
    "triu",
    "tril_",
    "triu_",
    "logical_and",
    "logical_or",
}
_MASKS |= {"eq", "ne", "lt", "gt", "le", "ge", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not"}
_HALF = ("bfloat16", "float16")
_LOSSES = ("nll_loss", "cross_entropy", "mse_loss", "binary_cross_entropy", "smooth_l1", "kl_div")


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What class of cause a divergence has; `level` tells rounding from another value."""

    phase: str
    kind: str
    detail: str = ""
    level: str = "value-level"

    def __str__(self) -> str:
        return f"{self.kind}{': ' if self.detail else ''}{self.detail}"


def classify(comparison: Comparison, location: Location | None) -> Cause:
    """Name phase, class and level of the first divergence."""
    assert comparison.first is not None
    phase = _find_phase(comparison, location)
    kind, detail = _find_kind(comparison, location, phase)
    return Cause(phase=phase, kind=kind, detail=detail, level=_find_level(comparison, location))


def _find_phase(comparison: Comparison, location: Location | None) -> str:
    """The deep pass knows better than the order of what a step holds, once it has found an operation."""
    assert comparison.first is not None
    closure = "closure" in "".join(comparison.modes)
    return (
        (_phase_in_closure(comparison.first, location) if closure else "")
        or _phase_of_data(comparison.first, location)
        or _phase_of_record(comparison, location)
        or _phase_of_operations(comparison.first, location)
    )


def _phase_in_closure(first: Divergence, location: Location | None) -> str:
    """Forward and backward take turns within one step: settings, else the operation, else a result."""
    if first.phase in {"init", "save", "eval"} or (location and location.draws_elsewhere()):
        return ""
    hyper = next((item.phase for item in first.differences if item.key == "hyper"), "")
    found = location.phase if location else ""
    hard = next((item.phase for item in first.differences if item.hard), first.phase)
    if _starts_from_batches(first, location, found):
        return "data"
    if found == "optimizer":  # a trainer clips within the step, too
        found = _phase_of_gradients(first, location) or found
    return hyper or (hard if found in {"", "init", "schedule"} else found)


def _starts_from_batches(first: Divergence, location: Location | None, found: str) -> bool:
    """Tell whether other batches are no consequence: what is read first was made elsewhere."""
    made = found in {"", "init", "data"} or (location is not None and location.reads_outside())
    return made and any(item.key in {"batch", "loaded"} for item in first.differences)


def _phase_of_data(first: Divergence, location: Location | None) -> str:
    """Other batches: loaded otherwise, or an epoch that ends elsewhere, so that evaluations move with it."""
    keys = {difference.key for difference in first.differences}
    trained = any(item.key == "calls" and item.phase == "data" for item in first.differences)
    if first.first.key in {"saved", "calls"} and (
        keys & {"batch", "loaded"} or (trained and not _same_total(first))
    ):
        return "data"
    found = location.phase if location else ""
    outside = location is not None and location.reads_outside()
    if first.phase in {"data", "forward"} and keys & {"batch", "loaded"}:
        return "data" if outside or found in {"", "init", "schedule", "data", "eval", "clip"} else ""
    return ""


def _phase_of_record(comparison: Comparison, location: Location | None) -> str:
    """What the record alone decides: the beginning, evaluations, checkpoints, settings, generators."""
    first = comparison.first
    assert first is not None
    keys = {difference.key for difference in first.differences}
    moved = first.first.key == "calls" and _same_total(first)  # a model changed between train and eval
    if first.phase in {"init", "save", "eval"} and not moved:
        return first.phase
    draws = location is not None and location.draws_elsewhere()
    if comparison.resumed and draws:
        return "save"
    if draws and not keys & {"batch", "loaded"}:
        return "rng"
    if first.first.key == "hyper" and first.first.name == "lr":
        scheduled = comparison.expected.scheduled or comparison.actual.scheduled
        return "schedule" if scheduled else first.phase
    return first.phase if first.first.key in {"hyper", "steps", "lost parameter", "averages"} else ""


def _phase_of_operations(first: Divergence, location: Location | None) -> str:
    found = location.phase if location else ""
    hard = next((item.phase for item in first.differences if item.hard), first.phase)
    gradients = _phase_of_gradients(first, location) if found in {"clip", "optimizer"} else ""
    if gradients:
        return gradients
    if found in {"", "init", "eval", "data", "schedule"}:
        return first.phase
    if found == "clip":  # equal gradients: the program updates by hand
        return "optimizer"
    if hard == "loss" and found not in {"forward", "loss"}:  # what follows from the loss
        return "loss"
    return found


def _phase_of_gradients(first: Divergence, location: Location | None) -> str:
    """Where gradients that differ at the step came to differ; "" when they do not."""
    keys = {difference.key for difference in first.differences}
    if "gradients" not in keys:
        return ""
    if "lost parameter" in keys:  # of which the clipped norm is no longer
        return "optimizer"
    # What other ranks add to a gradient is no operation of this process.
    parted = location is not None and (location.parted_before or location.reads_outside())
    return "backward" if parted else "clip"


def _same_total(first: Divergence) -> bool:
    """Tell whether models were called as often, only in other modes."""
    calls = [item for item in first.differences if item.key == "calls"]
    return bool(calls) and sum(int(c.expected) for c in calls) == sum(int(c.actual) for c in calls)


def _find_kind(comparison: Comparison, location: Location | None, phase: str) -> tuple[str, str]:
    """Give class and detail: by what the record holds, else by what the deep pass found."""
    decided = _kind_of_record(comparison, phase)
    if decided:
        return decided
    assert comparison.first is not None
    culprits = [culprit for culprit in (location.expected, location.actual) if culprit] if location else []
    if phase == "data":
        return ("data order" if _is_drawn_otherwise(comparison, culprits) else "data"), ""
    if comparison.modes[0] != comparison.modes[1] and _strip_counts(comparison.modes):
        return "mode", f"{comparison.modes[0]} -> {comparison.modes[1]}"
    return _kind_of_operations(culprits, phase)


def _is_drawn_otherwise(comparison: Comparison, culprits: Sequence[Culprit]) -> bool:
    """Tell whether a generator, or how a loader is set, says that other samples were chosen."""
    drawn = any(item.key == "rng" for item in comparison.first.differences) if comparison.first else False
    chosen = any(fact.startswith("loader:") for fact in comparison.facts)
    return drawn or chosen or any(culprit.state for culprit in culprits)


def _kind_of_record(comparison: Comparison, phase: str) -> tuple[str, str] | None:
    """Give what the record alone decides, whatever operations differ; None where they decide."""
    first = comparison.first
    assert first is not None
    lead, keys = first.first, {difference.key: difference for difference in first.differences}
    if lead.key == "steps":
        return "data", "another number of steps"
    if phase == "init":
        return "init", _name_seed(comparison)
    if phase == "save":
        return "save/resume", ""
    if lead.key == "lost parameter":
        return "optimizer", f"{lead.name}: {lead.expected} -> {lead.actual}"
    if "hyper" in keys:
        change = f"{keys['hyper'].expected} -> {keys['hyper'].actual}"
        return ("schedule", change) if phase == "schedule" else ("hyper-parameter", change)
    if phase == "eval":
        side = "rng" in keys or "buffers" in keys
        return ("eval side effect", "it also changes training") if side else ("eval", "")
    return None


def _kind_of_operations(culprits: list[Culprit], phase: str) -> tuple[str, str]:
    shapes = [f"{culprit.sample.get('shape', '')} {culprit.arguments}" for culprit in culprits]
    if len(shapes) == 2:
        half = [any(dtype in shape for dtype in _HALF) for shape in shapes]
        double = ["float64" in shape for shape in shapes]
        drawn = any(culprit.state for culprit in culprits)
        if not drawn and (half[0] != half[1] or double[0] != double[1]):
            return "precision", f"{culprits[0].arguments} -> {culprits[1].arguments}"
    if phase == "rng" or (len(culprits) == 1 and culprits[0].state):
        return "RNG consumption", ""
    if culprits and all(culprit.op in _MASKS for culprit in culprits):
        return "mask", ""
    same = len(culprits) == 2 and culprits[0].op == culprits[1].op
    if same and "attention" in culprits[0].op and _masks_of(culprits[0]) != _masks_of(culprits[1]):
        return "mask", ""
    if phase == "forward" and any(culprit.op.startswith(_LOSSES) for culprit in culprits):
        return "loss", ""
    return phase, ""


def _masks_of(culprit: Culprit) -> str:
    """Give the words of an attention's arguments that say what is masked; its scale comes last."""
    return culprit.arguments.partition("scale=")[0]


def _strip_counts(modes: tuple[str, str]) -> bool:
    """Tell whether the modes differ in more than the number of modules: in training flags or autocast."""
    left, right = (mode.split(" ", 1) for mode in modes)
    return (
        left[0] != right[0]
        or ("eval" in modes[0]) != ("eval" in modes[1])
        or (("autocast" in modes[0]) != ("autocast" in modes[1]))
    )


def _name_seed(comparison: Comparison) -> str:
    return next((fact for fact in comparison.facts if fact.startswith("seed ")), "")


def _find_level(comparison: Comparison, location: Location | None) -> str:
    """Only an operation replaced by another can be rounding: the same one with other arguments is not."""
    first = comparison.first
    assert first is not None
    hard = {difference.key for difference in first.differences}
    if hard & {"hyper", "steps", "rng", "lost parameter", "parameter set", "calls"}:
        return "value-level"
    if location is None or location.size is None or not location.size.is_rounding():
        return "value-level"
    left, right = location.expected, location.actual
    if left and right and left.op == right.op and left.arguments != right.arguments:
        return "value-level"
    if any("eps" in fact for fact in comparison.facts):
        return "value-level"
    return "rounding-level"
