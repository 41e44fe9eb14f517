"""Generation: what repeated whole passes give, what is drawn, refusals."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.models import generation
from posexp.models import transformer as transformer_lib
from posexp.runs import config
from tests import cases

PROMPT, NEW = 5, 12
TOKENS_BxL = np.array([[4, 11, 2, 2, 9], [17, 0, 8, 3, 22]])


def transformer(scheme):
  """A tiny model and its parameters, in which attention weighs much.

  What an untrained model says hardly depends on what it was told otherwise.
  """
  net, variables = cases.transformer(scheme)
  params = dict(variables['params'])
  for n in range(net.shape.layers):
    block = params[f'block_{n}']
    loud = {'kernel': 20 * block['out']['kernel']}
    params[f'block_{n}'] = {**block, 'out': loud}
  return net, params


def whole_pass(net, params, key=None):
  """Logits of every place of PROMPT + NEW tokens, without a cache."""
  forward = jax.jit(lambda t: transformer_lib.predict(net, params, t, key=key))
  # Logits for the first token are not asked for: the prompt has it.
  return lambda tokens: np.asarray(forward(jnp.asarray(tokens)))


def greedy_again(net, params, key=None):
  """The most likely token, NEW times, with a whole pass for each."""
  forward = whole_pass(net, params, key)
  written = np.pad(TOKENS_BxL, ((0, 0), (0, NEW)))
  for t in range(PROMPT, PROMPT + NEW):
    written[:, t] = forward(written)[:, t - 1].argmax(axis=-1)
  return written[:, PROMPT:]


@pytest.mark.parametrize(
  'scheme',
  [
    schemes.RoPE(),
    schemes.ALiBi() + schemes.T5(buckets=8, max_distance=20),
    schemes.Forgetting(),
    schemes.CoPE(positions=8),
    schemes.Randomize(schemes.RoPE(), 40).for_length(PROMPT + NEW),
  ],
  ids=str,
)
def test_greedy_is_the_argmax_of_whole_passes(scheme):
  net, params = transformer(scheme)
  key = jax.random.key(4) if scheme.draws else None
  said = generation.generate(net, params, TOKENS_BxL, NEW, position_key=key)
  assert said.dtype == jnp.int32
  again = greedy_again(net, params, key)
  np.testing.assert_array_equal(said, again)
  assert len(np.unique(again)) > 3  # Not one token over and over.


def test_room_in_the_cache_and_company_in_the_batch_change_nothing():
  net, params = transformer(schemes.RoPE())
  say = lambda tokens, **kwargs: np.asarray(
    generation.generate(net, params, tokens, NEW, **kwargs)
  )
  both = say(TOKENS_BxL)
  np.testing.assert_array_equal(say(TOKENS_BxL[1:], slots=40), both[1:])


DRAWS = 4096


def one_step(**kwargs):
  """How often each token follows one prompt, and its logits."""
  net, params = transformer(schemes.RoPE())
  many = jnp.broadcast_to(jnp.asarray(TOKENS_BxL[0]), (DRAWS, PROMPT))
  said = generation.generate(
    net, params, many, 1, key=jax.random.key(2), **kwargs
  )
  written = np.pad(TOKENS_BxL, ((0, 0), (0, NEW)))
  logits = whole_pass(net, params)(written)[0, PROMPT - 1]
  count_V = np.bincount(np.asarray(said)[:, 0], minlength=logits.size)
  return count_V, logits.astype(np.float64)


def chi_square(count_V, logits_V):
  """Pearson's statistic of counts under softmax(logits)."""
  share_V = np.exp(logits_V - logits_V.max())
  expected_V = DRAWS * share_V / share_V.sum()
  assert expected_V.min() > 5
  return np.sum((count_V - expected_V) ** 2 / expected_V)


def test_draws_are_as_frequent_as_the_softmax_says():
  count_V, logits_V = one_step(temperature=1.5)
  # 22 degrees of freedom: 60 is passed once in fifty thousand keys.
  assert chi_square(count_V, logits_V / 1.5) < 60
  assert chi_square(count_V, logits_V / 1.2) > 60


def test_the_most_likely_tokens_are_drawn_among_themselves():
  count_V, logits_V = one_step(temperature=1.5, top_k=4)
  top = np.sort(logits_V.argsort()[-4:])
  assert np.flatnonzero(count_V).tolist() == top.tolist()
  # Three degrees of freedom: 28 is passed once in three hundred thousand.
  assert chi_square(count_V[top], logits_V[top] / 1.5) < 28


def test_every_step_draws_anew_and_a_key_says_it_all():
  net, params = transformer(schemes.RoPE())
  say = lambda seed: np.asarray(
    generation.generate(
      net,
      params,
      TOKENS_BxL,
      NEW,
      temperature=20.0,
      top_k=2,
      key=jax.random.key(seed),
    )
  )
  said = say(0)
  np.testing.assert_array_equal(said, say(0))
  assert (said != say(1)).any()
  # Each is one of the two that were most likely after what was said before.
  written = np.concatenate([TOKENS_BxL, said], axis=1)
  logits = whole_pass(net, params)(written)[:, PROMPT - 1 :]
  rank = (logits > np.take_along_axis(logits, said[..., None], -1)).sum(-1)
  assert set(rank.ravel()) == {0, 1}
  # And not the same one of the two at every step.
  assert (rank.min(axis=1) < rank.max(axis=1)).all()


