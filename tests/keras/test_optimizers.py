"""Optimizers: trajectories beside keras 3 in float64, their options, what is kept on disk."""

import numpy as np
import pytest
from keras_oracle import keras_may_warn

import fastattn as fa
from fastattn import keras

pytestmark = keras_may_warn

STEPS = 60


def schedule(module, name):
    schedules = module.optimizers.schedules
    return {
        "exponential": lambda: schedules.ExponentialDecay(0.05, 7, 0.8),
        "cosine": lambda: schedules.CosineDecay(0.02, 40, alpha=0.1, warmup_target=0.05, warmup_steps=10),
        "piecewise": lambda: schedules.PiecewiseConstantDecay([10, 30], [0.05, 0.0, 0.01]),
    }[name]()


CASES = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.05, "nesterov": True}),
    ("SGD", {"learning_rate": "piecewise", "momentum": 0.8, "nesterov": True}),
    ("SGD", {"learning_rate": "exponential", "momentum": 0.8, "weight_decay": 0.01}),
    ("SGD", {"momentum": 0.9, "clipnorm": 0.7}),
    ("SGD", {"momentum": 0.9, "global_clipnorm": 0.7, "nesterov": True}),
    ("SGD", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.7}),
    ("SGD", {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7}),
    ("SGD", {"momentum": 0.9, "gradient_accumulation_steps": 3}),
    ("SGD", {"loss_scale_factor": 4.0}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.03, "amsgrad": True}),
    ("Adam", {"learning_rate": "cosine", "amsgrad": True, "epsilon": 0.1}),
    ("Adam", {"learning_rate": "cosine", "weight_decay": 0.02}),
    ("Adam", {"learning_rate": 0.03, "global_clipnorm": 0.5}),
    ("Adam", {"learning_rate": 0.03, "clipnorm": 0.5}),
    ("Adam", {"learning_rate": 0.03, "clipvalue": 0.1, "weight_decay": 0.1}),
    ("Adam", {"learning_rate": 0.03, "gradient_accumulation_steps": 4, "clipnorm": 0.5, "weight_decay": 0.1}),
    ("Adam", {"learning_rate": 0.03, "use_ema": True, "gradient_accumulation_steps": 2, "ema_overwrite_frequency": 5}),
    ("AdamW", {"learning_rate": 0.03}),
    ("AdamW", {"learning_rate": 0.03, "weight_decay": 0.2, "amsgrad": True}),
    ("RMSprop", {"learning_rate": 0.01}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.7, "centered": True, "epsilon": 1e-4}),
    ("RMSprop", {"learning_rate": "exponential", "momentum": 0.7, "weight_decay": 0.1, "clipnorm": 1.0}),
    ("RMSprop", {"learning_rate": 0.01, "global_clipnorm": 0.5}),
    ("Adagrad", {"learning_rate": 0.1}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.5, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3}),
    ("Adamax", {"learning_rate": 0.02}),
    ("Adamax", {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "clipvalue": 0.2}),
    ("Nadam", {"learning_rate": 0.02}),
    ("Nadam", {"learning_rate": "cosine", "beta_1": 0.8, "beta_2": 0.99, "weight_decay": 0.1}),
    ("Lion", {"learning_rate": 0.01}),
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.8, "weight_decay": 0.1}),
]
IDS = [f"{name}-{','.join(f'{k}={v}' for k, v in options.items())}" for name, options in CASES]


def made(module, name, options):
    rate = options.get("learning_rate")
    rate = {"learning_rate": schedule(module, rate)} if isinstance(rate, str) else {}
    return getattr(module.optimizers, name)(**{**options, **rate})


