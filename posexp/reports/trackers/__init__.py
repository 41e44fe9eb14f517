"""Finished runs in trackers of experiments.

A run of a tracker is one seed of a run of posexp. It has two kinds of curves:
train/loss by step, and length/accuracy and others by sequence length in tokens.
"""
