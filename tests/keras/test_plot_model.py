"""plot_model: what the picture has, that it is well-formed, and that arrows do not cross boxes."""

import re
import xml.etree.ElementTree as ET

import pytest

from fastattn import keras

SVG = "{http://www.w3.org/2000/svg}"


def branches():
    a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
    x, y = keras.layers.Dense(16, activation="relu", name="x")(a), keras.layers.Dense(16, name="y")(b)
    z = keras.layers.Concatenate(name="z")([x, y, a])
    h = keras.layers.Dropout(0.1, name="d")(keras.layers.Dense(16, name="h")(z))
    out = keras.layers.Dense(3, name="<out>")(keras.layers.Add(name="sum")([h, x]))
    return keras.Model([a, b], [out, keras.layers.Dense(1, name="other")(z)], name="branches")


def boxes(picture):
    """(left, right, top, bottom) of each."""
    found = []
    for rect in ET.fromstring(picture).iter(f"{SVG}rect"):
        x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        found.append((x, x + width, y, y + height))
    return found


def test_what_it_has(tmp_path):
    model = branches()
    picture = keras.utils.plot_model(model, tmp_path / "m.svg", True, True, True, show_layer_activations=True)
    assert (tmp_path / "m.svg").read_text() == picture == picture._repr_svg_()
    root = ET.fromstring(picture)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for line in (
        "a (InputLayer)",
        "x (Dense)",
        "activation: relu",
        "output: (None, 40)",
        "<out> (Dense)",
        "dtype: float32",
    ):
        assert line in texts
    assert len(boxes(picture)) == len(model.layers) == 10
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(arrows) == 11  # as many as layers have inputs


def test_boxes_and_arrows_keep_apart():
    picture = keras.utils.plot_model(branches(), None, show_shapes=True, show_layer_names=True)
    found = boxes(picture)
    for i, (left, right, top, bottom) in enumerate(found):
        for other in found[i + 1 :]:
            assert right < other[0] or other[1] < left or bottom < other[2] or other[3] < top
    for path in re.findall(r'<path d="(M[^"]*C[^"]*)" fill="none"', picture):
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)(?= C|$)", path):
            inside = [b for b in found if b[0] < float(x) < b[1] and b[2] + 0.2 < float(y) < b[3] - 0.2]
            assert inside == []


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    picture = keras.utils.plot_model(model, None)
    assert len(boxes(picture)) == 3
    model.layers[0].trainable = False
    assert "not trainable" in keras.utils.plot_model(model, None, show_trainable=True)


def test_other_kinds_of_files(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"plot_model: writes SVG; .*m.svg instead of .*m.png"):
        keras.utils.plot_model(model, tmp_path / "m.png")
    assert (tmp_path / "m.svg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rankdir": "LR"}, "plot_model: rankdir is 'LR'; expected 'TB'"),
        ({"expand_nested": True}, "plot_model: expand_nested is True; expected False"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        keras.utils.plot_model(branches(), None, **options)


def test_a_model_without_a_graph():
    with pytest.raises(ValueError, match=r"plot_model: .* has no graph; expected a functional or Sequential"):
        keras.utils.plot_model(keras.Sequential([keras.layers.Dense(2)]), None)
