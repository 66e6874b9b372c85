"""The fused Adam on plain arrays: every tensor of a model in one call, with clipping and zeroed gradients on the way."""

import numpy as np

import fastattn as fa

# A straight line through noisy points: parameters, gradients and moments are lists of arrays, changed in place.
rng = np.random.default_rng(0)
x = rng.standard_normal((200, 3)).astype(np.float32)
truth = np.array([[2.0], [-1.0], [0.5]], np.float32)
y = x @ truth + 3 + 0.01 * rng.standard_normal((200, 1)).astype(np.float32)

params = [np.zeros((3, 1), np.float32), np.zeros(1, np.float32)]
grads, exp_avgs, exp_avg_sqs = ([np.zeros_like(p) for p in params] for _ in range(3))

for step in range(1, 301):
    error = fa.matmul(x, params[0], bias=params[1]) - y
    grads[0] += 2 / len(x) * x.T @ error  # adds up, as the call below leaves 0
    grads[1] += 2 * error.mean(0)
    norm = float(fa.grad_norm(grads))  # of all gradients, as of one vector
    fa.adam_step(
        params, grads, exp_avgs, exp_avg_sqs, step=step, lr=0.05, weight_decay=1e-4, decoupled=True,
        grad_scale=min(1.0, 1.0 / (norm + 1e-6)), zero_grads=True,
    )  # fmt: skip
    if step % 100 == 0:
        print(f"step {step}: error {np.square(error).mean():.5f}, gradient {norm:.4f}")

print("found", params[0].ravel().round(2), params[1].round(2))
assert np.allclose(params[0], truth, atol=0.05)
assert np.allclose(params[1], 3, atol=0.05)
assert not grads[0].any()
