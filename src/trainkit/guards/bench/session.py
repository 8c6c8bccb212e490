"""Pairs of fresh workers until each benchmark is settled; who breaks is named, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.guards.bench.pairs import (
    LostWorkerError,
    Plan,
    Sample,
    Suite,
    Worker,
    collect,
    measure,
    open_worker,
    refuse_broken,
)
from trainkit.repo.trees import Tree

Message = dict[str, Any]


@dataclass
class Session:
    """The trees of one comparison (baseline, candidate, perhaps a control), and what was found in them."""

    trees: Sequence[Tree]
    suite: Suite
    tell: Callable[[str], None]
    collected: list[Message] = field(default_factory=list)  # of the first workers
    samples: dict[str, list[Sample]] = field(default_factory=dict)  # name -> one per pair
    modules: list[list[str]] = field(default_factory=list)
    num_pairs: int = 0

    @property
    def is_layout_fixed(self) -> bool:
        """Say whether each process of the first pair had the same layout."""
        return all(said["fixed"] for said in self.collected)

    def names(self) -> list[str]:
        """Give the benchmarks that all sides have collected, in the candidate's order."""
        candidate = self.collected[1 if len(self.trees) > 1 else 0]["items"]
        return [name for name in candidate if all(name in said["items"] for said in self.collected)]

    def run_pair(
        self, make_plan: Callable[[list[str]], Plan], names: Sequence[str] | None, num_trees: int
    ) -> None:
        """Measure `names` (all that are collected, by default) once, in fresh workers of the first trees."""
        left = None if names is None else list(names)
        modules: list[list[str]] = []
        while left is None or left:
            with self._open(num_trees) as workers:
                said = [self._collect(worker) for worker in workers]
                if not self.collected:
                    self.collected = said
                left = self.names() if left is None else left
                done = self._measure(workers, left, make_plan(left))
                if done is not None:
                    modules = done
                    break
        self.modules = self.modules or modules
        self.num_pairs += 1

    def _measure(self, workers: Sequence[Worker], left: list[str], plan: Plan) -> list[list[str]] | None:
        """Measure what is left, taking it off the list; None when a worker was lost on the way."""
        try:
            modules: list[list[str]] = []
            for sample in measure(workers, list(left), plan, self.tell, modules):
                left.remove(sample.name)
                self.samples.setdefault(sample.name, []).append(sample)
            for worker in workers:
                worker.leave()
        except LostWorkerError as error:
            if not left:
                raise refuse_broken(error) from error
            sample = Sample(left.pop(0))
            sample.broken[error.side] = "; ".join([f"failed: {error.reason}", *error.evidence[-3:]])
            self.samples.setdefault(sample.name, []).append(sample)
            return None
        return modules

    @contextmanager
    def _open(self, num_trees: int) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            yield [
                stack.enter_context(open_worker(tree, self.suite, self.num_pairs))
                for tree in self.trees[:num_trees]
            ]

    def _collect(self, worker: Worker) -> Message:
        try:
            return collect(worker)
        except LostWorkerError as error:
            raise refuse_broken(error) from error


def collect_names(tree: Tree, suite: Suite) -> Message:
    """Give the benchmarks of a tree as they stand, without running one; none where pytest cannot run."""
    try:
        with open_worker(tree, suite, 0) as worker:
            return dict(collect(worker)["items"])
    except (LostWorkerError, CannotJudgeError):
        return {}
