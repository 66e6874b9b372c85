"""Text: where it comes from, its vocabulary, its split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastattn.data import CharVocabulary, default_text, load_text, split


@pytest.mark.smoke
def test_default_text():
    text = default_text()
    assert len(text) > 300_000
    assert "lambda" in text
    assert load_text() == text


def test_text_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\r\nb \N{SNOWMAN}".encode())
    assert load_text(path) == "a\r\nb \N{SNOWMAN}"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.txt is empty"):
        load_text(path)
    path.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"is not UTF-8 text: byte 3 is 0xff"):
        load_text(path)
    with pytest.raises(FileNotFoundError, match="no such text file"):
        load_text(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError, match="no such text file"):
        load_text(tmp_path)


def test_python_without_help_topics(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(RuntimeError, match="name another with --text FILE"):
        default_text()


@given(st.text(min_size=1))
def test_encoding_and_back(text):
    vocabulary = CharVocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert len(ids) == len(text)
    assert vocabulary.decode(ids) == text
    assert len(vocabulary) == len(set(text))


def test_vocabulary_round_trip(tmp_path):
    vocabulary = CharVocabulary.of("h\N{LATIN SMALL LETTER E WITH ACUTE}\n\U0001f600")
    vocabulary.save(tmp_path / "vocab.json")
    assert CharVocabulary.load(tmp_path / "vocab.json").characters == vocabulary.characters


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"type": "words"}', '{"type": "characters", "characters": "aa"}'])
def test_what_is_no_vocabulary(tmp_path, content):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ValueError, match=r"vocab\.json is not a character vocabulary"):
        CharVocabulary.load(tmp_path / "vocab.json")


def test_unknown_characters_and_ids():
    vocabulary = CharVocabulary.of("abc")
    with pytest.raises(ValueError, match=r"the character 'x' at 2 is not among the 3"):
        vocabulary.encode("abxy")
    with pytest.raises(ValueError, match=r"the character '\\U0001f600' at 0|the character '.' at 0"):
        vocabulary.encode("\U0001f600")
    with pytest.raises(ValueError, match=r"token ids must be 0 to 2; got 1 to 3"):
        vocabulary.decode([1, 3])
    with pytest.raises(ValueError, match="must be distinct, and at least one"):
        CharVocabulary("aa")
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


def test_the_last_tenth_is_held_out():
    train, held_out = split(np.arange(1009))
    assert_array_equal(np.concatenate([train, held_out]), np.arange(1009))
    assert len(held_out) == 100


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.5, float("nan")])
def test_split_range(held_out):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        split(np.arange(100), held_out)


def test_split_of_too_little():
    with pytest.raises(ValueError, match="19 tokens are too few"):
        split(np.arange(19))
