"""Benchmarks of fastattn: `python -m bench` from the root of the repository. README.md says how to read them."""
