"""Our own training is bitwise what it was, over epoch ends, validations and resumes."""

import tomllib


def test_training_is_bitwise_what_it_was(trainkit_guard, request, monkeypatch, uncovered):
    """Two of the stored goldens, the gate compares all; skipped where they are not comparable.

    `pytest --golden-update tests/golden` stores what training does now.
    """
    for name, value in uncovered.items():
        monkeypatch.setenv(name, value)
    settings = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text(encoding="utf-8"))
    runs = settings["tool"]["trainkit"]["golden"]["runs"]
    verdict = trainkit_guard("golden", runs={name: runs[name] for name in ("lstm", "dit")})

    assert sum(measurement.value for measurement in verdict.measurements) == 40 + 24
