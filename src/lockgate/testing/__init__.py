"""Fakes that keep the contracts of the seams, shipped for everybody's tests."""
