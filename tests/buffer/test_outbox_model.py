"""The outbox against its model, ``outbox_model``; Hypothesis makes the histories and prints the shortest that fails."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from outbox_model import OutboxMachine


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("histories", [35, pytest.param(2000, marks=pytest.mark.soak)])
def test_the_outbox_does_as_its_model(histories):
    budget = settings(
        max_examples=histories, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    run_state_machine_as_test(OutboxMachine, settings=budget)
