"""The version, said once more than in pyproject.toml: tests/repo holds the two together."""

__version__ = "0.1.0"
