"""Attention in one kernel, with the position computed inside of each tile."""

from posexp.fused.attention import attend as attend
