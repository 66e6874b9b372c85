"""Tokenizers of Hugging Face's form, and which one a folder holds."""

import json
import sys

import pytest

import fastattn as fa


@pytest.fixture
def folder(tmp_path):
    """With a byte-level tokenizer.json of a few merges."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 5, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parity
def test_round_trip(folder):
    tokenizer = fa.data.load_tokenizer(folder)
    assert isinstance(tokenizer, fa.data.Tokenizer)
    ids = tokenizer.encode("the cat, naïve 😀")
    assert ids.dtype == "int32"
    assert len(ids) < len("the cat, naïve 😀".encode())
    assert tokenizer.decode(ids) == tokenizer.decode(ids.tolist()) == "the cat, naïve 😀"
    assert tokenizer.decode([0, *ids]) == "the cat, naïve 😀", "a special token is no text"
    assert len(tokenizer) > max(ids)


@pytest.mark.parity
def test_characters_of_several_tokens_come_whole(folder):
    tokenizer = fa.data.load_tokenizer(folder)
    text = fa.generation.Detokenizer(tokenizer)
    pieces = [text.push(token) for token in tokenizer.encode("a😀 the")]
    assert "".join(pieces) + text.flush() == "a😀 the"
    assert "\ufffd" not in "".join(pieces)


@pytest.mark.parity
def test_within_special_tokens(tmp_path):
    """Of a file that pads and truncates for its own batches."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = fa.data.load_tokenizer(tmp_path)
    assert ours.encode("a b c a").tolist() == [1, 4, 5, 6, 4, 2]
    assert ours.encode_within("a b c a", 6).tolist() == [1, 4, 5, 6, 4, 2]
    assert ours.encode_within("a b c a", 4).tolist() == [1, 4, 5, 2]
    assert ours.encode("a b c a").tolist() == [1, 4, 5, 6, 4, 2]
    ours.save(tmp_path / ours.filename)
    assert fa.data.Tokenizer.load(tmp_path / "tokenizer.json").encode("a").tolist() == [1, 4, 2]


def test_within_a_vocabulary():
    v = fa.data.Vocabulary.of(["a b c"])
    ids = v.encode("a b c", begin=True, end=True).tolist()
    assert v.encode_within("a b c", 5).tolist() == ids
    assert v.encode_within("a b c", 4).tolist() == [*ids[:3], v.end]


def test_a_run(tmp_path):
    fa.data.CharVocabulary("abc").save(tmp_path / "vocab.json")
    assert fa.data.load_tokenizer(tmp_path).encode("cab").tolist() == [2, 0, 1]


def test_neither(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer: neither tokenizer\.json nor vocab\.json"):
        fa.data.load_tokenizer(tmp_path)


def test_a_vocabulary_of_another_kind(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"the": 0}))
    with pytest.raises(ValueError, match=r"vocab\.json is not a character vocabulary"):
        fa.data.load_tokenizer(tmp_path)


@pytest.mark.parity
def test_damaged(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer: ") as raised:
        fa.data.load_tokenizer(tmp_path)
    assert "\n" not in str(raised.value)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ImportError, match=r"needs the package tokenizers: pip install 'fastattn\[train\]'"):
        fa.data.load_tokenizer(tmp_path)
