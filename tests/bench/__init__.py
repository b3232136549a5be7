"""Measurements against named peers: interleaved in one run, medians with spread, never part of the test suite."""
