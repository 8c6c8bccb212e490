"""Names to code."""

import pytest

from trainkit.core.registry import MODELS, Registry
from trainkit.errors import UsageError


def test_load_gives_the_attribute():
    """An entry is imported when it is asked for."""
    from trainkit.core.models import LSTM

    assert MODELS.load("lstm") is LSTM


def test_unknown_name_is_a_usage_error():
    """A name that nobody registered gets the nearest one."""
    with pytest.raises(UsageError) as caught:
        Registry("model", {"lstm": "no.such:thing"}).load("lstn")

    assert caught.value.lines() == ["registry-unknown-name: no model is called 'lstn'; did you mean 'lstm'?"]
