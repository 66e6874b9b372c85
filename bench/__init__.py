"""Benchmarks of fastattn: `fastattn bench`, or `python -m bench` from the root of a checkout. In a wheel this folder is
`fastattn.bench`. README.md says how to read them."""
