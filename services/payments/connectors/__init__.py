"""Processors behind one small interface."""
