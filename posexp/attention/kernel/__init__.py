"""Attention in one kernel, with the position computed inside of each tile."""

from posexp.attention.kernel.attention import attend as attend