class Walk:
    """Gradients that depend on where the parameters are, the same for both sides."""

    def __init__(self, rng):
        self.start = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
        self.noise = [[rng.standard_normal(p.shape) for p in self.start] for _ in range(STEPS)]

    def gradients(self, step, values):
        return [np.sin(3 * p) + 0.3 * p + 0.2 * n for p, n in zip(values, self.noise[step], strict=True)]

    def ours(self, optimizer, steps=range(STEPS), start=None, dtype="float64"):
        params = [fa.tensor(p).to(dtype).requires_grad_() for p in start or self.start]
        if not optimizer.built:
            optimizer.build(params)
        path = []
        for step in steps:
            values = [p.detach().double().numpy() for p in optimizer._parameters]
            for p, g in zip(optimizer._parameters, self.gradients(step, values), strict=True):
                p.grad = fa.tensor(g).to(dtype)
            optimizer.apply()
            optimizer.zero_grad()
            path.append([p.detach().numpy().copy() for p in optimizer._parameters])
        return path

    def theirs(self, keras, optimizer):
        import torch

        params = [keras.Variable(p, dtype="float64") for p in self.start]
        path = []
        for step in range(STEPS):
            values = [p.value.detach().numpy() for p in params]
            with torch.no_grad():
                optimizer.apply([torch.tensor(g) for g in self.gradients(step, values)], params)
            path.append([p.value.detach().numpy().copy() for p in params])
        return path


@pytest.fixture
def walk(rng):
    return Walk(rng)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_trajectory(oracle, walk, name, options):
    """Of 60 steps in float64; gradients depend on the place, so that a difference would grow."""
    ours = walk.ours(made(keras, name, options))
    theirs = walk.theirs(oracle, made(oracle, name, options))
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-10, err_msg=f"step {step}")


@pytest.mark.parity
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_decay_is_inverse_time(oracle, walk, name):
    """The first Keras's `decay`, which keras 3 has as a schedule."""
    theirs = getattr(oracle.optimizers, name)(oracle.optimizers.schedules.InverseTimeDecay(0.05, 1, 0.1))
    ours = walk.ours(getattr(keras.optimizers, name)(lr=0.05, decay=0.1))
    np.testing.assert_allclose(ours[-1][0], walk.theirs(oracle, theirs)[-1][0], rtol=0, atol=1e-10)


@pytest.mark.parity
def test_excluded_from_weight_decay(oracle, walk):
    def excluded(module, optimizer, name):
        optimizer.exclude_from_weight_decay(var_names=[name])
        return optimizer

    for method in ("AdamW", "SGD"):
        ours = excluded(keras, getattr(keras.optimizers, method)(0.05, weight_decay=0.3), "bias")
        params = [fa.tensor(p).requires_grad_() for p in walk.start]
        params = [fa.nn.Parameter(p.detach()) for p in params]
        params[0].name, params[1].name = "kernel", "bias"
        ours.build(params)
        path = walk.ours(ours)
        theirs = excluded(oracle, getattr(oracle.optimizers, method)(0.05, weight_decay=0.3), "variable_1$")
        import torch

        variables = [oracle.Variable(p, dtype="float64", name=f"variable_{i}") for i, p in enumerate(walk.start)]
        for step in range(STEPS):
            values = [v.value.detach().numpy() for v in variables]
            with torch.no_grad():
                theirs.apply([torch.tensor(g) for g in walk.gradients(step, values)], variables)
        for p, v in zip(path[-1], variables, strict=True):
            np.testing.assert_allclose(p, v.value.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_config_is_keras(oracle, name, options):
    ours, theirs = made(keras, name, options), made(oracle, name, options)
    wanted, config = theirs.get_config(), ours.get_config()
    for key in wanted.keys() - {"learning_rate", "name"}:
        assert config[key] == wanted[key], key
    if isinstance(config["learning_rate"], dict):
        assert config["learning_rate"]["config"] == wanted["learning_rate"]["config"]
    else:
        assert config["learning_rate"] == pytest.approx(wanted["learning_rate"])


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_variables_are_as_many_as_kerass(oracle, walk, name, options):
    """summary() counts them."""
    ours, theirs = made(keras, name, options), made(oracle, name, options)
    ours.build([fa.tensor(p).requires_grad_() for p in walk.start])
    theirs.build([oracle.Variable(p) for p in walk.start])
    sizes = sorted(int(np.prod(v.shape)) for v in theirs.variables)
    assert sorted(np.size(v) for v in ours.variables) == sizes


SCHEDULES = [
    ("ExponentialDecay", (0.1, 10, 0.5), {}),
    ("ExponentialDecay", (0.1, 10, 0.5), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 10, 0.5), {}),
    ("InverseTimeDecay", (0.1, 10, 0.5), {"staircase": True}),
    ("PiecewiseConstantDecay", ([5, 20], [1.0, 0.5, 0.1]), {}),
    ("PolynomialDecay", (0.1, 10), {"power": 2.0}),
    ("PolynomialDecay", (0.1, 10), {"cycle": True, "end_learning_rate": 0.01}),
    ("CosineDecay", (0.1, 25), {"alpha": 0.1}),
    ("CosineDecay", (0.0, 15), {"warmup_target": 0.1, "warmup_steps": 8}),
    ("CosineDecayRestarts", (0.1, 7), {"m_mul": 0.9, "alpha": 0.01}),
    ("CosineDecayRestarts", (0.1, 7), {"t_mul": 1.0}),
    ("CosineDecayRestarts", (0.1, 7), {"t_mul": 1.5, "m_mul": 0.5}),
]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "args", "options"), SCHEDULES)
def test_schedules(oracle, name, args, options):
    ours = getattr(keras.optimizers.schedules, name)(*args, **options)
    theirs = getattr(oracle.optimizers.schedules, name)(*args, **options)
    for step in range(60):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-9, abs=1e-15), step
    assert ours.get_config() == theirs.get_config()


