"""Position by content: a clock that each token moves on by its own gate."""

import dataclasses

import jax
import jax.numpy as jnp

from posexp.schemes import base

# Where a gate changes a trained model least: 0.05 nats in a thousand tokens.
OPEN = 10.0


@dataclasses.dataclass(frozen=True)
class Forgetting(base.Scheme):
  """Let each token decide how much of the past is forgotten (FoX).

    z_ij + sum over l = j+1..i of ln f_l,  f_l = sigmoid(w_h . x_l + b_h)

  So the bias is `c_i - c_j` for a running sum c of `ln f`: ALiBi whose clock is
  learned. x is what queries and keys are made of, B x L x D; c is B x L x H,
  in nats, float32. The difference of two sums is off by about 1e-7 of c, 0.002
  nats after 32,768 tokens of half-open gates.

  As in the authors' code w is drawn with standard deviation 0.02 and b starts
  at 0, so that a token keeps half of what came before it. A retrofit starts at
  `w = 0` and `b = 10`, nearly open.

  Source: Lin et al. 2025, arXiv 2503.02130, section 3.
  Use: for recency that the content can lift, without other position.
  Fails: what a gate has once forgotten is lost to all later tokens of its
  head; a head whose gates are half open keeps only the near past.
  Golden: zhixuan-lin/forgetting-transformer (authors).

  >>> params = {'w_DxH': jnp.zeros((4, 1)), 'b_H': jnp.zeros(1)}
  >>> clock = Forgetting().locate(params, jnp.ones((1, 3, 4)), None, None)
  >>> [round(float(c), 4) for c in clock[0, :, 0]]
  [-0.6931, -1.3863, -2.0794]
  """

  def init_layer(self, key, dims):
    shape = dims.width, dims.heads
    drawn = jax.random.normal(self.own_key(key), shape, jnp.float32)
    return {'w_DxH': 0.02 * drawn, 'b_H': jnp.zeros(dims.heads, jnp.float32)}

  def neutral(self, params):
    # Gates are never quite open, where they would have no gradient.
    return {
      'w_DxH': jnp.zeros_like(params['w_DxH']),
      'b_H': jnp.full_like(params['b_H'], OPEN),
    }

  def locate(self, params, x_BxLxD, at, before):
    del at
    w_DxH, b_H = (params[n].astype(jnp.float32) for n in ('w_DxH', 'b_H'))
    gate_BxLxH = x_BxLxD.astype(jnp.float32) @ w_DxH + b_H.reshape(1, 1, -1)
    clock_BxLxH = jnp.cumsum(jax.nn.log_sigmoid(gate_BxLxH), axis=1)
    return clock_BxLxH if before is None else before + clock_BxLxH

  def bias(self, params, head, q_at, k_at):
    del params, head
    return q_at - k_at
