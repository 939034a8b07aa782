"""Fixtures of the whole-machine tests."""
import pytest

from machine import Machine


@pytest.fixture
def boot():
    """Starts stock kernels; whatever still runs at the end of the test is killed."""
    running = []

    def start(*args, **kwargs):
        machine = Machine.linux(*args, **kwargs)
        running.append(machine)
        return machine

    yield start
    for machine in running:
        machine.kill()
