"""Language modelling on text, packed to any length, split by document."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, tasks
from posexp.data import corpora, tokenizers
from posexp.tasks import answerers, draw

SPLITS = ('train', 'validation')


@dataclasses.dataclass(frozen=True)
class Text(tasks.Task):
  """Which token comes next, anywhere in packed text.

  Each split is one stream, its documents in an order that their names decide,
  each with a separator after it:

    document 1 | separator | document 2 | separator | ...

  A sequence of length l is l tokens of the stream from a place that is drawn
  uniformly, so that a document may be shorter than a sequence or start outside
  of it. Attention may look across a separator.

  Training draws from the split given here; a run is always evaluated, and its
  gate measured, on 'validation'. A document is held out if sha256(name), read
  as a fraction, is below `held_out`: other documents in the corpus do not
  change its split.

  Every token but the first is a target. Chance is the accuracy of the commonest
  token of the training split.

  Gate: a seed counts if its token accuracy at the trained length reaches that
  of a bigram table of the training split. It has then learned to use more than
  the last token, without which position would not matter.

  Answerers: 'random' says the commonest token of the training split, 'bag' the
  commonest of the sequence (the first of them), 'recent' the token before.

  Foils (C = 1): none; no answer is wrong in order alone.

  Strata: `place`, how many tokens stand before the target.

  Args:
    corpus: the documents.
    tokenizer: text to token ids.
    held_out: the share of documents that is held out, about.
    split: which of the two to draw from; a run with 'validation' is trained on
      what it is evaluated on.

  >>> task = Text()
  >>> batch = task.sample(jax.random.key(0), length=32, batch=2)
  >>> batch.tokens_BxL.shape, task.vocabulary
  ((2, 32), 257)
  """

  corpus: corpora.Corpus = dataclasses.field(default=corpora.StandardLibrary())
  tokenizer: tokenizers.Tokenizer = dataclasses.field(
    default=tokenizers.Bytes()
  )
  held_out: float = component.field(
    0.1, above=0, below=1, remedy='0.1 holds out one document in ten'
  )
  split: str = component.field('train', one_of=SPLITS)

  capability = 'CRAOKS'

  @property
  def vocabulary(self) -> int:
    return self.tokenizer.vocabulary

  @property
  def gate(self) -> float:
    return _bigrams(self.corpus, self.tokenizer, self.held_out)

  def evaluated(self) -> 'Text':
    return dataclasses.replace(self, split='validation')

  def check(self, length: int) -> None:
    for split, stream_N in self._streams().items():
      if stream_N.size < length:
        raise component.UserError(
          f'the {split} split of {self.corpus} has {stream_N.size} tokens, '
          f'fewer than a sequence of {length}: give more documents (a document '
          'is whole in one split), another held_out, or a shorter length'
        )

  def chance(self, length: int) -> float:
    del length
    stream_N = self._streams()['validation']
    return float(np.mean(stream_N == self._commonest()))

  def asked(self, length: int) -> Sequence[int]:
    return range(1, length)

  def sample(self, key: jax.Array, *, length: int, batch: int) -> tasks.Batch:
    stream_N = jnp.asarray(self._streams()[self.split])
    place_L = jnp.arange(length, dtype=jnp.int32)
    target_L = place_L > 0

    def one(key: jax.Array) -> tasks.Batch:
      (word_1,) = draw.words(key, 1)
      start = draw.integers(word_1, 0, stream_N.size - length + 1)[0]
      tokens_L = jax.lax.dynamic_slice_in_dim(stream_N, start, length)
      return tasks.Batch(
        tokens_BxL=tokens_L.astype(jnp.int32),
        targets_BxL=target_L,
        ends_BxL=jnp.zeros_like(target_L),
        foils_BxLxC=jnp.full((length, 1), -1, jnp.int32),
        strata={'place': jnp.where(target_L, place_L, -1)},
      )

    return draw.per_example(one, key, batch)

  def guesses(self, rng, tokens_BxL, asked_BxL):
    del rng
    common_B = [np.bincount(tokens_L).argmax() for tokens_L in tokens_BxL]
    said = {
      'random': np.full_like(tokens_BxL, self._commonest()),
      'bag': np.repeat(np.c_[common_B], tokens_BxL.shape[1], axis=1),
      'recent': np.roll(tokens_BxL, 1, axis=1),
    }
    return answerers.placed(
      asked_BxL, {name: said_BxL[asked_BxL] for name, said_BxL in said.items()}
    )

  def _commonest(self) -> int:
    return int(np.bincount(self._streams()['train']).argmax())

  def _streams(self) -> dict[str, np.ndarray]:
    return _packed(self.corpus, self.tokenizer, self.held_out)


@functools.lru_cache(maxsize=4)
def _packed(
  corpus: corpora.Corpus, tokenizer: tokenizers.Tokenizer, held_out: float
) -> dict[str, np.ndarray]:
  """Return the stream of tokens of each split."""
  narrow = tokenizer.vocabulary <= np.iinfo(np.uint16).max
  dtype = np.dtype(np.uint16 if narrow else np.int32)
  hashed = sorted(
    (hashlib.sha256(d.name.encode()).digest(), d)
    for d in corpora.read(corpus)[0]
  )
  parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
  separator_1 = np.array([tokenizer.separator], dtype)
  for word, document in hashed:
    share = int.from_bytes(word[:8], 'big') / 2**64
    part = parts['validation' if share < held_out else 'train']
    part += [tokenizer.encode(document.text).astype(dtype), separator_1]
  return {
    split: np.concatenate([np.zeros(0, dtype), *part])
    for split, part in parts.items()
  }


@functools.lru_cache(maxsize=4)
def _bigrams(
  corpus: corpora.Corpus, tokenizer: tokenizers.Tokenizer, held_out: float
) -> float:
  """Return the accuracy of a table of bigrams on the validation split."""
  streams = _packed(corpus, tokenizer, held_out)
  size = tokenizer.vocabulary
  pair_N, count_N = np.unique(
    _pairs(streams['train'], size), return_counts=True
  )
  # The commonest pair of each first token comes last, and stays.
  order_N = np.lexsort((count_N, pair_N // size))
  best = np.zeros(size, np.int64)
  best[pair_N[order_N] // size] = pair_N[order_N] % size
  asked_M = _pairs(streams['validation'], size)
  return float(np.mean(best[asked_M // size] == asked_M % size))


def _pairs(stream_N: np.ndarray, size: int) -> np.ndarray:
  """Return a number for each token and the next, one for each pair of ids."""
  wide_N = stream_N.astype(np.int64)
  return wide_N[:-1] * size + wide_N[1:]
