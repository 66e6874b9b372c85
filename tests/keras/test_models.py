"""Sequential, graphs and subclasses: how they are built, what they know of themselves, files."""

import copy
import json

import numpy as np
import pytest
from keras_models import MODELS, compiled, data

import fastattn as fa
from fastattn import keras
from fastattn.keras import layers


def equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", MODELS)
def test_config_and_files(name, tmp_path):
    model = compiled(keras, name, "float32")
    x, y = data(name)
    model.fit(x, y, verbose=0)
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    assert again.get_config() == model.get_config()
    listed = [p if isinstance(p, list) else [p] for p in (model.predict(x, verbose=0), again.predict(x, verbose=0))]
    equal(*listed)
    model.save(tmp_path / "model.keras")
    assert {p.name for p in (tmp_path / "model.keras").iterdir()} == {
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
    }
    loaded = keras.models.load_model(tmp_path / "model.keras")
    equal(loaded.get_weights(), model.get_weights())
    assert loaded.optimizer.iterations == model.optimizer.iterations
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    for m in (model, loaded):  # the optimizer goes on from where it was
        m.fit(x, y, shuffle=False, verbose=0)
    equal(loaded.get_weights(), model.get_weights())
    model.save_weights(tmp_path / "w.weights.h5")
    fresh = MODELS[name](keras, "float32")
    fresh.load_weights(tmp_path / "w.weights.h5")
    equal(fresh.get_weights(), model.get_weights())
    fresh.load_weights(tmp_path / "model.keras")
    fresh.load_state_dict(model.state_dict())
    clone = keras.models.clone_model(model)
    assert clone.count_params() == model.count_params()
    assert keras.models.model_from_json(model.to_json()).get_config() == model.get_config()


def test_files_refuse(tmp_path):
    model = compiled(keras, "mlp", "float32")
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="is there already, and overwrite is False"):
        model.save(tmp_path / "m", overwrite=False)
    model.save_weights(tmp_path / "w")
    with pytest.raises(ValueError, match="is there already, and overwrite is False"):
        model.save_weights(tmp_path / "w", overwrite=False)
    with pytest.raises(ValueError, match="is a file; a model is saved to a folder"):
        model.save(tmp_path / "w")
    with pytest.raises(FileNotFoundError, match=r"is no saved model: it has no config\.json"):
        keras.models.load_model(tmp_path / "no")
    with pytest.raises(ValueError, match="does not fit; nothing was loaded"):
        compiled(keras, "cnn", "float32").load_weights(tmp_path / "w")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["model"]["class_name"] = "os.system"
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"there is no class 'os.system'"):
        keras.models.load_model(tmp_path / "m")


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    def __init__(self, by=2.0, **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor", regularizer="l2")
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")

    def call(self, inputs):
        return inputs * self.factor * self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


class Net(keras.Model):
    def __init__(self, width=4, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.blocks = [layers.Dense(width, "relu") for _ in range(depth)]
        self.scale = Scale(3.0)
        self.head = layers.Dense(3, "softmax")

    def call(self, inputs, training=None):
        x = inputs
        for block in self.blocks:
            x = block(x)
        return self.head(self.scale(x))


def test_subclass(tmp_path):
    x, y = data("mlp")
    model = Net(5, depth=2)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0)
    assert len(model.layers) == 4
    assert len(model.weights) == 8
    assert len(model.trainable_weights) == 7
    assert model.count_params() == 35 + 30 + 6 + 18
    assert len(model.losses) == 1
    assert "blocks_0.weight" in model.state_dict()
    model.save(tmp_path / "net")
    loaded = keras.models.load_model(tmp_path / "net", custom_objects={"Net": Net})
    equal(loaded.get_weights(), model.get_weights())
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ValueError, match="there is no class 'Net'"):
        keras.models.load_model(tmp_path / "net")
    text = []
    model.summary(print_fn=text.append)
    assert "Total params: " in text[0]
    assert "(None, 3)" in text[0]
    assert "?" not in text[0]


def test_config_of_a_subclass_of_a_layer():
    class Wide(layers.Dense):
        def __init__(self, times, units=2, **kwargs):
            super().__init__(times * units, **kwargs)

    config = Wide(3, activation="relu", name="wide", input_shape=(4,)).get_config()
    assert config == {
        "name": "wide",
        "trainable": True,
        "dtype": "float32",
        "times": 3,
        "units": 2,
        "activation": "relu",
    }
    assert Wide.from_config(config).units == 6


