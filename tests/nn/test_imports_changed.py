"""One text, run once with torch's imports and once with ours: outputs, gradients, trained weights, state_dict keys."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

IMPORTS = {
    "torch": """
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import Parameter
from torch.optim import SGD, AdamW, lr_scheduler
from torch.utils.data import DataLoader, Dataset, TensorDataset
""",
    "fastattn": """
import fastattn as torch
from fastattn import Tensor, nn
from fastattn.nn import functional as F
from fastattn.nn.parameter import Parameter
from fastattn.optim import SGD, AdamW, lr_scheduler
from fastattn.data import DataLoader, Dataset, TensorDataset
""",
}

# Each defines a module Net, and inputs(x): what it is called with, given a float64 array of (4, 6, 8).
TEXTS = {
    "an mlp": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(inplace=True), nn.Dropout(0.0))
        self.layers.append(nn.Linear(16, 8)).append(nn.Softplus())
        self.register_buffer("steps", torch.zeros(1, dtype=torch.long))
        self.scale = Parameter(torch.ones(8))
        self.apply(self._init)

    @torch.no_grad()
    def _init(self, module):
        if isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            module.bias.fill_(0.01)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return F.normalize(self.layers(x), dim=-1) * self.scale

def inputs(x):
    return (x,)
""",
    "a transformer block": """
class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.register_buffer("mask", torch.tril(torch.ones(16, 16, dtype=torch.bool)).view(1, 1, 16, 16), persistent=False)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        att = torch.einsum("bhtd,bhsd->bhts", q, k) * (C // self.heads) ** -0.5
        att = att.masked_fill(~self.mask[:, :, :T, :T], torch.finfo(att.dtype).min)
        att = F.softmax(att, dim=-1)
        y = torch.matmul(att, v).transpose(1, 2).contiguous().view(B, T, C)
        return self.out(y)

class Net(nn.Module):
    def __init__(self, dim=8, heads=2, layers=2):
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            self.blocks.append(nn.ModuleDict({
                "ln1": nn.LayerNorm(dim), "attn": Attention(dim, heads), "ln2": nn.LayerNorm(dim),
                "mlp": nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)),
            }))
        self.pos = nn.Parameter(torch.randn(1, 16, dim) * 0.02)

    def forward(self, x):
        x = x + self.pos[:, : x.shape[1]]
        for block in self.blocks:
            x = x + block["attn"](block["ln1"](x))
            x = x + block["mlp"](block["ln2"](x))
        return x.mean(dim=1)

def inputs(x):
    return (x,)
""",
    "rotary positions and gates": """
def rotate_half(x):
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)

class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))

class Net(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        inv_freq = 1.0 / (10000 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
        self.register_buffer("inv_freq", inv_freq)
        self.norm = RMSNorm(dim)
        self.gate_proj, self.up_proj = nn.Linear(dim, 12, bias=False), nn.Linear(dim, 12, bias=False)
        self.down_proj = nn.Linear(12, dim, bias=False)

    def forward(self, x, position_ids=None):
        if position_ids is None:
            position_ids = torch.arange(x.shape[1], device=x.device).unsqueeze(0).expand(x.size(0), -1)
        freqs = position_ids[:, :, None].to(x.dtype) * self.inv_freq[None, None, :]
        emb = torch.cat((freqs, freqs), dim=-1)
        x = x * emb.cos() + rotate_half(x) * emb.sin()
        x = self.norm(x)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)).sum(1)

def inputs(x):
    return (x,)
""",
    "embeddings, indices and a mask": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8, padding_idx=0)
        self.mix = nn.ParameterList([nn.Parameter(torch.full((8,), 0.1 * i)) for i in range(3)])
        self.head = nn.Bilinear(8, 8, 8)
        nn.init.trunc_normal_(self.head.weight, std=0.2)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
        x = x * mask.unsqueeze(-1).type_as(x)
        last = x.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, x.size(-1))).squeeze(1)
        top = x.topk(2, dim=1).values.mean(1)
        pooled = x.sum(1) / lengths.clamp(min=1)[:, None]
        weights = torch.stack(list(self.mix)).softmax(0)
        mixed = torch.stack([last, top, pooled], dim=1) * weights
        counts = torch.zeros_like(pooled).index_add_(0, torch.tensor([0, 0]), pooled[:2].detach())
        return self.head(mixed.sum(1), torch.where(pooled > 0, pooled, -pooled)) + counts * 0.1

def inputs(x):
    ids = (x.abs() * 7).long().clamp(0, 19).flatten(1)[:, :9]
    return ids, torch.tensor([9, 3, 1, 6])
""",
    "multi-head attention": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.activation = getattr(nn, "LeakyReLU")(0.1)
        self.bilinear = None

    def forward(self, x):
        mask = torch.triu(torch.full((x.size(1), x.size(1)), float("-inf")), diagonal=1).to(x.dtype)
        y, weights = self.attention(x, x, x, attn_mask=mask, average_attn_weights=False)
        return self.activation(y).flatten(1).narrow(1, 0, 8) + weights.amax((1, 2, 3)).unsqueeze(-1)

def inputs(x):
    return (x,)
""",
}

LOOP = """
def train(net, x, target, steps=6):
    net.train()
    decay = [p for n, p in net.named_parameters() if p.dim() >= 2]
    rest = [p for n, p in net.named_parameters() if p.dim() < 2]
    optimizer = AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=1e-2)
    schedule = lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(optimizer, 4)],
        milestones=[2],
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    args = inputs(x)
    loader = DataLoader(TensorDataset(*args, target), batch_size=4)
    for step in range(steps):
        for *batch, y in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(net(*batch), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses
"""


@pytest.mark.parametrize("name", TEXTS)
def test_the_same_text(name):
    x = np.random.default_rng(0).standard_normal((4, 6, 8))
    nets, found, scopes = [], [], []
    for imports in IMPORTS.values():
        scope = {"__name__": "text"}
        exec(compile(imports + TEXTS[name] + LOOP, name, "exec"), scope)
        nets.append(scope["Net"]().double())
        scopes.append(scope)
    theirs, ours = nets
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    for net, scope in zip(nets, scopes, strict=True):
        data = scope["torch"].tensor(x, requires_grad=True)
        out = net(*scope["inputs"](data))
        (out * out).sum().backward()
        grads = {n: p.grad.numpy().copy() for n, p in net.named_parameters() if p.grad is not None}
        losses = scope["train"](net, scope["torch"].tensor(x), scope["torch"].tensor([0, 3, 5, 7]))
        state = {n: p.detach().numpy() for n, p in net.state_dict().items()}
        input_grad = None if data.grad is None else data.grad.numpy()
        found.append((out.detach().numpy(), input_grad, grads, losses, state))
    for left, right in zip(*found, strict=True):
        assert (left is None) == (right is None)
        if isinstance(left, dict):
            assert left.keys() == right.keys()
            for key in left:
                np.testing.assert_allclose(right[key], left[key], rtol=1e-7, atol=1e-10, err_msg=key)
        elif left is not None:
            np.testing.assert_allclose(right, left, rtol=1e-7, atol=1e-10)
