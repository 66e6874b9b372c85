"""`fastattn generate`: continues a text with the model of a run folder."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastattn.data import CharVocabulary, Tokenizer, Vocabulary, load_tokenizer
from fastattn.generation import GenerationConfig
from fastattn.models import GPT

from . import UsageError, device_of

if TYPE_CHECKING:
    import numpy as np

    from .app import GenerateArguments

SEPARATOR = "---"


def run(arguments: GenerateArguments) -> None:
    """Writes what the model makes of the prompt to standard output, as it comes."""
    if arguments.threads is not None:
        import fastattn

        fastattn.set_num_threads(arguments.threads)
    where = device_of(arguments.device)
    folder = arguments.folder
    if not folder.is_dir():
        msg = f"no such folder: {folder}"
        raise FileNotFoundError(msg)
    if not (folder / "model.safetensors").is_file():
        msg = f"{folder} holds no trained model: it has no model.safetensors"
        if (folder / "run.json").is_file():
            msg += f"; finish the run with: fastattn train --resume {folder}"
        raise FileNotFoundError(msg)
    tokenizer = load_tokenizer(folder)
    model = GPT.from_pretrained(folder).to(where)
    eos = end_of_text(folder)
    config = config_of(arguments, eos)
    prompt = encode(tokenizer, read_prompt(arguments.prompt), eos)
    if len(tokenizer) > model.config.vocab_size:
        msg = f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}"
        raise ValueError(msg)
    limit = model.context_length
    if len(prompt) > limit and not arguments.quiet:
        print(f"the prompt has {len(prompt)} tokens; the model reads the last {limit}", file=sys.stderr)
    begun = time.perf_counter()
    count = write(model.stream([prompt] * arguments.num_samples, config, tokenizer=tokenizer), arguments.num_samples)
    seconds = time.perf_counter() - begun
    if not arguments.quiet:
        speed = f"{count / seconds:,.0f} tokens/s" if count else "nothing to do"
        print(f"{len(prompt)} tokens read, {count} generated in {seconds:.2f} s ({speed})", file=sys.stderr)


def write(tokens: Any, num_samples: int) -> int:
    """Prints the rows one after the other, each as it comes; returns the number of tokens.

    All rows grow at the same time: what the later ones have so far waits until those before them are whole.
    """
    waiting = [""] * num_samples
    whole = [False] * num_samples
    row = count = 0
    for token in tokens:
        count += 1
        waiting[token.row] += token.text
        whole[token.row] = token.finish_reason is not None
        while row < num_samples:
            put(waiting[row])
            waiting[row] = ""
            if not whole[row]:
                break
            row += 1
            put(f"\n{SEPARATOR}\n" if row < num_samples else "\n")
    return count


def put(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


def config_of(arguments: GenerateArguments, eos: int | list[int] | None) -> GenerationConfig:
    """The settings that the flags ask for."""
    try:
        return GenerationConfig(
            max_new_tokens=arguments.max_new_tokens,
            do_sample=True,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            repetition_penalty=arguments.repetition_penalty,
            eos_token_id=eos,
            stop_strings=arguments.stop,
            seed=arguments.seed,
        )
    except ValueError as error:
        name, _, rest = str(error).removeprefix("GenerationConfig: ").partition(" ")
        flag = "stop" if name == "stop_strings" else name.replace("_", "-")
        msg = f"--{flag} {rest}"
        raise UsageError(msg) from None


def read_prompt(prompt: str | None) -> str | None:
    """The prompt's text; that of standard input for "-"."""
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        msg = f"the prompt on standard input is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        raise ValueError(msg) from None


def encode(
    tokenizer: CharVocabulary | Vocabulary | Tokenizer, prompt: str | None, eos: int | list[int] | None
) -> np.ndarray[Any, Any] | list[int]:
    """The prompt's tokens; without a prompt, what a text begins after."""
    if not prompt:
        if isinstance(tokenizer, CharVocabulary):
            return tokenizer.encode(tokenizer.start)
        if eos is None:
            msg = "the model says no token that a text begins after; pass --prompt TEXT"
            raise UsageError(msg)
        return [eos if isinstance(eos, int) else eos[0]]
    try:
        return tokenizer.encode(prompt)
    except ValueError as error:
        msg = f"the prompt: {str(error).removeprefix('encode: ')}"
        raise ValueError(msg) from None


def end_of_text(folder: Path) -> int | list[int] | None:
    """The token, or tokens, that end a text, as the folder says."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            try:
                values = json.loads(path.read_text())
            except ValueError:
                msg = f"{path} is not JSON"
                raise ValueError(msg) from None
            if values.get("eos_token_id") is not None:
                return values["eos_token_id"]  # type: ignore[no-any-return]
    return None
