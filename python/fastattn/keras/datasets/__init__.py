"""Data sets, read from files that the user has: nothing is downloaded.

A file is looked for where `load_data(path=...)` says, in the folder FASTATTN_DATA, and where Keras keeps its own
(KERAS_HOME, ~/.keras).
"""

from . import boston_housing, california_housing, cifar10, cifar100, fashion_mnist, imdb, mnist, reuters

__all__ = ["boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist", "imdb", "mnist", "reuters"]
