"""Our own training is bitwise what it was: transformer and LSTM, over epoch ends, validations and a resume."""


def test_training_is_bitwise_what_it_was(trainkit_guard, monkeypatch, uncovered):
    """40 steps of each model against its stored golden; skipped where the golden is not comparable.

    `pytest --golden-update tests/golden` stores what training does now.
    """
    for name, value in uncovered.items():
        monkeypatch.setenv(name, value)
    verdict = trainkit_guard("golden")

    assert sum(measurement.value for measurement in verdict.measurements) == 80
