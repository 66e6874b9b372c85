"""A small GPT trained by hand: the loop that `fastattn train` runs with checkpoints, evaluation and resume."""

import time

import numpy as np

import fastattn as fa

STEPS, BATCH, CONTEXT = 300, 8, 64

fa.manual_seed(0)
rng = np.random.default_rng(0)
text = fa.data.default_text()  # the topics of Python's own help
vocabulary = fa.data.CharVocabulary.of(text)
ids = np.asarray(vocabulary.encode(text))

config = fa.models.GPTConfig(
    vocab_size=len(vocabulary), n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=4,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
model = fa.models.GPT(config)
optimizer = fa.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.99), weight_decay=0.1)
schedule = fa.optim.lr_scheduler.WarmupCosine(optimizer, warmup_steps=10, total_steps=STEPS)

losses, start = [], time.perf_counter()
for step in range(STEPS):
    begins = rng.integers(0, len(ids) - CONTEXT, BATCH)
    windows = ids[begins[:, None] + np.arange(CONTEXT)]  # (batch, context)
    _, loss = model(windows, labels=windows)  # the logits at t are scored against the token at t + 1
    optimizer.zero_grad()
    loss.backward()
    fa.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    if step % 50 == 0 or step == STEPS - 1:
        speed = (step + 1) * BATCH * CONTEXT / (time.perf_counter() - start)
        print(f"step {step:3}  loss {loss.item():.3f}  {speed:,.0f} tokens/s")

assert sum(losses[-10:]) / 10 < 2.7  # from 4.6 of a model that knows nothing
fa.io.save_pretrained(model, "small-gpt")  # transformers.AutoModelForCausalLM.from_pretrained opens it
vocabulary.save("small-gpt/vocab.json")  # and `fastattn generate small-gpt`
