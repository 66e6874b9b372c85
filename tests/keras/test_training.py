"""fit, evaluate and predict: beside keras 3, beside a loop of one's own, and what they refuse."""

import numpy as np
import pytest
from keras_models import COMPILE, compiled, data, mlp

import fastattn as fa
from fastattn import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras's variables


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


OPTIONS = {
    "plain": {},
    "validation": {"validation_split": 0.3, "batch_size": 8},
    "steps": {"steps_per_epoch": 2, "batch_size": 16},
}


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", COMPILE)
def test_fit_beside_keras(name, options, oracle, float64):
    if name == "branches" and "validation_split" in options:
        options = {"batch_size": 8}
    ours, theirs = compiled(keras, name), compiled(oracle, name)
    x, y = data(name)
    run = {"epochs": 3, "shuffle": False, "verbose": 0, **options}
    histories = [m.fit(x, y, **run).history for m in (ours, theirs)]
    assert list(histories[0]) == list(histories[1])
    for key in histories[1]:
        np.testing.assert_allclose(
            histories[0][key], histories[1][key], rtol=1e-6, err_msg=key
        )  # it keeps them in float32
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    mine, other = ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(mine, other, rtol=1e-6)
    predictions = [m.predict(x, verbose=0) for m in (ours, theirs)]
    for a, b in zip(*[p if isinstance(p, list) else [p] for p in predictions], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize("weights", ["class_weight", "sample_weight"])
def test_weights_beside_keras(weights, oracle, float64):
    x, y = data("mlp")
    given = {0: 1.0, 1: 0.5, 2: 3.0} if weights == "class_weight" else np.linspace(0.1, 2, len(y))
    results = []
    for k in (keras, oracle):
        model = mlp(k)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
        rng = np.random.default_rng(2)
        model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
        results.append(
            (model.fit(x, y, epochs=2, shuffle=False, verbose=0, **{weights: given}).history, model.get_weights())
        )
    (ours, own), (theirs, other) = results
    assert list(ours) == list(theirs)
    for key in theirs:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6)
    for a, b in zip(own, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize("name", COMPILE)
def test_counts_beside_keras(name, oracle):
    keras.backend.clear_session()
    oracle.backend.clear_session()
    ours, theirs = compiled(keras, name), compiled(oracle, name)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    assert ours.count_params() == theirs.count_params()
    assert [type(a).__name__ for a in ours.layers] == [type(a).__name__ for a in theirs.layers]
    assert [a.count_params() for a in ours.layers] == [a.count_params() for a in theirs.layers]
    texts = []
    ours.summary(print_fn=texts.append)
    theirs.summary(print_fn=texts.append)
    totals = [[line.strip() for line in text.splitlines() if "params:" in line] for text in texts]
    assert totals[0] == totals[1]
    assert str(ours.output_shape) == str(theirs.output_shape)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_fit_is_the_loop_of_ones_own(optimizer):
    x, y = data("cnn", 64)
    x, y = x.astype(np.float32), y.astype(np.int64)
    models = [compiled(keras, "cnn", "float32") for _ in range(2)]
    make = getattr(keras.optimizers, optimizer)
    models[0].compile(make(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    models[0].fit(x, y, batch_size=8, epochs=7, steps_per_epoch=8, shuffle=False, verbose=0)
    model, loss = models[1], keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    step = make(0.01)
    step.build(model.parameters())
    for i in range(56):
        at = slice(8 * (i % 8), 8 * (i % 8) + 8)
        model.zero_grad()
        loss(fa.Tensor(y[at]), model(fa.Tensor(x[at]), training=True)).backward()
        step.apply()
    assert step.iterations == 56
    for a, b in zip(models[0].get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_is_the_loop_with_a_torch_like_optimizer():
    x, y = data("regression", 40)
    x, y = x.astype(np.float32), y.astype(np.float32)
    models = [
        keras.Sequential([keras.layers.Dense(5, "tanh", input_shape=(6,)), keras.layers.Dense(1)]) for _ in range(2)
    ]
    models[1].set_weights(models[0].get_weights())
    models[0].compile(keras.optimizers.SGD(0.05), "mse")
    models[0].fit(x, y, batch_size=8, epochs=10, shuffle=False, verbose=0)
    model, step = models[1], fa.optim.SGD(models[1].parameters(), lr=0.05)
    for i in range(50):
        at = slice(8 * (i % 5), 8 * (i % 5) + 8)
        step.zero_grad()
        keras.losses.MeanSquaredError()(y[at], model(x[at], training=True)).backward()
        step.step()
    for a, b in zip(models[0].get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def small():
    model = keras.Sequential([keras.layers.Dense(4, "relu", input_shape=(6,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_sources_of_batches():
    x, y = data("mlp")
    x = x.astype(np.float32)

    class Pairs(keras.utils.Sequence):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]

    def generator():
        while True:
            for i in range(5):
                yield x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]

    loader = fa.data.DataLoader(fa.data.TensorDataset(fa.Tensor(x), fa.Tensor(y)), batch_size=10)
    start = small().get_weights()
    found = []
    for source, options in (
        ((x, y), {"batch_size": 10}),
        ((Pairs(),), {}),
        ((generator(),), {"steps_per_epoch": 5}),
        ((loader,), {}),
    ):
        model = small()
        model.set_weights(start)
        history = model.fit(*source, epochs=2, shuffle=False, verbose=0, **options)
        found.append(history.history["loss"])
        assert history.epoch == [0, 1]
    for other in found[1:]:
        assert other == found[0]
    model.evaluate(loader, verbose=0)
    assert model.predict(Pairs(), verbose=0).shape == (50, 3)
    assert model.predict(generator(), steps=2, verbose=0).shape == (20, 3)


def test_epochs_and_validation():
    x, y = data("mlp")
    model = small()
    history = model.fit(
        x, y, epochs=5, initial_epoch=2, validation_data=(x[:10], y[:10]), validation_freq=2, verbose=0, batch_size=25
    )
    assert history.epoch == [2, 3, 4]
    assert len(history.history["val_loss"]) == 1
    assert model.optimizer.iterations == 6
    model.optimizer.learning_rate = 0.5
    assert float(model.optimizer.learning_rate) == 0.5


def test_single_batches():
    x, y = data("mlp", 12)
    model = small()
    first = model.train_on_batch(x, y)
    assert len(first) == 2
    assert set(model.train_on_batch(x, y, return_dict=True)) == {"loss", "accuracy"}
    assert len(model.test_on_batch(x, y)) == 2
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x, verbose=0))


def test_same_seed_same_weights():
    x, y = data("mlp")
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dropout(0.3), keras.layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=2, verbose=0)
        runs.append(model.get_weights())
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_custom_steps():
    class Custom(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.seen = keras.metrics.Mean(name="seen")

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            x, y = data[:2]
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, self(x, training=True))
            self.zero_grad()
            loss.backward()
            self.optimizer.build(self.trainable_parameters) if not self.optimizer.built else None
            self.optimizer.apply()
            self.seen.update_state(loss.detach())
            return {"seen": self.seen.result()}

    x, y = data("mlp")
    model = Custom()
    model.compile(keras.optimizers.SGD(0.3))
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert list(history) == ["seen"]
    assert history["seen"][2] < history["seen"][0]


def test_frozen_layers_stay():
    x, y = data("mlp")
    model = small()
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    assert len(model.trainable_weights) == 2
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[2] != after[2]).any()


ERRORS = [
    (
        lambda m, x, y: m.fit(x[:, :5], y, verbose=0),
        r'Sequential ".*": input ".*" has shape \(32, 5\); expected \(None, 6\)',
    ),
    (lambda m, x, y: m.fit(x, y[:10], verbose=0), "fit: arrays of different numbers of samples: x 50, y 10"),
    (lambda m, x, y: m.fit(x, y, validation_split=1.5), "fit: validation_split is 1.5"),
    (lambda m, x, y: m.fit(x, y, batch_size=0), "fit: batch_size is 0"),
    (lambda m, x, y: m.fit(iter([(x, y)]), y), "that gives batches; expected no y"),
    (lambda m, x, y: m.fit(iter([]), verbose=0), "fit: the data gave no batch"),
    (lambda m, x, y: m.fit(x, y, class_weight={0: 1.0}, sample_weight=np.ones(50)), "class_weight and sample_weight"),
    (lambda m, x, y: m.compile("adam", "no_such_loss") or m.fit(x, y, verbose=0), "no_such_loss"),
    (lambda m, x, y: m.evaluate(x, verbose=0), "there are no labels"),
    (lambda m, x, y: m.set_weights(m.get_weights()[:1]), "set_weights got 1 arrays; expected 4"),
    (lambda m, x, y: m.set_weights([w.T for w in m.get_weights()]), r"hidden|dense.*/kernel has shape \(6, 4\); got"),
    (lambda m, x, y: keras.Sequential([keras.layers.Dense(1)]).fit(x, y), "call compile"),
]


@pytest.mark.parametrize(("action", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors(action, message):
    x, y = data("mlp")
    with pytest.raises((ValueError, TypeError), match=message):
        action(small(), x, y)


def test_early_end_warns():
    x, y = data("mlp")
    with pytest.warns(UserWarning, match="fit: the data ended after 1 of 3 steps"):
        small().fit(iter([(x, y)]), steps_per_epoch=3, verbose=0)
