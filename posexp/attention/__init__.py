"""Attention under any scheme: dense, in tiles, by a kernel, from a cache."""
