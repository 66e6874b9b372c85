"""GenerationConfig: what it refuses, and what follows from its fields."""

import dataclasses

import numpy as np
import pytest

from fastattn.generation import GenerationConfig

BAD = [
    ({"max_new_tokens": -1}, "max_new_tokens is -1; expected an integer of at least 0"),
    ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5; expected an integer of at least 0"),
    ({"top_k": True}, "top_k is True; expected an integer of at least 0"),
    ({"temperature": -0.1}, "temperature is -0.1; expected a finite number of at least 0"),
    ({"temperature": float("nan")}, "temperature is nan; expected a finite number of at least 0"),
    ({"top_p": 0.0}, "top_p is 0.0; expected a number over 0 and at most 1"),
    ({"top_p": 1.1}, "top_p is 1.1; expected a number over 0 and at most 1"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; expected a finite number over 0"),
    ({"seed": -1}, "seed is -1; expected an integer of 0 to 2^64 - 1"),
    ({"seed": 2**64}, f"seed is {2**64}; expected an integer of 0 to 2^64 - 1"),
    ({"eos_token_id": "x"}, "eos_token_id is 'x'; expected token ids"),
    ({"eos_token_id": [1, -1]}, "eos_token_id is [1, -1]; expected token ids"),
    ({"pad_token_id": -1}, "pad_token_id is -1; expected a token id"),
    ({"stop_strings": ["a", ""]}, "stop_strings is ['a', '']; expected texts that are not empty"),
    ({"num_beams": 0}, "num_beams is 0; expected an integer of at least 1"),
    ({"num_beams": 1.5}, "num_beams is 1.5; expected an integer of at least 1"),
    ({"length_penalty": float("inf")}, "length_penalty is inf; expected a finite number"),
    ({"stop_strings": [1]}, "stop_strings is [1]; expected texts that are not empty"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_values(options, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        GenerationConfig(do_sample=True, **options)
    assert str(raised.value) == f"GenerationConfig: {message}"


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "seed"])
def test_settings_that_would_do_nothing(name):
    with pytest.raises(ValueError, match=f"^GenerationConfig: {name} has no effect without do_sample=True"):
        GenerationConfig(**{name: 0.5 if name in ("temperature", "top_p") else 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_penalty": 2.0}, "length_penalty has no effect without num_beams over 1"),
        ({"early_stopping": True, "length_penalty": 0.0}, "length_penalty and early_stopping have no effect"),
        ({"num_beams": 2, "do_sample": True}, "do_sample has no meaning with num_beams over 1"),
        ({"num_beams": 2, "repetition_penalty": 1.5}, "repetition_penalty has no meaning with num_beams over 1"),
        ({"num_beams": 2, "stop_strings": "a"}, "stop_strings has no meaning with num_beams over 1"),
    ],
)
def test_beams(options, message):
    with pytest.raises(ValueError, match=f"^GenerationConfig: {message}"):
        GenerationConfig(**options)


def test_replace():
    config = GenerationConfig(max_new_tokens=3)
    assert config.replace(top_k=5, do_sample=True) == GenerationConfig(max_new_tokens=3, do_sample=True, top_k=5)
    with pytest.raises(TypeError, match=r"^generate: there is no option 'topk'; expected max_new_tokens, do_sample"):
        config.replace(topk=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.top_k = 3


def test_what_follows():
    assert GenerationConfig().eos_token_ids == GenerationConfig().stops == ()
    assert GenerationConfig().padding == 0
    config = GenerationConfig(eos_token_id=np.int64(7), stop_strings="ab")
    assert (config.eos_token_ids, config.stops, config.padding) == ((7,), ("ab",), 7)
    assert GenerationConfig(eos_token_id=[5, 6], pad_token_id=2).padding == 2
    assert GenerationConfig().is_greedy
    assert GenerationConfig(do_sample=True, temperature=0.0, top_k=5).is_greedy
    assert not GenerationConfig(do_sample=True).is_greedy
