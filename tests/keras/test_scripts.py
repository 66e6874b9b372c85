"""Scripts as they are written for tf.keras: here, and in keras 3, with nothing changed but the imports."""

import re
from pathlib import Path

import pytest
from keras_oracle import keras_or_skip

SCRIPTS = Path(__file__).parent / "scripts"
# What each has to reach: its share of right answers, or of the variance that it explains.
LEAST = {
    "digits_cnn": 0.9,
    "regression_mlp": 0.8,
    "functional_classifier": 0.8,
    "lstm_text": 0.85,
    "transformer_encoder": 0.8,
}


def run(name, package, root):
    """The script's `result`, with tensorflow.keras replaced in its import lines."""
    text = (SCRIPTS / f"{name}.py").read_text()
    lines = []
    for line in text.splitlines():
        if re.match(r"(from|import) tensorflow", line):
            line = line.replace("tensorflow.keras", package).replace("from tensorflow import keras", root)
        lines.append(line)
    names = {"__name__": name}
    exec(compile("\n".join(lines), name, "exec"), names)
    return names["result"]


@pytest.mark.parametrize("name", LEAST)
def test_script(name, capsys):
    assert run(name, "fastattn.keras", "from fastattn import keras") >= LEAST[name]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LEAST)
def test_script_in_keras(name, capsys):
    keras_or_skip()
    assert run(name, "keras", "import keras") >= LEAST[name]
