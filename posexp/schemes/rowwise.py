"""Position from a whole row of logits: dense attention only."""

import dataclasses

import jax
import jax.numpy as jnp

from posexp import component
from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class CoPE(base.Scheme):
  """Measure distance by counting only the tokens that the query selects.

    z_ij + q_i . e[p_ij] / sqrt(E)
    p_ij = sum over l = j..i of sigmoid(z_il), at most P - 1

  Contextual position encoding: between whole rows of the learned table e, q . e
  is interpolated. The table P x E starts at zero, one a layer, shared by heads.
  z is the logit that attention would use, divided by sqrt(E) and with whatever
  it is composed with; q is the content, not rotated.

  Source: Golovneva et al. 2024, arXiv 2405.18719, equations 3 to 6, and the
  authors' `ContextPosSelfAttn`, which divides q . e by sqrt(E) as well; the
  listing in the paper does not, as with `scaled=False`.
  Use: to count or to find the n-th of something.
  Fails: dense attention only, so its memory is quadratic in the length; what
  is more than P - 1 counts away is all at one place.
  Golden: facebookresearch/RAM (authors).

  Attributes:
    positions: P, rows of the table, counts 0 to P - 1; at least 2.
    scaled: whether q . e is divided by sqrt(E), as q . k is.

  >>> z = jnp.zeros((1, 1, 1, 3))  # Every gate is a half.
  >>> params = {'e_PxE': jnp.array([[0.0], [1.0]])}
  >>> one = jnp.ones((1, 1, 1, 1))
  >>> CoPE(positions=2).rescore(params, z, one, None, None).ravel().tolist()
  [1.0, 1.0, 0.5]
  """

  blockwise = False
  positions: int = component.field(
    64, at_least=2, remedy='row 0 is for what is not counted at all'
  )
  scaled: bool = True

  def init_layer(self, key, dims):
    del key
    return {'e_PxE': jnp.zeros((self.positions, dims.head_width), jnp.float32)}

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    del q_at, k_at
    gate = jax.nn.sigmoid(logits_BxHxQxK)
    count = jax.lax.cumsum(gate, axis=3, reverse=True)
    count = jnp.minimum(count, self.positions - 1.0)
    whole_BxHxQxP = jnp.einsum(
      'bqhe,pe->bhqp',
      q_BxQxHxE.astype(jnp.float32),
      params['e_PxE'].astype(jnp.float32),
    )
    if not self.scaled:
      whole_BxHxQxP = whole_BxHxQxP * q_BxQxHxE.shape[-1] ** 0.5
    low = jnp.floor(count)
    share = count - low
    row = low.astype(jnp.int32)

    def pick(row):
      return jnp.take_along_axis(whole_BxHxQxP, row, axis=3)

    above = pick(jnp.minimum(row + 1, self.positions - 1))
    return logits_BxHxQxK + (1 - share) * pick(row) + share * above


@dataclasses.dataclass(frozen=True)
class StickBreaking(base.Scheme):
  """Give the nearest key its share, the next key its share of the rest.

    A_ij = sigmoid(z_ij) * product over j < l < i of (1 - sigmoid(z_il))

  Stick-breaking is in place of the softmax, for keys `j < i`: a token does not
  see itself. The weights of a row sum to `1 - r_i`, with `r_i` the product over
  all `l < i`. What is left, `r_i`, is given to nobody, so the first token gets
  zeros; with `remainder` it is given to the token itself, and every row sums to
  1. Computed in logarithms.

  Source: Tan et al. 2024, arXiv 2410.17980, equations 1 to 4, and the authors'
  `sb_ref.stickbreaking` (which returns `r_i` for the caller to use; their model
  adds `r_i v_i`).
  Use: for recency without any other position, as it comes with order.
  Fails: dense attention only, so its memory is quadratic in the length; many
  near keys of middling logits leave nothing for a far one.
  Golden: shawntan/stickbreaking-attention (authors).

  Attributes:
    remainder: whether a token keeps what the keys before it did not take.

  >>> z = jnp.zeros((1, 1, 3, 3))  # Every key takes a half of what is left.
  >>> at = jnp.arange(3)[None]
  >>> log = StickBreaking(remainder=True).rescore({}, z, None, at, at)
  >>> jnp.exp(log[0, 0, 2]).round(3).tolist()
  [0.25, 0.5, 0.25]
  """

  blockwise = False
  normalised = False
  remainder: bool = False

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    del params, q_BxQxHxE
    # Keys are in order, so those at or after the query's place are not before.
    q_at, k_at = q_at[:, None, :, None], k_at[:, None, None, :]
    earlier = k_at < q_at
    left = jnp.where(earlier, jax.nn.log_sigmoid(-logits_BxHxQxK), 0.0)
    # What all keys after j leave, without a difference of two sums.
    left = jax.lax.cumsum(left, axis=3, reverse=True)
    after = jnp.pad(left[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1)))
    taken = jax.nn.log_sigmoid(logits_BxHxQxK) + after
    lowest = jnp.finfo(jnp.float32).min
    own = left[..., :1] if self.remainder else lowest
    return jnp.where(earlier, taken, jnp.where(k_at == q_at, own, lowest))
