"""Schedules: closed forms, torch's curves, resuming."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

import fastattn as fa
from fastattn.optim import SGD
from fastattn.optim import lr_scheduler as schedules


def optimizer(*lrs):
    return SGD([{"params": [fa.ones(1, requires_grad=True)], "lr": lr} for lr in lrs or (0.1,)])


def curve(make, n=12):
    opt = optimizer(0.1, 0.02)
    schedule = make(opt)
    rows = []
    for _ in range(n):
        rows.append(schedule.get_last_lr())
        schedule.step()
    return rows


SAME_AS_TORCH = {
    "step": lambda m, o: m.StepLR(o, step_size=3, gamma=0.5),
    "multi step": lambda m, o: m.MultiStepLR(o, milestones=[2, 5, 5, 9], gamma=0.5),
    "constant": lambda m, o: m.ConstantLR(o, factor=0.25, total_iters=4),
    "linear": lambda m, o: m.LinearLR(o, start_factor=0.25, total_iters=5),
    "linear down": lambda m, o: m.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=7),
    "exponential": lambda m, o: m.ExponentialLR(o, gamma=0.9),
    "polynomial": lambda m, o: m.PolynomialLR(o, total_iters=8, power=2.0),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, T_max=8, eta_min=0.001),
    "cosine, up again": lambda m, o: m.CosineAnnealingLR(o, T_max=4, eta_min=0.002),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.001),
    "restarts of one length": lambda m, o: m.CosineAnnealingWarmRestarts(o, T_0=4),
    "lambda": lambda m, o: m.LambdaLR(o, lambda t: 0.9**t),
    "lambdas": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (t + 1)]),
    "multiplicative": lambda m, o: m.MultiplicativeLR(o, lambda t: 0.9 + 0.01 * t),
    "cyclic": lambda m, o: m.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=3, step_size_down=4),
    "cyclic, halving": lambda m, o: m.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], step_size_up=2, mode="triangular2"),
    "cyclic, exponential": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "cyclic of a function": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"),
    "one cycle": lambda m, o: m.OneCycleLR(o, max_lr=0.5, total_steps=40),
    "one cycle, linear": lambda m, o: m.OneCycleLR(o, [0.5, 0.1], epochs=10, steps_per_epoch=5, anneal_strategy="linear"),
    "one cycle of three phases": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=40, three_phase=True, pct_start=0.25),
    "sequence": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=3), m.CosineAnnealingLR(o, 10), m.ExponentialLR(o, 0.9)], [3, 9]
    ),
    "chain": lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 3), m.ExponentialLR(o, 0.9), m.StepLR(o, 4)]),
    "chain with a cosine": lambda m, o: m.ChainedScheduler(
        [m.CosineAnnealingLR(o, 6, eta_min=0.001), m.LinearLR(o, 0.5, total_iters=4)]
    ),
    "sequence of a chain": lambda m, o: m.SequentialLR(
        o, [m.ConstantLR(o, 0.5, 2), m.PolynomialLR(o, 20), m.MultiStepLR(o, [1, 2])], [4, 30]
    ),
}  # fmt: skip


def in_torch(momentum=0.9):
    torch = pytest.importorskip("torch")
    params = [{"params": [torch.ones(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.02)]
    return torch.optim.SGD(params, momentum=momentum), torch.optim.lr_scheduler


def ours(*lrs):
    return SGD([{"params": [fa.ones(1, requires_grad=True)], "lr": lr} for lr in lrs or (0.1, 0.02)], momentum=0.9)


def settings(opt):
    return [value for group in opt.param_groups for value in (group["lr"], group["momentum"])]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_curves_are_torchs(name):
    theirs, modules = in_torch()
    mine = ours()
    pairs = [(mine, SAME_AS_TORCH[name](schedules, mine)), (theirs, SAME_AS_TORCH[name](modules, theirs))]
    for _ in range(35):
        assert settings(mine) == pytest.approx(settings(theirs), rel=1e-10, abs=1e-15)
        assert pairs[0][1].get_last_lr() == pytest.approx(pairs[1][1].get_last_lr(), rel=1e-10, abs=1e-15)
        for opt, schedule in pairs:
            opt.step()
            schedule.step()


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1, "factor": 0.5},
        {"mode": "max", "patience": 0, "cooldown": 2},
        {"threshold_mode": "abs", "threshold": 0.3, "patience": 0},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 1, "min_lr": [0.05, 0.001]},
        {"patience": 0, "eps": 0.03},
    ],
)
def test_plateaus_are_torchs(options):
    theirs, modules = in_torch()
    mine = ours()
    pairs = [(schedules.ReduceLROnPlateau(mine, **options)), modules.ReduceLROnPlateau(theirs, **options)]
    rng = np.random.default_rng(0)
    for metric in 3 - np.linspace(0, 1, 30).round(1) + 0.2 * rng.standard_normal(30).round(1):
        for schedule in pairs:
            schedule.step(metric)
        assert settings(mine) == pytest.approx(settings(theirs), rel=1e-12)
        assert pairs[0].num_bad_epochs == pairs[1].num_bad_epochs
        assert pairs[0].best == pairs[1].best


@pytest.mark.parametrize("at", [0, 3, 7, 12])
@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_a_state_resumes_any_schedule(name, at):
    opt = ours()
    schedule = SAME_AS_TORCH[name](schedules, opt)
    for _ in range(at):
        schedule.step()
    state = json.loads(json.dumps([schedule.state_dict(), opt.state_dict()]))
    other_opt = ours()
    other = SAME_AS_TORCH[name](schedules, other_opt)
    other_opt.load_state_dict(state[1])
    other.load_state_dict(state[0])
    for _ in range(12):
        assert settings(other_opt) == settings(opt)
        assert other.get_last_lr() == schedule.get_last_lr()
        schedule.step()
        other.step()


def test_a_plateaus_state():
    opt, other_opt = ours(), ours()
    one, other = (schedules.ReduceLROnPlateau(o, patience=1) for o in (opt, other_opt))
    for _ in range(3):
        one.step(1.0)
    other.load_state_dict(one.state_dict())
    for _ in range(4):
        one.step(1.0)
        other.step(1.0)
        assert settings(other_opt) == settings(opt)


def test_a_schedule_written_for_torch():
    class Inverse(schedules.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    schedule = Inverse(ours(1.0))
    schedule.step()
    assert schedule.get_last_lr() == [0.5]


@pytest.mark.parametrize("name", ["step", "one cycle", "cyclic", "sequence", "chain"])
def test_schedules_are_copied_with_their_optimizer(name):
    opt = ours()
    schedule = SAME_AS_TORCH[name](schedules, opt)
    schedule.step()
    for duplicate in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        twin_opt, twin = duplicate([opt, schedule])
        assert twin.optimizer is twin_opt
        for _ in range(3):
            twin.step()
        assert settings(twin_opt) != settings(opt)


def test_changes_by_hand_are_kept():
    opt = ours(1.0)
    schedule = schedules.ExponentialLR(opt, gamma=0.5)
    opt.param_groups[0]["lr"] = 0.1
    schedule.step()
    assert schedule.get_last_lr() == [0.05]


def test_warmup_and_cosine():
    rows = curve(lambda o: schedules.WarmupCosine(o, warmup_steps=4, total_steps=10, min_factor=0.1))
    first = [r[0] for r in rows]
    assert first[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert first[7] == pytest.approx(0.1 * (0.1 + 0.9 / 2))
    assert first[10] == first[11] == pytest.approx(0.01)
    assert [r[1] for r in rows] == pytest.approx([lr / 5 for lr in first])
    assert curve(lambda o: schedules.WarmupCosine(o, 0, 10))[0][0] == pytest.approx(0.1)
    assert curve(lambda o: schedules.WarmupCosine(o, 0, 10))[3][0] == pytest.approx(
        0.1 * (1 + math.cos(math.pi * 0.3)) / 2
    )


@pytest.mark.parametrize("at", [0, 3, 7])
def test_resuming(at):
    def make(o):
        return schedules.WarmupCosine(o, 4, 10)

    opt = optimizer(0.1)
    schedule = make(opt)
    for _ in range(at):
        schedule.step()
    state = schedule.state_dict()
    other_opt = optimizer(0.7)
    other = make(other_opt)
    other.load_state_dict(state)
    for _ in range(4):
        assert other.get_last_lr() == schedule.get_last_lr()
        schedule.step()
        other.step()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.CosineAnnealingLR(optimizer(), 0), "^CosineAnnealingLR: T_max is 0"),
        (
            lambda: schedules.WarmupCosine(optimizer(), 5, 4),
            r"^WarmupCosine: warmup_steps is 5; expected 0 to total_steps",
        ),
        (lambda: schedules.LambdaLR(optimizer(), []), "^LambdaLR: 0 functions for 1 groups"),
        (
            lambda: schedules.StepLR(optimizer(), 2, last_epoch=3),
            "^StepLR: last_epoch is 3, but group 0 has no initial_lr",
        ),
        (lambda: schedules.ConstantLR(optimizer(), 2.0), "^ConstantLR: factor is 2.0; expected 0 to 1"),
        (lambda: schedules.LinearLR(optimizer(), 0.0), "^LinearLR: start_factor is 0.0 and end_factor 1.0"),
        (lambda: schedules.CosineAnnealingWarmRestarts(optimizer(), 0), "^CosineAnnealingWarmRestarts: T_0 is 0"),
        (lambda: schedules.CyclicLR(optimizer(), 0.1, 1.0, mode="round"), "^CyclicLR: mode is 'round'"),
        (lambda: schedules.CyclicLR(optimizer(), 0.1, [1.0, 2.0]), "^CyclicLR: 2 max_lr for 1 groups"),
        (lambda: schedules.OneCycleLR(optimizer(), 0.1), "^OneCycleLR: total_steps is None"),
        (lambda: schedules.OneCycleLR(optimizer(), 0.1, 5, pct_start=2), "^OneCycleLR: pct_start is 2"),
        (lambda: schedules.OneCycleLR(optimizer(), 0.1, 5).step(6), "^OneCycleLR: step 6; expected at most 5"),
        (lambda: schedules.SequentialLR(optimizer(), [], []), "^SequentialLR: schedulers is empty"),
        (
            lambda: schedules.ChainedScheduler([schedules.StepLR(optimizer(), 1) for _ in "ab"]),
            "^Chained.* 1 is of another",
        ),
        (lambda: schedules.ReduceLROnPlateau(optimizer(), "avg"), "^ReduceLROnPlateau: mode is 'avg'"),
        (lambda: schedules.ReduceLROnPlateau(optimizer(), factor=1.0), "^ReduceLROnPlateau: factor is 1.0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
