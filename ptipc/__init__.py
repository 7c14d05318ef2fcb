"""Pluggable Transport IPC, both sides, every edition of the specification."""
