"""With FASTATTN_TEST_DEVICE the tests of this folder run on a device (tests/support/on_device.py)."""

import on_device
from isa_fixture import isa_fixture

from fastattn.testing import isas

if on_device.DEVICE:
    on_device.install()
    isa = isa_fixture(isas())

    def pytest_terminal_summary(terminalreporter):
        calls = on_device.CALLS
        terminalreporter.line(f"on a device: {calls['device']} calls of ops; {calls['host']} stayed on the host")
