"""Where facts, questions and answers stand in a sequence (no batch axis)."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw

SEP = 0  # What stands before the questions.


class Questions(draw.PerExample):
  """A body, SEP, and questions of one width, each closed by its answer.

  A subclass has a field `queries`, the number of questions.

  Strata: `query`, the number of the question.

  Args:
    queries: questions per sequence.
  """

  # Tokens of a question, its answer included.
  width: ClassVar[int] = 2
  # What a sequence that is too short needs.
  less: ClassVar[str] = 'fewer queries'
  queries: int

  @property
  @abc.abstractmethod
  def room(self) -> int:
    """The tokens of the shortest body."""

  def body(self, length: int) -> int:
    """Return how many tokens stand before SEP."""
    return length - 1 - self.width * self.queries

  def check(self, length: int) -> None:
    component.at_least(
      'length',
      length,
      length - self.body(length) + self.room,
      f'a body of {self.room} tokens, SEP and {self.queries} x {self.width} '
      f'tokens of questions must fit; use longer sequences or {self.less}',
    )

  def asked(self, length: int) -> Sequence[int]:
    return range(self.body(length) + self.width, length, self.width)

  def distance(self, length: int, place_Q: jax.Array) -> jax.Array:
    """Return the tokens from each answer back to a place in the body."""
    return jnp.asarray(np.array(self.asked(length), np.int32)) - place_Q

  def counted(self, tokens_BxL: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield how often 'bag' and 'recent' see each id, B x vocabulary.

    'bag' sees the body and 'recent' the last half of it.
    """
    body = self.body(tokens_BxL.shape[1])
    for name, start in (('bag', 0), ('recent', body // 2)):
      yield name, answerers.counts(tokens_BxL[:, start:body], self.vocabulary)

  def ask(
    self,
    body_N: jax.Array,
    columns: Sequence[jax.Array],
    foils: Sequence[jax.Array],
    strata: Mapping[str, jax.Array],
  ) -> base.Batch:
    """Return one sequence: a body and its questions.

    The stratum `query` is added to the others.

    Args:
      body_N: the tokens before SEP.
      columns: Q tokens for each place of a question, the answers last.
      foils: Q tokens each, -1 where there is none.
      strata: Q values each.
    """
    lead_M = jnp.append(body_N, SEP)
    question_QxW = jnp.stack(columns, axis=1)
    tokens_L = jnp.append(lead_M, question_QxW)
    asked_L = np.isin(np.arange(tokens_L.size), self.asked(tokens_L.size))

    def of_questions(value_Q: jax.Array) -> jax.Array:
      return jnp.append(jnp.zeros_like(lead_M), jnp.repeat(value_Q, self.width))

    query_Q = jnp.arange(self.queries, dtype=jnp.int32)
    return marked(
      tokens_L,
      jnp.asarray(asked_L),
      [of_questions(foil_Q) for foil_Q in foils],
      {
        name: of_questions(value_Q)
        for name, value_Q in {**strata, 'query': query_Q}.items()
      },
    )


class Repetition(answerers.Listed, draw.PerExample):
  """A sequence that closes with one answer of several tokens.

  A subclass may have a field `eos`. The EOS is scored apart, because where to
  stop is a question of counting.

  Strata: `index`, the place in the answer from 0, EOS included.

  Args:
    eos: whether an EOS closes the answer; it is scored apart.
  """

  EOS: ClassVar[int] = 2
  eos: bool = False

  @abc.abstractmethod
  def answers(self, length: int) -> int:
    """Return how many tokens the answer has, the EOS not counted."""

  def asked(self, length: int) -> Sequence[int]:
    return range(length - self.answers(length) - self.eos, length)

  def repeat(
    self,
    lead: Sequence[jax.Array],
    answer_N: jax.Array,
    strata: Mapping[str, jax.Array],
  ) -> base.Batch:
    """Return one sequence: what leads up to the answer, and the answer.

    Foils (C = 2) are the tokens of the answer before and after the right one.
    The stratum `index` is added to the others, and the EOS has no stratum but
    that.
    """
    lead_M = jnp.concatenate(lead)
    start, count = lead_M.shape[0], answer_N.shape[0]
    end_E = jnp.full(int(self.eos), self.EOS, jnp.int32)
    tokens_L = jnp.concatenate((lead_M, answer_N, end_E))

    def on_answers(value_N: jax.Array) -> jax.Array:
      return jnp.pad(value_N, (start, int(self.eos)), constant_values=-1)

    place_L = jnp.arange(tokens_L.shape[0], dtype=jnp.int32)
    batch = marked(
      tokens_L,
      place_L >= start,
      [on_answers(foil_N) for foil_N in neighbours(answer_N)],
      {
        'index': place_L - start,
        **{name: on_answers(value_N) for name, value_N in strata.items()},
      },
    )
    return batch._replace(ends_BxL=place_L >= start + count)


def marked(
  tokens_L: jax.Array,
  asked_L: jax.Array,
  foils: Sequence[jax.Array],
  strata: Mapping[str, jax.Array],
) -> base.Batch:
  """Return one sequence with its targets; nothing counts off them."""

  def on_targets(value_L: jax.Array) -> jax.Array:
    return jnp.where(asked_L, value_L, -1)

  return base.Batch(
    tokens_BxL=tokens_L,
    targets_BxL=asked_L,
    ends_BxL=jnp.zeros_like(asked_L),
    foils_BxLxC=jnp.stack([on_targets(foil_L) for foil_L in foils], axis=1),
    strata={name: on_targets(value_L) for name, value_L in strata.items()},
  )


def filled(token: int, times: int = 1) -> jax.Array:
  """Return a token so many times."""
  return jnp.full(times, token, jnp.int32)


def neighbours(token_N: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Return the tokens one place earlier and later, -1 where none or the same.

  >>> [x.tolist() for x in neighbours(jnp.array([5, 7, 7]))]
  [[-1, 5, -1], [7, -1, -1]]
  """
  before_N = jnp.pad(token_N[:-1], (1, 0), constant_values=-1)
  after_N = jnp.pad(token_N[1:], (0, 1), constant_values=-1)
  return (
    jnp.where(before_N == token_N, -1, before_N),
    jnp.where(after_N == token_N, -1, after_N),
  )


def scattered(word_M: jax.Array, count: int, width: int) -> jax.Array:
  """Return where facts of `width` tokens start, in order, none overlapping.

  Every arrangement is equally likely. A fact and a token between facts are
  one word each, so that N tokens take N - count * (width - 1) words.
  """
  return spread(draw.shuffled(word_M)[:count], width)


def spread(slot_F: jax.Array, width: int) -> jax.Array:
  """Return the starts, in order, of facts in slots, one slot a fact.

  >>> spread(jnp.array([4, 0]), 3).tolist()
  [0, 6]
  """
  index_F = jnp.arange(slot_F.shape[0], dtype=jnp.int32)
  return jnp.sort(slot_F) + (width - 1) * index_F


def written(
  body_N: jax.Array, start_F: jax.Array, columns: Sequence[jax.Array]
) -> jax.Array:
  """Write facts into a body: a token of each column from each start on."""
  for place, token_F in enumerate(columns):
    body_N = body_N.at[start_F + place].set(token_F)
  return body_N