# Without keras -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "args", "options"), SCHEDULES)
def test_schedules_on_disk(name, args, options):
    ours = getattr(keras.optimizers.schedules, name)(*args, **options)
    optimizer = keras.optimizers.Adam(ours)
    again = keras.optimizers.get(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.learning_rate == optimizer.learning_rate == ours(0)


def test_sgd_is_fastattns(walk):
    """Plain SGD and fastattn.optim's give the same bits."""
    params = [fa.tensor(p).requires_grad_() for p in walk.start]
    optimizer = fa.optim.SGD(params, lr=0.05)
    for step in range(STEPS):
        for p, g in zip(params, walk.gradients(step, [p.detach().numpy() for p in params]), strict=True):
            p.grad = fa.tensor(g)
        optimizer.step()
    for a, b in zip(walk.ours(keras.optimizers.SGD(0.05))[-1], params, strict=True):
        np.testing.assert_array_equal(a, b.detach().numpy())


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_state_on_disk(walk, name, options):
    """30 steps, the state in a new optimizer, 30 more: the bits of 60 steps."""
    whole = walk.ours(made(keras, name, options))
    first = made(keras, name, options)
    half = walk.ours(first, range(STEPS // 2))
    state = first.state_dict()
    second = keras.optimizers.get(keras.optimizers.serialize(first))
    params = [fa.tensor(p).requires_grad_() for p in half[-1]]
    second.build(params)
    second.load_state_dict(state)
    rest = walk.ours(second, range(STEPS // 2, STEPS))
    for a, b in zip(rest[-1], whole[-1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Nadam"])
def test_16_bits_follow_float64(walk, dtype, name):
    """Masters keep what 16 bits would lose: after 60 small steps the way is that of float64, up to a rounding of where
    gradients were taken."""
    options = {"learning_rate": 1e-3, "weight_decay": 0.01}
    low = walk.ours(getattr(keras.optimizers, name)(**options), dtype=dtype)[-1]
    high = walk.ours(getattr(keras.optimizers, name)(**options))[-1]
    eps = float(fa.finfo(dtype).eps)
    for a, b, start in zip(low, high, walk.start, strict=True):
        # A rounding of the start, one of the result, and of the way what gradients of so many bits leave open.
        bound = eps * (abs(start) + abs(b) + 8 * STEPS * 1e-3)
        assert (abs(a.astype(float) - b) <= bound).all()


def test_learning_rate_can_be_set():
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.learning_rate = 0.25
    assert optimizer.learning_rate == optimizer.lr == 0.25
    optimizer.lr = 0.125
    assert optimizer.learning_rate.numpy() == 0.125
    optimizer.learning_rate.assign(0.0625)
    assert optimizer.lr == 0.0625
    optimizer = keras.optimizers.SGD(lambda: 0.5)
    assert optimizer.learning_rate == 0.5


def test_apply_gradients_builds():
    w = fa.ones(2, requires_grad=True)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.apply_gradients([(fa.tensor([0.25, 0.5]), w)])
    assert w.tolist() == [0.75, 0.5]
    assert optimizer.iterations == 1


def test_what_nan_gradients_do():
    """Clipped by their norm together, one NaN or infinity makes all NaN: it does not go unseen."""
    for bad in (np.nan, np.inf):
        a, b = fa.ones(1, requires_grad=True), fa.ones(1, requires_grad=True)
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        optimizer.apply([fa.tensor([bad]), fa.tensor([1.0])], [a, b])
        assert np.isnan(a.item())
        assert np.isnan(b.item())


@pytest.mark.parametrize(
    "name", ["sgd", "SGD", "adam", "Adam", "adamw", "rmsprop", "RMSprop", "rms_prop", "nadam", "Lion"]
)
def test_names(name):
    assert type(keras.optimizers.get(name)).__name__.lower() == name.replace("_", "").lower()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: keras.optimizers.get("adaam"),
            ValueError,
            "optimizer: there is none named 'adaam'; did you mean 'Adam'",
        ),
        (
            lambda: keras.optimizers.Adam(lr=1.0, learning_rate=1.0),
            TypeError,
            "Adam: lr and learning_rate are the same",
        ),
        (
            lambda: keras.optimizers.Adam(beta1=0.9),
            TypeError,
            "Adam: unknown option 'beta1'; expected learning_rate, beta_1",
        ),
        (
            lambda: keras.optimizers.Adam(learning_rate="fast"),
            ValueError,
            "Adam: learning_rate is 'fast'; expected a number",
        ),
        (lambda: keras.optimizers.SGD(momentum=1.5), ValueError, "SGD: momentum is 1.5; expected 0 to 1"),
        (lambda: keras.optimizers.SGD(decay=-1.0), ValueError, "SGD: decay is -1.0; expected at least 0"),
        (lambda: keras.optimizers.Lion(beta_1=0.0), ValueError, "Lion: beta_1 is 0.0; expected above 0"),
        (lambda: keras.optimizers.AdamW(weight_decay=None), ValueError, "AdamW: weight_decay is None"),
        (lambda: keras.optimizers.SGD(clipnorm=1.0, clipvalue=1.0), ValueError, "SGD: only one of clipnorm, clipvalue"),
        (
            lambda: keras.optimizers.SGD(use_ema=True, ema_momentum=2),
            ValueError,
            "SGD: ema_momentum is 2; expected 0 to 1",
        ),
        (
            lambda: keras.optimizers.SGD(gradient_accumulation_steps=1),
            ValueError,
            "SGD: gradient_accumulation_steps is 1; expected an integer of at least 2",
        ),
        (
            lambda: keras.optimizers.SGD().apply(),
            ValueError,
            r"SGD: it has no parameters; call build\(parameters\) first",
        ),
        (
            lambda: keras.optimizers.schedules.CosineDecay(1.0, 0),
            ValueError,
            "CosineDecay: decay_steps is 0; expected above",
        ),
        (
            lambda: keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0]),
            ValueError,
            "PiecewiseConstantDecay: 1 boundaries and 1 values",
        ),
        (lambda: keras.optimizers.schedules.LearningRateSchedule()(0), NotImplementedError, "defines no __call__"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_errors_of_a_built_optimizer():
    a, b = fa.ones(1, requires_grad=True), fa.ones(1, requires_grad=True)
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(1.0, 3))
    optimizer.build([a, b])
    with pytest.raises(ValueError, match="SGD: no parameter has a gradient"):
        optimizer.apply()
    a.grad = fa.ones(1)
    with pytest.warns(UserWarning, match="SGD: no gradient for parameter 1; did the loss depend on it?"):
        optimizer.apply()
    with pytest.raises(TypeError, match="SGD: the learning rate is a schedule; it cannot be set to a number"):
        optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match="exclude_from_weight_decay comes before the optimizer is built"):
        optimizer.exclude_from_weight_decay([a])
