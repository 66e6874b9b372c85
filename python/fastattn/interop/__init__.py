"""Doors of other frameworks, each imported when its first array comes."""
