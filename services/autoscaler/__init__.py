"""Adds workers while jobs wait, and drains them when none do."""
