"""Our own training is bitwise what it was: every model, over epoch ends, validations and resumes."""


def test_training_is_bitwise_what_it_was(trainkit_guard, monkeypatch, uncovered):
    """The steps of each run against its stored golden; skipped where the golden is not comparable.

    `pytest --golden-update tests/golden` stores what training does now.
    """
    for name, value in uncovered.items():
        monkeypatch.setenv(name, value)
    verdict = trainkit_guard("golden")

    assert sum(measurement.value for measurement in verdict.measurements) == 40 + 40 + 24 + 12 + 6
