"""What a task is: sequences, which tokens are asked for, and the foils."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import numpy as np

from posexp import component

# The generator of all keys, whatever JAX is configured to use.
GENERATOR = 'threefry2x32'


class Batch(NamedTuple):
  """A batch of sequences with the targets that a model has to predict.

  Every array is aligned with `tokens`: an entry at [b, t] speaks of the token
  at [b, t], which is to be predicted from tokens[b, :t] alone.

  Attributes:
    tokens_BxL: int32 token ids, answers included.
    targets_BxL: bool, where the token is an answer that is scored.
    ends_BxL: bool, the targets that are an end-of-sequence token; scored apart.
    foils_BxLxC: int32 tokens that a mistake of order would produce, -1 where
      there is none, or it would be the right token; an EOS has none.
    strata: int32 B x L arrays by name (gap, distance, ...), -1 off target.
  """

  tokens_BxL: jax.Array
  targets_BxL: jax.Array
  ends_BxL: jax.Array
  foils_BxLxC: jax.Array
  strata: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Task(component.Component, abc.ABC):
  """A family of sequences of any length.

  A subclass is a frozen dataclass whose fields are its whole configuration.
  `length` is always the number of tokens in the whole sequence.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length that the task cannot have.
  """

  # What it isolates: C content retrieval, R relative offset, A absolute index,
  # O order, K counting, S state.
  capability: ClassVar[str] = ''

  # The answerers of `guesses` against which the design defends: 'bag' does no
  # better than chance, any other no better than chance or 'bag'.
  defended: ClassVar[frozenset[str]] = frozenset()

  @property
  @abc.abstractmethod
  def vocabulary(self) -> int:
    """The number of token ids, special ones included."""

  @abc.abstractmethod
  def sample(self, key: jax.Array, *, length: int, batch: int) -> Batch:
    """Draw a batch, purely from (key, length, batch); runs under jit."""

  @abc.abstractmethod
  def chance(self, length: int) -> float:
    """Return the expected accuracy of the best answerer that sees no body.

    Over targets that are no end of sequence.
    """

  @property
  def gate(self) -> float | None:
    """The token accuracy at the trained length from which a seed counts.

    It is measured on examples of the task's evaluation that nothing else uses.
    None, the default, is `records.GATE`, for tasks that can be learned whole.
    """
    return None

  def evaluated(self) -> 'Task':
    """Return what evaluation draws from: this task, unless data are split."""
    return self

  def asked(self, length: int) -> Sequence[int] | None:
    """Return the places that can hold a target, where all sequences share them.

    None, the default, is any place. Training costs less where a task says:
    the last layer of the model is then computed for these places alone.
    """
    del length
    return None

  def evidence(self, strata: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return how far before each target its answer stands, in tokens.

    It is the token that the target is answered from, and the furthest if there
    are several; -1 where that is not known; None where it never is. By default
    it is the stratum `distance`.

    Args:
      strata: as `sample` gives them, of any one shape, as NumPy arrays.
    """
    return strata.get('distance')

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> Mapping[str, np.ndarray]:
    """Return what answerers that cannot order would say.

    Tokens B x L by name, read where `asked_BxL` is true:

    * 'random' has not seen the body; its expected accuracy is `chance`.
    * 'bag' has seen which tokens the body holds, and how often, but not where.
    * 'recent' says what is nearest: the candidate that stands last before the
      question, or closest to what is asked about.

    A task gives those that mean something for it; they may use the true answers
    before a target, as a model does.

    Args:
      rng: where the answerers draw from.
      tokens_BxL: as `sample` gives them.
      asked_BxL: which of them are targets and no end of sequence.
    """
    del rng, tokens_BxL, asked_BxL
    return {}

  def check(self, length: int) -> None:
    """Raise a `UserError`, in one sentence, if the length cannot be had."""

  def example(self, *, length: int, seed: int = 0) -> str:
    """Return one sequence as text, and a line for each target.

    A line has the place of the target, the answer, its foils and the strata
    that it has. An end of sequence is left out.
    """
    draw = jax.jit(lambda key: self.sample(key, length=length, batch=1))
    drawn = draw(jax.random.key(seed, impl=GENERATOR))
    batch = jax.tree.map(lambda x: np.asarray(x)[0], drawn)
    lines = [' '.join(map(str, batch.tokens_BxL))]
    for t in np.flatnonzero(batch.targets_BxL & ~batch.ends_BxL):
      foils = [foil for foil in batch.foils_BxLxC[t].tolist() if foil >= 0]
      facts = [f'{t}: {batch.tokens_BxL[t]}', f'foils {foils}']
      for name, value_L in batch.strata.items():
        if value_L[t] >= 0:
          facts.append(f'{name} {value_L[t]}')
      lines.append(', '.join(facts))
    return '\n'.join(lines)


def with_evidence(task: Task, batch: Batch) -> Batch:
  """Return the batch as NumPy arrays, with the stratum `evidence` if known."""
  strata = {name: np.asarray(x) for name, x in batch.strata.items()}
  evidence = task.evidence(strata)
  if evidence is not None:
    strata['evidence'] = evidence
  arrays = jax.tree.map(np.asarray, batch._replace(strata={}))
  return arrays._replace(strata=strata)
