"""docs/keras.md says what of Keras is covered."""

import subprocess
import sys

import pytest
from keras_oracle import keras_or_skip


def run(root, code):
    start = f"import os, sys; sys.path.insert(0, {str(root / 'docs')!r}); os.environ['KERAS_BACKEND'] = 'torch'\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_page_is_up_to_date(root):
    page = run(root, "import keras_surface as s; print(s.page(), end='')")
    assert page == (root / "docs/keras.md").read_text(), "run python docs/keras_surface.py"


@pytest.mark.parity
def test_the_names_are_kerass(root):
    """Those that we cover are still there in the keras that is installed."""
    keras_or_skip()
    code = """
import json, keras_surface as s
now, kept = s.names_of_keras(), json.loads((s.HERE / "keras_names.json").read_text())
for path in s.NAMESPACES:
    print(*sorted((set(kept[path].split()) & s.ours(path)) - set(now[path].split())))
"""
    assert run(root, code).split() == []
