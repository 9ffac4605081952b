"""Tests of the whole bundle."""