def test_layer_of_ones_own_in_a_graph():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Scale(3.0, name="scale")(inputs))
    np.testing.assert_array_equal(model.predict(np.ones((2, 4)), verbose=0), np.full((2, 4), 3.0))
    again = keras.Model.from_config(model.get_config())
    assert again.layers[1].by == 3.0
    assert again.output_shape == (None, 4)


def test_sequential_is_built_when_the_shape_is_known():
    model = keras.Sequential([layers.Dense(4), layers.Dense(2)])
    assert not model.built
    with pytest.raises(ValueError, match="it is not built"):
        model.count_params()
    model(np.ones((5, 3)))
    assert model.built
    assert model.count_params() == 16 + 10
    other = keras.Sequential([layers.Dense(4), layers.Dense(2)])
    other.build((None, 3))
    assert other.output_shape == (None, 2)
    other.add(layers.Dense(1))
    assert other.output_shape == (None, 1)
    other.pop()
    assert other.output_shape == (None, 2)
    assert len(other.layers) == 2
    features = keras.Model(other.inputs, other.layers[0].output)
    assert features.predict(np.ones((2, 3)), verbose=0).shape == (2, 4)
    empty = keras.Sequential()
    empty.add(keras.Input((3,)))
    empty.add(layers.Dense(2))
    assert empty.count_params() == 8
    lengths = keras.Sequential([layers.Conv1D(2, 3), layers.GlobalMaxPooling1D()])
    assert lengths(np.ones((2, 9, 1))).shape == lengths(np.ones((2, 12, 1))).shape == (2, 2)


def test_models_in_models():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], layers.subtract([inner(a), inner(b)]))
    assert model.count_params() == inner.count_params()
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model.predict([x, x], verbose=0), np.zeros((5, 2)))
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict([x, 2 * x], verbose=0), model.predict([x, 2 * x], verbose=0))
    outer = keras.Sequential([inner, layers.Dense(1)])
    assert outer.output_shape == (None, 1)
    text = []
    outer.summary(expand_nested=True, show_trainable=True, print_fn=text.append)
    assert "|- dense" in text[0]


def test_inputs_and_outputs_by_name():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    total = layers.Add(name="total")([a, b])
    model = keras.Model({"a": a, "b": b}, {"total": total, "first": layers.Identity(name="first")(a)})
    out = model({"a": np.ones((1, 2)), "b": np.zeros((1, 2))})
    assert set(out) == {"total", "first"}
    model = keras.Model([a, b], total)
    np.testing.assert_array_equal(model.predict({"b": np.ones((1, 2)), "a": np.ones((1, 2))}, verbose=0), [[2, 2]])
    dense = layers.Dense(1, name="size")(total)
    model = keras.Model([a, b], {"size": dense, "sum": total})
    model.compile("sgd", {"size": "mse"}, metrics={"size": ["mae"]})
    x = {"a": np.ones((4, 2)), "b": np.zeros((4, 2))}
    history = model.fit(x, {"size": np.ones((4, 1))}, verbose=0).history
    assert list(history) == ["loss", "size_mae"]
    assert set(model.predict(x, verbose=0)) == {"size", "sum"}


def test_arithmetic_on_symbols():
    x = keras.Input((3, 2))
    y = 2 * x[:, 0] - x[:, -1, :] / 4 + 1
    model = keras.Model(x, [-y, abs(y) ** 2])
    data_ = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
    expected = 2 * data_[:, 0] - data_[:, -1] / 4 + 1
    again = keras.Model.from_config(json.loads(json.dumps(model.get_config())))
    for m in (model, again):
        first, second = m.predict(data_, verbose=0)
        np.testing.assert_allclose(first, -expected, rtol=1e-6)
        np.testing.assert_allclose(second, expected**2, rtol=1e-6)


def test_training_is_an_argument_or_a_mode():
    layer = layers.Dropout(0.5, seed=1)
    x = np.ones((100,), np.float32)
    assert (layer(x).numpy() == 1).all()
    assert (layer(x, training=True).numpy() == 0).any()
    model = keras.Sequential([layer])
    assert (model(x[:, None]).numpy() == 1).all()
    model.train()
    assert (model(x[:, None]).numpy() == 0).any()
    model.eval()
    assert (model(x[:, None]).numpy() == 1).all()


