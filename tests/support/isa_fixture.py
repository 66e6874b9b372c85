"""The fixture `isa`: a test that asks for it runs once for each instruction set."""

import os
from collections.abc import Sequence

import pytest

from fastattn.testing import forced_isa


def isa_fixture(names: Sequence[str]):
    """A module whose op has a kernel for a variant says isa = isa_fixture([*variants(), *isas()]). FASTATTN_ISA narrows
    all tests to that one."""
    forced = os.environ.get("FASTATTN_ISA")

    @pytest.fixture(name="isa", params=[forced] if forced else names)
    def isa(request):
        with forced_isa(request.param):
            yield request.param

    return isa
