"""Training in 16 bits, both ways: a model in bfloat16 with float32 masters, and a float32 model under autocast."""

import numpy as np

import fastattn as fa

F = fa.nn.functional
rng = np.random.default_rng(0)
x = rng.standard_normal((512, 32), dtype=np.float32)
labels = fa.tensor((x[:, :4].sum(1) > 0).astype(np.int64))
inputs = fa.tensor(x)


def classifier():
    fa.manual_seed(0)
    return fa.nn.Sequential(fa.nn.Linear(32, 128), fa.nn.GELU(), fa.nn.Linear(128, 2))


def train(model, loss_of, steps=30):
    optimizer = fa.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def under_autocast(model):
    """Products in bfloat16 on casts that are recorded, the loss in float32; weights and gradients stay float32."""
    with fa.autocast(dtype=fa.bfloat16):
        return F.cross_entropy(model(inputs), labels)


plain = classifier()
mixed = classifier()
half = classifier().to(fa.bfloat16)  # the optimizer sees that, and keeps a float32 master of every weight
half_inputs = inputs.to(fa.bfloat16)

losses = {
    "float32": train(plain, lambda model: F.cross_entropy(model(inputs), labels)),
    "float32 under autocast": train(mixed, under_autocast),
    "bfloat16 with masters": train(half, lambda model: F.cross_entropy(model(half_inputs), labels)),
}
for (name, loss), model in zip(losses.items(), (plain, mixed, half), strict=True):
    size = sum(p.nbytes for p in model.parameters())
    print(f"{name:24} loss {loss:.3f}, weights and gradients {2 * size:,} bytes")
    assert abs(loss - losses["float32"]) < 0.05