def test_regularizers_and_added_losses():
    class Penalty(layers.Layer):
        def call(self, inputs):
            self.add_loss(inputs.mean() * 0 + 2.0)
            return inputs

    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, kernel_regularizer="l1"), Penalty()])
    model.compile("sgd", "mse")
    x = np.zeros((4, 3))
    kernel = model.get_weights()[0]
    expected = 2.0 + 0.01 * np.abs(kernel).sum()
    np.testing.assert_allclose(model.evaluate(x, np.zeros((4, 2)), verbose=0), expected, rtol=1e-6)
    model(x)
    assert len(model.losses) == 2


ERRORS = [
    (lambda: layers.Dense(0), 'Dense "dense.*": units is 0'),
    (lambda: layers.Dense(3, dtype="mixed_float16"), "Dense: dtype is 'mixed_float16'; expected one of floats"),
    (lambda: layers.Dense(3, what=1), "Dense: unknown argument 'what'"),
    (lambda: layers.Dense(), "Dense: missing a required argument: 'units'"),
    (lambda: layers.Dense(3)(np.ones(3)), r'Dense "dense.*": input has shape \(3,\); expected at least 2 axes'),
    (lambda: layers.Conv2D(3, 2)(np.ones((2, 3))), r'Conv2D "conv2d.*": input has shape \(2, 3\); expected 4 axes'),
    (lambda: layers.Conv2D(3, 5)(keras.Input((4, 4, 1))), r"a kernel of \(5, 5\) does not fit in it"),
    (lambda: layers.Conv2D(3, 2, data_format="channels_first"), "only 'channels_last' is supported"),
    (lambda: layers.Conv2D(3, 2, padding="causal"), "padding is 'causal'; expected one of valid, same"),
    (lambda: layers.Conv2D(3, 2, strides=2, dilation_rate=2), "expected 1 for one of them"),
    (lambda: layers.Conv2D(3, (2, 2, 2)), r"kernel_size is \(2, 2, 2\); expected 2 integers"),
    (lambda: layers.Dropout(1.5), "rate is 1.5; expected a probability"),
    (lambda: layers.Reshape((4,))(keras.Input((6,))), r"\(None, 6\); it does not fit target_shape \(4,\)"),
    (lambda: layers.Permute((0, 1)), r"dims is \(0, 1\); expected each of 1 to 2 once"),
    (lambda: layers.Add()(keras.Input((2,))), "input is one tensor; expected a list"),
    (lambda: layers.Add()([keras.Input((2,)), keras.Input((3,))]), r"shapes \(None, 2\), \(None, 3\); they do not fit"),
    (lambda: layers.Subtract()([keras.Input((2,))] * 3), "input is a list of 3; expected 2"),
    (lambda: layers.Concatenate()([keras.Input((2, 1)), keras.Input((3, 1))]), "expected the same but for axis -1"),
    (lambda: layers.Dot(1)([keras.Input((2,)), keras.Input((3,))]), "axes 1 do not fit"),
    (lambda: layers.Bidirectional(layers.Dense(3)), "layer is a Dense; expected an LSTM"),
    (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="max"), "merge_mode is 'max'"),
    (lambda: layers.LSTM(3)(np.ones((2, 3))), r'LSTM "lstm.*": input has shape \(2, 3\); expected 3 axes'),
    (lambda: layers.LSTM(3)(np.ones((2, 3, 1)), initial_state=[fa.ones(2, 3)]), "initial_state has shapes"),
    (lambda: layers.LSTM(3, dropout=2), "dropout is 2; expected a probability"),
    (lambda: layers.MultiHeadAttention(2, 0), "key_dim is 0"),
    (lambda: layers.MultiHeadAttention(2, 2)(np.ones((1, 2)), np.ones((1, 2))), "expected .B, T, n., .B, S, m."),
    (lambda: layers.LayerNormalization()(keras.Input((None,))), "its axis -1 has to be known"),
    (lambda: keras.Input(), "Input: pass one of shape and batch_shape"),
    (lambda: keras.Sequential([3]), "add got a int; expected a Layer"),
    (lambda: keras.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")]), "named 'a' already"),
    (lambda: keras.Sequential().pop(), "there is no layer to take off"),
    (lambda: keras.Model(keras.Input((2,)), keras.Input((2,))), "not computed from the inputs"),
    (lambda: keras.Model(keras.Input((2,))), "inputs and outputs belong together"),
    (lambda: keras.Model(np.ones(2), np.ones(2)), "inputs has a ndarray; expected what Input"),
    (lambda: keras.Sequential([layers.Dense(1)]).get_layer("no"), "there is no layer 'no'"),
    (lambda: bool(keras.Input((2,))), "a symbol of shape .* has no truth value"),
    (lambda: keras.Sequential([layers.Dense(1)]).inputs, "has no inputs: it is not a graph"),
    (lambda: layers.Dense(1).output, "has no output: it was never called on a symbol"),
    (lambda: layers.Layer()(np.ones(1)), "defines no call"),
    (lambda: layers.Activation("no_such"), "no_such"),
    (lambda: layers.Lambda(lambda x: x).get_config(), "argument function: .* cannot be written to a config"),
]


