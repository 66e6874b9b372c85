"""With FASTATTN_TEST_DEVICE the tests of this folder run on a device (tests/support/on_device.py)."""

import on_device
import pytest

from fastattn.testing import forced_isa, isas

if on_device.DEVICE:
    on_device.install()

    @pytest.fixture(params=isas())
    def isa(request):
        with forced_isa(request.param):
            yield request.param

    def pytest_terminal_summary(terminalreporter):
        calls = on_device.CALLS
        terminalreporter.line(f"on a device: {calls['device']} calls of ops; {calls['host']} stayed on the host")
