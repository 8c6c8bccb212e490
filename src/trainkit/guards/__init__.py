"""The guards: each measures, returns a `Verdict`, and stops. None knows another, or the core.

"Guard" here is a guard of refactors, not one of torch Dynamo's.
"""

from __future__ import annotations

# name -> where its `check(context) -> Verdict` is; loaded when it is run
GUARDS = {
    "imports": "trainkit.guards.imports",
    "verify": "trainkit.guards.verify",
    "golden": "trainkit.guards.golden",
    "complexity": "trainkit.guards.complexity",
    "duplication": "trainkit.guards.duplication",
    "bench": "trainkit.guards.bench",
    "gpu": "trainkit.guards.gpu",
}
