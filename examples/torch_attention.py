"""The kernels called from torch, under torch's autograd: a block of a transformer, compared with torch's own."""

try:
    import torch
except ModuleNotFoundError:
    raise SystemExit("torch is not installed, and this example is about it: pip install torch") from None

import fastattn as fa


class Block(torch.nn.Module):
    """Pre-norm attention and MLP. `ops` says whose kernels it runs."""

    def __init__(self, width, heads, ops):
        super().__init__()
        self.heads, self.ops = heads, ops
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))  # views; no kernel copies them
        seen = self.ops.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.down(self.ops.gelu(self.up(self.norms[1](x))))


torch.manual_seed(0)
ours = Block(width=64, heads=4, ops=fa)
theirs = Block(width=64, heads=4, ops=torch.nn.functional)
theirs.load_state_dict(ours.state_dict())

x = torch.randn(2, 100, 64)
for block in (ours, theirs):
    block(x).square().mean().backward()

pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
difference = max((a.grad - b.grad).abs().max().item() / b.grad.abs().max().item() for a, b in pairs)
print(f"gradients of {sum(p.numel() for p in ours.parameters()):,} parameters differ by at most {difference:.1e}")
assert difference < 1e-4
