"""A GPT-2 as `transformers` saves it, opened here: the same keys, the same logits, and back.

    python load_gpt2.py FOLDER     # config.json and model.safetensors

Without a folder it makes one of random weights, by transformers where that is installed.
"""

import sys

import numpy as np

import fastattn as fa

try:
    import torch
    import transformers
except ModuleNotFoundError:
    transformers = None

SIZES = {"vocab_size": 101, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4}


def random_folder():
    if transformers is not None:
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0)).save_pretrained(
            "random-gpt2"
        )
    else:
        fa.manual_seed(0)
        fa.io.save_pretrained(fa.models.GPT(fa.models.GPTConfig(**SIZES)), "random-gpt2")
    return "random-gpt2"


folder = sys.argv[1] if len(sys.argv) > 1 else random_folder()
model = fa.io.from_pretrained(folder).eval()
print(f"{folder}: {model.num_parameters():,} parameters, {model.config.n_layer} layers of {model.config.n_embd}")

ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (2, 20))
with fa.no_grad():
    logits = model(ids).numpy()
print("next tokens:", logits[:, -1].argmax(-1))

if transformers is None:
    print("transformers is not installed, so there is nothing to compare with")
else:
    with torch.no_grad():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()(torch.from_numpy(ids)).logits
    difference = np.abs(logits - theirs.numpy()).max()
    print(f"transformers' logits differ by at most {difference:.1e}")
    assert difference < 1e-3 * np.abs(logits).max()

fa.io.save_pretrained(model, "saved-gpt2")  # opens in transformers, and here:
with fa.no_grad():
    assert np.array_equal(fa.io.from_pretrained("saved-gpt2").eval()(ids).numpy(), logits)
