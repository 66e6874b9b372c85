"""Text from a model, as it comes: the cache, sampling, rows of different lengths."""

import time

import numpy as np

import fastattn as fa

# A model that knows one sentence by heart.
text = "the quick brown fox jumps over the lazy dog. " * 50
vocabulary = fa.data.CharVocabulary.of(text)
ids = np.asarray(vocabulary.encode(text))
fa.manual_seed(0)
model = fa.models.GPT(fa.models.GPTConfig(vocab_size=len(vocabulary), n_positions=128, n_embd=32, n_layer=2, n_head=2))
config = fa.train.TrainConfig(steps=150, batch_size=8, lr=0.01, warmup=10)
fa.train.Trainer(model, fa.train.LanguageModeling(ids[:2000], ids[2000:], context=48), config).fit()
model.eval()

print("greedy: the quick", end="")
for token in model.stream([vocabulary.encode("the quick")], max_new_tokens=36, tokenizer=vocabulary):
    print(token.text, end="", flush=True)
print()

# Prompts need no padding, and a row's tokens are those that it would get alone.
prompts = [vocabulary.encode(start) for start in ("the lazy", "fox")]
sampling = {"do_sample": True, "temperature": 0.7, "top_k": 10, "seed": 0, "max_new_tokens": 20}
rows = model.generate(prompts, **sampling)
for row in rows:
    print("sampled:", vocabulary.decode(row))
assert np.array_equal(rows[0], model.generate(prompts[:1], **sampling)[0])

# What the cache is for: a step reads one token, not all of them again.
prompt = np.array([ids[:28]])
start = time.perf_counter()
cached = model.generate(prompt, max_new_tokens=100)
with_cache, start = time.perf_counter() - start, time.perf_counter()
whole = prompt
with fa.no_grad():
    for _ in range(100):
        best = model(whole)[:, -1].numpy().argmax(-1)
        whole = np.append(whole, best[:, None], axis=1)
print(f"100 tokens: {with_cache * 1e3:.0f} ms with the cache, {(time.perf_counter() - start) * 1e3:.0f} ms without")
assert np.array_equal(cached, whole)
