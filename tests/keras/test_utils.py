"""utils and datasets: beside keras 3 over the same arrays and files, and by hand."""

import gzip
import io
import json
import pickle
import random
import tarfile

import numpy as np
import pytest
from keras_oracle import keras_may_warn

import fastattn as fa
from fastattn import keras

pytestmark = keras_may_warn

# Arrays --------------------------------------------------------------------------------------------------------------

CLASSES = [([0, 2, 1],), ([[0], [3]],), ([[0, 1], [2, 2]],), ([0, 2], 5), (np.array([1, 0], np.uint8),), ([], 3)]


@pytest.mark.parity
@pytest.mark.parametrize("args", CLASSES)
def test_to_categorical(oracle, args):
    np.testing.assert_array_equal(keras.utils.to_categorical(*args), oracle.utils.to_categorical(*args))


def test_to_categorical_by_hand():
    assert keras.utils.to_categorical([1, 0]).tolist() == [[0, 1], [1, 0]]
    of_tensor = keras.utils.to_categorical(fa.tensor([1, 0]), 3)
    assert isinstance(of_tensor, fa.Tensor)
    assert of_tensor.tolist() == [[0, 1, 0], [1, 0, 0]]


SEQUENCES = [[1], [2, 3, 4], [], [5, 6]]


@pytest.mark.parity
@pytest.mark.parametrize("maxlen", [None, 1, 2, 5])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
def test_pad_sequences(oracle, maxlen, padding, truncating):
    for sequences in (SEQUENCES, [np.ones((2, 3)), 2 * np.ones((4, 3))], [["a"], ["b", "c"]]):
        options = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "value": 7}
        if isinstance(sequences[0][0], str):
            options |= {"dtype": object, "value": "-"}
        ours, theirs = (module.utils.pad_sequences(sequences, **options) for module in (keras, oracle))
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_pad_sequences_by_hand():
    assert keras.utils.pad_sequences(SEQUENCES, maxlen=2).tolist() == [[0, 1], [3, 4], [0, 0], [5, 6]]


@pytest.mark.parity
@pytest.mark.parametrize(("axis", "order"), [(-1, 2), (1, 1)])  # keras takes 0 for -1
def test_normalize(oracle, rng, axis, order):
    x = rng.standard_normal((3, 4))
    x[1] = 0
    ours, theirs = (module.utils.normalize(x, axis, order) for module in (keras, oracle))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_normalize_by_hand():
    assert keras.utils.normalize([[3.0, 0.0], [4.0, 0.0]], axis=0).tolist() == [[0.6, 0.0], [0.8, 0.0]]


def test_set_random_seed():
    def draw():
        return random.random(), np.random.random(), fa.rand(3).tolist()  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), fa.get_rng_state()  # noqa: NPY002
    keras.utils.set_random_seed(7)
    first = draw()
    assert draw() != first
    keras.utils.set_random_seed(7)
    assert draw() == first
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    fa.set_rng_state(states[2])


