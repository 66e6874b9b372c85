import pytest

import fastattn as fa


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)
