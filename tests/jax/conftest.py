"""Tests that compile, in the process of the tests."""

from tests.programs import own_programs, patched  # noqa: F401
