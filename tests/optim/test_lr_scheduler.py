"""Schedules: closed forms, torch's curves, resuming."""

import math

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
    "cosine": lambda m: lambda o: m.CosineAnnealingLR(o, T_max=8, eta_min=0.001),
    "linear": lambda m: lambda o: m.LinearLR(o, start_factor=0.25, total_iters=5),
    "lambda": lambda m: lambda o: m.LambdaLR(o, lambda t: 0.9**t),
    "lambdas": lambda m: lambda o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (t + 1)]),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_curves_are_torchs(name):
    torch = pytest.importorskip("torch")
    params = [{"params": [torch.ones(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.02)]
    opt = torch.optim.SGD(params)
    schedule = SAME_AS_TORCH[name](torch.optim.lr_scheduler)(opt)
    for ours in curve(SAME_AS_TORCH[name](schedules)):
        assert ours == pytest.approx(schedule.get_last_lr(), rel=1e-9)
        opt.step()
        schedule.step()


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
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
