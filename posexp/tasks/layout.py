"""Where facts, questions and answers stand in a sequence (no batch axis)."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from posexp.tasks import base, draw


def questions(
  lead_N: jax.Array,
  columns: Sequence[jax.Array],
  foils: Sequence[jax.Array],
  strata: Mapping[str, jax.Array],
) -> base.Batch:
  """One sequence: all that leads up to the questions, and the questions.

  Each question is a token of each column, the last of which is the answer.
  The stratum `query`, the number of the question, is added to the others.

  Args:
    lead_N: the tokens before the first question.
    columns: one array of Q tokens for each place of a question.
    foils: arrays of Q tokens, -1 where there is none.
    strata: arrays of Q by name.
  """
  width = len(columns)
  none_Q = jnp.full_like(columns[-1], -1)

  def on_answers(value_Q: jax.Array) -> jax.Array:
    value_W = [none_Q] * (width - 1) + [value_Q]
    value_QW = jnp.stack(value_W, axis=1).reshape(-1)
    return jnp.concatenate((jnp.full_like(lead_N, -1), value_QW))

  index_Q = jnp.arange(none_Q.shape[0], dtype=jnp.int32)
  strata_L = {k: on_answers(v) for k, v in strata.items()}
  strata_L['query'] = on_answers(index_Q)
  question_QW = jnp.stack(columns, axis=1).reshape(-1)
  targets_L = strata_L['query'] >= 0
  return base.Batch(
    tokens_BxL=jnp.concatenate((lead_N, question_QW)),
    targets_BxL=targets_L,
    ends_BxL=jnp.zeros_like(targets_L),
    foils_BxLxC=jnp.stack([on_answers(f) for f in foils], axis=1),
    strata=strata_L,
  )


def answers_at(lead: int, width: int, queries: int) -> np.ndarray:
  """The position of each answer, after `lead` tokens of something else.

  >>> answers_at(10, 3, 2).tolist()
  [12, 15]
  """
  return lead - 1 + width * np.arange(1, queries + 1, dtype=np.int32)


def repetition(
  lead_N: jax.Array,
  answer_N: jax.Array,
  end: int | None,
  strata: Mapping[str, jax.Array | np.ndarray],
) -> base.Batch:
  """One sequence that closes with an answer of several tokens, and an end.

  Foils (C = 2) are the tokens of the answer before and after the right one.
  The stratum `index`, the place in the answer, is added to the others, and
  the end has no stratum but that.

  Args:
    lead_N: the tokens before the answer.
    answer_N: the answer.
    end: the token that closes it, or None.
    strata: arrays of the answer's shape by name.
  """
  lead, count = lead_N.shape[0], answer_N.shape[0]
  tail_E = jnp.full(end is not None, end or 0, jnp.int32)
  tokens_L = jnp.concatenate((lead_N, answer_N, tail_E))

  def on_answers(value_N: jax.Array | np.ndarray) -> jax.Array:
    return jnp.pad(value_N, (lead, tail_E.shape[0]), constant_values=-1)

  place_L = np.arange(tokens_L.shape[0], dtype=np.int32)
  foils_2xL = [on_answers(foil_N) for foil_N in neighbours(answer_N)]
  return base.Batch(
    tokens_BxL=tokens_L,
    targets_BxL=jnp.asarray(place_L >= lead),
    ends_BxL=jnp.asarray(place_L >= lead + count),
    foils_BxLxC=jnp.stack(foils_2xL, axis=1),
    strata={
      'index': jnp.asarray(np.maximum(place_L - lead, -1)),
      **{k: on_answers(v) for k, v in strata.items()},
    },
  )


def neighbours(token_N: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The tokens one place earlier and later, -1 where none or the same one.

  >>> [x.tolist() for x in neighbours(jnp.array([5, 7, 7]))]
  [[-1, 5, -1], [7, -1, -1]]
  """
  behind_N = jnp.pad(token_N[:-1], (1, 0), constant_values=-1)
  ahead_N = jnp.pad(token_N[1:], (0, 1), constant_values=-1)
  return (
    jnp.where(behind_N == token_N, -1, behind_N),
    jnp.where(ahead_N == token_N, -1, ahead_N),
  )


def scattered(word_M: jax.Array, count: int, width: int) -> jax.Array:
  """Where `count` facts of `width` tokens start, in order, none overlapping.

  Every arrangement is equally likely. A fact and a token between facts are
  one word each, so that N tokens take N - count * (width - 1) words.
  """
  return spread(draw.shuffled(word_M)[:count], width)


def spread(slot_F: jax.Array, width: int) -> jax.Array:
  """Starts, in order, of facts in slots, of which a fact takes only one.

  >>> spread(jnp.array([4, 0]), 3).tolist()
  [0, 6]
  """
  index_F = jnp.arange(slot_F.shape[0], dtype=jnp.int32)
  return jnp.sort(slot_F) + (width - 1) * index_F


def written(
  body_N: jax.Array, start_F: jax.Array, columns: Sequence[jax.Array]
) -> jax.Array:
  """The body with facts in it: a token of each column from each start on."""
  for place, token_F in enumerate(columns):
    body_N = body_N.at[start_F + place].set(token_F)
  return body_N