def test_batches_one_by_one():
    class Squares(keras.utils.Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return index**2

    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return index

    assert list(Squares(workers=2)) == [0, 1, 4]
    endless = iter(Endless())
    assert [next(endless) for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: keras.utils.to_categorical([0, 3], 3),
            ValueError,
            "to_categorical: classes are 0 to 3; expected 0 to 2",
        ),
        (lambda: keras.utils.to_categorical([-1]), ValueError, "to_categorical: classes are -1 to -1"),
        (lambda: keras.utils.set_random_seed(-1), ValueError, "set_random_seed: seed is -1; expected an integer"),
        (
            lambda: keras.utils.pad_sequences([1, 2]),
            ValueError,
            "pad_sequences: sequences has elements without a length",
        ),
        (
            lambda: keras.utils.pad_sequences([[1]], padding="x"),
            ValueError,
            "pad_sequences: padding is 'x'; expected 'pre'",
        ),
        (lambda: keras.utils.pad_sequences([[1]], truncating="x"), ValueError, "pad_sequences: truncating is 'x'"),
        (
            lambda: keras.utils.pad_sequences([np.ones((1, 2)), np.ones((1, 3))]),
            ValueError,
            r"pad_sequences: sequence 1 has elements of shape \(3,\); expected \(2,\), the first's",
        ),
        (lambda: keras.utils.PyDataset()[0], NotImplementedError, "PyDataset defines no __getitem__"),
        (lambda: keras.utils.PyDataset().num_batches, NotImplementedError, "PyDataset defines neither __len__"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Data sets -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """A folder with small files of the data sets' form."""
    images = {
        "x_train": rng.integers(0, 256, (6, 28, 28), np.uint8),
        "y_train": rng.integers(0, 10, 6, np.uint8),
        "x_test": rng.integers(0, 256, (3, 28, 28), np.uint8),
        "y_test": rng.integers(0, 10, 3, np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **images)
    (tmp_path / "fashion-mnist").mkdir()
    for part, name in (("train", "train"), ("t10k", "test")):
        for kind, array, magic in (
            ("images-idx3", images[f"x_{name}"], 0x803),
            ("labels-idx1", images[f"y_{name}"], 0x801),
        ):
            head = np.array([magic, *array.shape], ">i4").tobytes()
            (tmp_path / f"fashion-mnist/{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))

    def texts(n):
        out = np.empty(n, object)
        out[:] = [rng.integers(1, 30, rng.integers(1, 12)).tolist() for _ in range(n)]
        return out

    labels = rng.integers(0, 2, 20)
    np.savez(tmp_path / "imdb.npz", x_train=texts(20), y_train=labels, x_test=texts(9), y_test=labels[:9])
    np.savez(tmp_path / "reuters.npz", x=texts(20), y=labels)
    for name, features in (("boston_housing", 13), ("california_housing", 8)):
        np.savez(tmp_path / f"{name}.npz", x=rng.random((11, features)), y=rng.random(11))
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({"the": 1}))
    (tmp_path / "reuters_word_index.json").write_text(json.dumps({"oil": 1}))
    cifar = (
        (
            "cifar-10-python",
            "cifar-10-batches-py",
            [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
            [b"labels"],
        ),
        ("cifar-100-python", "cifar-100-python", ["train", "test"], [b"fine_labels", b"coarse_labels"]),
    )
    for file, inner, names, keys in cifar:
        with tarfile.open(tmp_path / f"{file}.tar.gz", "w:gz") as archive:
            for name in names:
                batch = {b"data": rng.integers(0, 256, (2, 3072), np.uint8)}
                batch |= {key: rng.integers(0, 10, 2).tolist() for key in keys}
                data = pickle.dumps(batch, protocol=2)
                info = tarfile.TarInfo(f"{inner}/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    monkeypatch.setenv("FASTATTN_DATA", str(tmp_path))
    return tmp_path


SETS = [
    ("mnist", {}),
    ("fashion_mnist", {}),
    ("imdb", {}),
    ("imdb", {"num_words": 15, "skip_top": 4, "maxlen": 9, "seed": 3}),
    ("imdb", {"start_char": None, "index_from": 0, "oov_char": None, "num_words": 12}),
    ("imdb", {"start_char": None, "index_from": 2}),
    ("reuters", {"num_words": 20, "test_split": 0.3}),
    ("boston_housing", {}),
    ("boston_housing", {"test_split": 0.0, "seed": 1}),
    ("california_housing", {"version": "small", "test_split": 0.5}),
]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), SETS)
def test_data_sets(oracle, folder, monkeypatch, name, options):
    import importlib

    def get_file(fname=None, *args, **kwargs):
        inside = folder / "fashion-mnist" if name == "fashion_mnist" else folder
        return str(inside / (fname or args[0]))

    monkeypatch.setattr(importlib.import_module(f"keras.src.datasets.{name}"), "get_file", get_file)
    ours = getattr(keras.datasets, name).load_data(**options)
    theirs = getattr(oracle.datasets, name).load_data(**options)
    for part, wanted in zip(ours, theirs, strict=True):
        for array, other in zip(part, wanted, strict=True):
            assert (array.shape, array.dtype) == (other.shape, other.dtype)
            assert array.tolist() == other.tolist()


def test_where_files_are_looked_for(folder, tmp_path, monkeypatch):
    from fastattn.keras.datasets import mnist

    wanted = mnist.load_data()[1][1].tolist()
    monkeypatch.delenv("FASTATTN_DATA")
    assert mnist.load_data(folder / "mnist.npz")[1][1].tolist() == wanted
    (tmp_path / "home/datasets").mkdir(parents=True)
    (folder / "mnist.npz").rename(tmp_path / "home/datasets/mnist.npz")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    assert mnist.load_data()[1][1].tolist() == wanted


def test_cifar10(folder):
    (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    assert (x_train.shape, y_train.shape) == ((10, 32, 32, 3), (10, 1))
    assert (x_test.shape, y_test.shape) == ((2, 32, 32, 3), (2, 1))
    with tarfile.open(folder / "cifar-10-python.tar.gz") as archive:
        batch = pickle.load(archive.extractfile("cifar-10-batches-py/test_batch"), encoding="bytes")
        archive.extractall(folder, filter="data")
    assert x_test[1, 2, 3].tolist() == batch[b"data"].reshape(-1, 3, 32, 32)[1, :, 2, 3].tolist()
    assert y_test[:, 0].tolist() == batch[b"labels"]
    again = keras.datasets.cifar10.load_data(folder / "cifar-10-batches-py")
    np.testing.assert_array_equal(again[0][0], x_train)
    np.savez(folder / "c.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    np.testing.assert_array_equal(keras.datasets.cifar10.load_data("c.npz")[0][0], x_train)


@pytest.mark.parametrize("label_mode", ["fine", "coarse"])
def test_cifar100(folder, label_mode):
    (x_train, y_train), (x_test, _) = keras.datasets.cifar100.load_data(label_mode)
    with tarfile.open(folder / "cifar-100-python.tar.gz") as archive:
        batch = pickle.load(archive.extractfile("cifar-100-python/train"), encoding="bytes")
    assert x_train[1, 2, 3].tolist() == batch[b"data"].reshape(-1, 3, 32, 32)[1, :, 2, 3].tolist()
    assert y_train[:, 0].tolist() == batch[f"{label_mode}_labels".encode()]
    assert x_test.shape == (2, 32, 32, 3)


def test_word_indices(folder):
    assert keras.datasets.imdb.get_word_index() == {"the": 1}
    assert keras.datasets.reuters.get_word_index() == {"oil": 1}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "mnist.npz"),
        ("fashion_mnist", "fashion-mnist"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("imdb", "imdb.npz"),
        ("reuters", "reuters.npz"),
        ("boston_housing", "boston_housing.npz"),
        ("california_housing", "california_housing.npz"),
    ],
)
def test_a_missing_file_says_how_to_get_it(name, file, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTATTN_DATA", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    message = (
        rf"^{name}: there is no {file} in \., {tmp_path}, {tmp_path}/datasets. Nothing is downloaded here: get https://"
    )
    with pytest.raises(FileNotFoundError, match=message):
        getattr(keras.datasets, name).load_data()


def test_what_a_file_wants_to_run_is_not_run(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    array = np.empty(1, object)
    array[0] = Evil()
    np.savez(tmp_path / "imdb.npz", x_train=array, y_train=[1], x_test=array, y_test=[1])
    with pytest.raises(pickle.UnpicklingError, match=r"the file wants builtins.print, which no array of numbers needs"):
        keras.datasets.imdb.load_data()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keras.datasets.boston_housing.load_data(test_split=1.0), "boston_housing: test_split is 1.0"),
        (
            lambda: keras.datasets.cifar100.load_data("all"),
            "cifar100: label_mode is 'all'; expected 'fine' or 'coarse'",
        ),
        (lambda: keras.datasets.california_housing.load_data("big"), "california_housing: version is 'big'"),
        (lambda: keras.datasets.imdb.load_data(maxlen=1), "imdb: no text is shorter than maxlen 1"),
    ],
)
def test_errors_of_data_sets(folder, call, message):
    with pytest.raises(ValueError, match=message):
        call()
