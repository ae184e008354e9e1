"""Tests and the tooling that gives them real engines and registries (`tests.lab`)."""