@pytest.mark.parametrize(("action", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors(action, message):
    with pytest.raises((ValueError, TypeError, AttributeError, NotImplementedError), match=message):
        action()


def test_names():
    keras.backend.clear_session()
    assert [layers.Dense(1).name for _ in range(3)] == ["dense", "dense_1", "dense_2"]
    assert [layers.Conv2D(1, 1).name, layers.MaxPooling2D().name] == ["conv2d", "max_pooling2d"]
    assert [keras.Sequential().name, keras.Sequential().name] == ["sequential", "sequential_1"]


def test_masks_that_end_are_told():
    x = layers.Embedding(5, 2, mask_zero=True)(np.array([[1, 0]]))
    with pytest.warns(UserWarning, match="got an input with a mask, which it does not pass on"):
        layers.Flatten()(x)


def test_average_pooling_does_not_count_padding():
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 1))
    out = layers.AveragePooling2D((2, 3), strides=(1, 2), padding="same", dtype="float64")(x).numpy()
    for i in range(4):
        for j in range(3):
            window = x[0, i : i + 2, max(2 * j - 1, 0) : 2 * j + 2, 0]
            np.testing.assert_allclose(out[0, i, j, 0], window.mean())


def test_state_of_a_stateful_layer():
    x = np.random.default_rng(0).standard_normal((2, 6, 3))
    layer = layers.LSTM(4, stateful=True, dtype="float64")
    whole = layers.LSTM(4, dtype="float64")
    whole(x)
    layer(x[:, :3])
    layer.set_weights(whole.get_weights())
    layer.reset_state()
    layer(x[:, :3])
    np.testing.assert_allclose(layer(x[:, 3:]).detach().numpy(), whole(x).detach().numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"reset_state\(\) first"):
        layer(x[:1])


def test_weight_of_a_shared_table():
    table = np.arange(10.0).reshape(5, 2)
    layer = layers.Embedding(5, 2, weights=[table])
    np.testing.assert_array_equal(layer(np.array([3])).detach().numpy(), table[[3]])


def masked_encoder(k, ids):
    """(pooled output, output of all steps) of attention over words with padding."""
    words = k.Input((7,), dtype="int32")
    x = k.layers.Embedding(12, 6, mask_zero=True, dtype="float64")(words)
    x = k.layers.MultiHeadAttention(2, 3, dtype="float64")(x, x)
    x = k.layers.LayerNormalization(dtype="float64")(x)
    model = k.Model(words, k.layers.GlobalAveragePooling1D(dtype="float64")(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    return model.predict(ids, verbose=0)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_through_attention_beside_keras(oracle):
    ids = data("text", 9)[0]
    np.testing.assert_allclose(masked_encoder(keras, ids), masked_encoder(oracle, ids), rtol=1e-10)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"use_causal_mask": True}, {"return_attention_scores": True}])
