"""Copies, pickles and hooks of optimizers."""

import copy
import pickle

import pytest

import fastattn as fa
from fastattn import nn, optim

MAKES = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: optim.AdamW([{"params": list(p), "lr": 0.05}]),
}


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(fa.ones(3, 2)) ** 2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", MAKES)
def test_a_copy_goes_on_alone(name, duplicate):
    fa.manual_seed(0)
    model = nn.Linear(2, 2)
    optimizer = MAKES[name](model.parameters())
    train(model, optimizer, 3)
    twin, twin_optimizer = duplicate((model, optimizer))
    assert twin_optimizer.param_groups[0]["params"][0] is twin.weight
    before = model.weight.tolist()
    train(twin, twin_optimizer, 2)
    assert model.weight.tolist() == before
    train(model, optimizer, 2)
    assert twin.weight.tolist() == model.weight.tolist()


def test_hooks_of_steps():
    w = fa.ones(1, requires_grad=True)
    optimizer, log = optim.SGD([w], lr=0.5), []
    handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append(("before", w.item())))
    optimizer.register_step_post_hook(lambda o, args, kwargs: log.append(("after", w.item())))
    w.sum().backward()
    optimizer.step()
    assert log == [("before", 1.0), ("after", 0.5)]
    handle.remove()
    optimizer.step()
    assert log[2:] == [("after", 0.0)]