def test_ties_stay_within_the_number_asked_for():
  flat = jnp.zeros((200, 7))
  said = generation.sample(flat, 3, jax.random.key(0))
  assert set(np.asarray(said).tolist()) == {0, 1, 2}


@dataclasses.dataclass(frozen=True)
class Whole(schemes.Scheme):
  """A scheme that looks at the whole sequence."""

  decodes = False


@pytest.mark.parametrize(
  ('changes', 'sentence'),
  [
    ({'slots': 16}, 'at least 17 .* 5 of the prompt and BOS, got 16: give'),
    ({'tokens': 0}, 'tokens must be at least 1, got 0'),
    ({'temperature': -0.5}, 'at least 0, got -0.5'),
    ({'temperature': math.nan}, 'at least 0, got nan'),
    ({'temperature': 1.5}, 'temperature of 1.5 draws .* no key'),
    ({'top_k': 0}, 'from 1 to the 23 tokens .* got 0'),
    ({'top_k': 24}, 'from 1 to the 23 tokens .* got 24'),
    ({'prompt_BxL': TOKENS_BxL[0]}, r'B x L, got the shape \(5,\)'),
    ({'prompt_BxL': TOKENS_BxL + 0.5}, 'of token ids, got float64: give int'),
    ({'prompt_BxL': TOKENS_BxL - 99}, 'must be from 0 to 22, got -'),
    ({'prompt_BxL': 23 + 0 * TOKENS_BxL}, 'from 0 to 22, got 23: give'),
    ({'tokens': 2.0}, r'tokens must be an int, got 2.0 \(float\): write 2'),
    ({'top_k': True}, 'top_k must be an int, got True'),
    ({'scheme': schemes.Learned(rows=16)}, '16 rows but a length of 17'),
    ({'scheme': Whole() + schemes.RoPE()}, r'Whole\(\) \+ RoPE\(\) cannot dec'),
    ({'scheme': schemes.Interpolate(Whole(), 2)}, r'Whole\(\), .* cannot dec'),
    ({'bos': False, 'prompt_BxL': TOKENS_BxL[:, :0]}, 'no BOS to begin from'),
  ],
)
def test_what_cannot_be_is_a_sentence_before_any_compute(changes, sentence):
  changes = {'bos': True, 'scheme': schemes.RoPE(), **changes}
  bos, scheme = changes.pop('bos'), changes.pop('scheme')
  shape = config.Model(layers=1, width=16, heads=2, bos=bos)
  net = transformer_lib.Transformer(shape, scheme, vocabulary=cases.LENGTH)
  arguments = {'prompt_BxL': TOKENS_BxL, 'tokens': NEW, **changes}
  with pytest.raises(ValueError, match=sentence):
    # Without parameters: whatever computes would fail in another way.
    generation.generate(net, {}, **arguments)


def test_a_model_without_bos_reads_one_token_less():
  shape = config.Model(layers=1, width=16, heads=2, bos=False)
  net = transformer_lib.Transformer(
    shape, schemes.Learned(rows=16), cases.LENGTH
  )
  params = transformer_lib.shapes(net)
  shape = jax.eval_shape(
    lambda p: generation.generate(net, p, TOKENS_BxL, NEW), params
  ).shape
  assert shape == (2, NEW)
  with pytest.raises(ValueError, match='16 rows but a length of 17'):
    generation.generate(net, {}, TOKENS_BxL, NEW + 1)


def test_nothing_but_bos_is_enough_to_begin():
  net, params = transformer(schemes.RoPE())
  empty = TOKENS_BxL[:, :0]
  said = generation.generate(net, params, empty, 1)
  logits, _ = net.apply({'params': params}, jnp.full((1, 1), net.vocabulary))
  assert said.tolist() == 2 * [[int(logits[0, 0].argmax())]]


def test_a_scheme_that_goes_by_the_length_is_that_of_all_tokens(monkeypatch):
  monkeypatch.setattr(
    generation,
    '_program',
    lambda form, tokens, slots, top_k, numbers, *_: schemes.fill(
      form.scheme, numbers
    ),
  )
  net, params = transformer(schemes.RoPE(schemes.DynamicNTK(4, 8)))
  # BOS, the prompt and all new tokens but the last are read.
  read = TOKENS_BxL.shape[1] + NEW
  used = generation.generate(net, params, TOKENS_BxL, NEW, slots=40)
  width = net.shape.head_width
  expected = schemes.RoPE(schemes.NTK(4 * read / 8 - 3))
  np.testing.assert_array_equal(
    used.inverse_frequencies(width),
    np.float32(expected.inverse_frequencies(width)),
  )