def test_attention_mask_beside_keras(options, oracle):
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 5, 6)), rng.random((2, 5, 5)) < 0.5
    mask |= np.eye(5, dtype=bool)  # every query sees a key
    results = []
    for k, tensor in ((keras, fa.tensor), (oracle, oracle.ops.convert_to_tensor)):
        layer = k.layers.MultiHeadAttention(2, 3, dtype="float64")
        layer.build((2, 5, 6), (2, 5, 6))
        weights = np.random.default_rng(1)
        layer.set_weights([weights.standard_normal(w.shape) for w in layer.get_weights()])
        out = layer(tensor(x), tensor(x), attention_mask=tensor(mask), **options)
        results.append([o.detach().numpy() for o in (out if isinstance(out, tuple) else (out,))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize(
    "options", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"dropout": 0.3, "recurrent_dropout": 0.3}]
)
def test_dropout_in_recurrent_layers(name, options):
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    first, second = [getattr(layers, name)(5, seed=3, dtype="float64", **options) for _ in range(2)]
    first(x)
    second(x)
    second.set_weights(first.get_weights())
    np.testing.assert_array_equal(first(x).detach().numpy(), second(x).detach().numpy())
    np.testing.assert_array_equal(first(x, training=True).detach().numpy(), second(x, training=True).detach().numpy())
    assert (first(x, training=True).detach().numpy() != first(x).detach().numpy()).any()


def test_weights_by_keras_names():
    layer = layers.Dense(3)
    layer.build((None, 2))
    assert layer.kernel.shape == (2, 3)
    assert layer.weight.shape == (3, 2)
    assert [w.path for w in layer.weights] == [f"{layer.name}/kernel", f"{layer.name}/bias"]
    layer.kernel.assign(np.ones((2, 3)))
    np.testing.assert_array_equal(np.asarray(layer.kernel), np.ones((2, 3)))
    with pytest.raises(AttributeError, match="Dense has no attribute 'gamma'"):
        layer.gamma  # noqa: B018


def test_initial_states_from_an_encoder():
    source, target = keras.Input((None, 3)), keras.Input((None, 2))
    _, h, c = layers.LSTM(4, return_state=True)(source)
    out = layers.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    model = keras.Model([source, target], layers.TimeDistributed(layers.Dense(2))(out))
    model.compile("adam", "mse")
    x, y = np.ones((4, 5, 3), np.float32), np.ones((4, 6, 2), np.float32)
    assert model.output_shape == (None, None, 2)
    model.fit([x, y], y, verbose=0)
    again = keras.Model.from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    equal([again.predict([x, y], verbose=0)], [model.predict([x, y], verbose=0)])


def doubled(y_true, y_pred):
    return 2 * (y_true - y_pred).square().mean(-1)


def test_compile_with_functions(tmp_path):
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", doubled, metrics=[doubled])
    assert list(model.fit(x, y, verbose=0).history) == ["doubled", "loss"]
    model.save(tmp_path / "m")
    loaded = keras.models.load_model(tmp_path / "m", custom_objects={"doubled": doubled})
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    with pytest.raises(ValueError, match="doubled"):
        keras.models.load_model(tmp_path / "m").evaluate(x, y, verbose=0)
    model.compile("sgd", lambda a, b: (a - b).abs().mean(-1))
    with pytest.warns(UserWarning, match="what compile.. got is not saved"):
        model.save(tmp_path / "m")
    assert not keras.models.load_model(tmp_path / "m").compiled


def test_a_copy():
    model = compiled(keras, "branches", "float32")
    x, y = data("branches")
    model.fit(x, y, verbose=0)
    other = copy.deepcopy(model)
    equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    other.fit(x, y, verbose=0)
    assert (other.get_weights()[0] != model.get_weights()[0]).any()


class Plain(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = layers.Dense(2), Plain(2)

    def call(self, inputs):
        return self.left(inputs["p"]) + self.right(inputs["q"])


def test_constructors_without_a_name(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Plain(4)(inputs))
    again = keras.Model.from_config(model.get_config(), {"Plain": Plain})
    assert [a.name for a in again.layers] == [a.name for a in model.layers]
    x = {"p": np.ones((2, 3)), "q": np.ones((2, 5))}
    pair = Pair()
    pair.predict(x, verbose=0)
    pair.save(tmp_path / "pair")
    loaded = keras.models.load_model(tmp_path / "pair", {"Pair": Pair, "Plain": Plain})
    equal([loaded.predict(x, verbose=0)], [pair.predict(x, verbose=0)])
    with pytest.raises(AttributeError, match="layers has no 'Conv9D'; what of Keras is covered"):
        layers.Conv9D  # noqa: B018
