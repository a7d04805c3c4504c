"""Tests of hart; a package, so that `from tests.golden import load` works from any working directory."""
