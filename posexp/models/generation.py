"""Generation from a KV cache: prefill, then one token at a time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from posexp import component, schemes
from posexp.models import transformer

Array = jax.Array


def generate(
  net: transformer.Transformer,
  params: Any,
  prompt_BxL: Array,
  tokens: int,
  *,
  slots: int | None = None,
  temperature: float = 0.0,
  top_k: int | None = None,
  key: Array | None = None,
  position_key: Array | None = None,
) -> Array:
  """Continue prompts, token by token.

  The prompt is read in one pass, BOS before it if the model has one; each
  token after it is the most likely one, or is drawn with probability
  softmax(logits / temperature). A token costs as much work as the cache has
  slots. It is compiled once for each shape of the prompt and each `tokens`,
  `slots` and `top_k`.

  Args:
    net: the model. A scheme that goes by the length is the one for all tokens
      that are read, unless `for_length` has settled it.
    params: of one seed.
    prompt_BxL: token ids, integers below the vocabulary; L may be 0 for a model
      with BOS.
    tokens: how many to add to each prompt.
    slots: tokens that the cache can hold, by default as many as are read: BOS,
      the prompt and all new tokens but the last. More change nothing.
    temperature: 0 for the most likely token.
    top_k: draw among so many of the most likely tokens only; all by default.
    key: what is drawn is a function of it; needed above temperature 0.
    position_key: for schemes that draw their positions; one draw for all.

  Returns:
    The new tokens, B x tokens, int32.

  Raises:
    UserError: one sentence, before any compute, if the cache is too small,
      the scheme has no such position or cannot decode, the prompt is not of
      token ids, is empty and there is no BOS, or an argument is out of range.

  >>> from posexp import schemes
  >>> from posexp.runs import config
  >>> shape = config.Model(layers=1, width=8, heads=2)
  >>> net = transformer.Transformer(shape, schemes.RoPE(), vocabulary=5)
  >>> prompt_BxL = jnp.array([[3, 1], [4, 4]])
  >>> params = net.init(jax.random.key(0), prompt_BxL)['params']
  >>> generate(net, params, prompt_BxL, 3).tolist()
  [[0, 3, 0], [2, 4, 2]]
  """
  tokens = component.as_kind('tokens', tokens, int)
  slots = component.as_kind('slots', slots, int | None)
  top_k = component.as_kind('top_k', top_k, int | None)
  _check_prompt(net, prompt_BxL)
  _check(net, tokens, temperature, top_k, key)
  bos, length = int(net.shape.bos), prompt_BxL.shape[1]
  needed = bos + length + tokens - 1
  slots = needed if slots is None else slots
  if slots < needed:
    read = f'{length} of the prompt' + ' and BOS' * bos
    raise component.UserError(
      f'slots must be at least {needed} for {tokens} new tokens, the last of '
      f'which is not read, after {read}, got {slots}: give slots={needed}'
    )
  net = net.clone(scheme=net.scheme.for_length(needed))
  net.scheme.check(net.shape.dims, slots)
  transformer.check_decodes(net.scheme)
  form, numbers = transformer.take(net)
  draw = None if key is None or not temperature else (temperature, key)
  return _program(
    form, tokens, slots, top_k, numbers, params, prompt_BxL, draw, position_key
  )


def greedy(
  net: transformer.Transformer,
  params: Any,
  tokens_BxL: Array,
  targets_BxL: Array,
  key: Array | None = None,
) -> Array:
  """Decode greedily from a KV cache, the model reading its own tokens.

  Targets are replaced by what the model predicted; all other tokens are given.
  Where it is right everywhere, teacher forcing gives the same.

  Returns:
    The predictions of tokens[:, 1:], B x L-1.
  """
  batch, length = tokens_BxL.shape
  bos = int(net.shape.bos)
  cache = transformer.empty_cache(net, batch, length - 1 + bos)
  first_B = transformer.inputs(net, tokens_BxL)[:, 0]

  def choose(logits_BxV, index):
    token_B = jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
    following = index + 1 - bos
    given_B = jnp.take(tokens_BxL, following, axis=1)
    free_B = jnp.take(targets_BxL, following, axis=1)
    return token_B, jnp.where(free_B, token_B, given_B)

  index_T = jnp.arange(length - 1 + bos)
  token_BxT = unroll(net, params, (cache, first_B), index_T, choose, key)
  return token_BxT[:, bos:]


def unroll(
  net: transformer.Transformer,
  params: Any,
  begin: tuple[Any, Array],
  index_T: Array,
  choose: Callable[[Array, Array], tuple[Array, Array]],
  key: Array | None = None,
) -> Array:
  """Read one token after another from a cache, each at its index.

  Args:
    net: the model.
    params: of one seed.
    begin: the cache, and the token B that is read first.
    index_T: the index of each token that is read.
    choose: from the logits B x V and the index of the token that was read to
      the token that is predicted and the one that is read next, B each.
    key: for schemes that draw their positions.

  Returns:
    The predicted tokens, B x T.
  """

  def step(carry, index):
    cache, token_B = carry
    logits_Bx1xV, cache = net.apply(
      {'params': params}, token_B[:, None], cache=cache, start=index, key=key
    )
    predicted_B, token_B = choose(logits_Bx1xV[:, 0], index)
    return (cache, token_B), predicted_B

  _, predicted_TxB = jax.lax.scan(step, begin, index_T)
  return predicted_TxB.T


@functools.partial(
  jax.jit, static_argnames=('form', 'tokens', 'slots', 'top_k')
)
def _program(
  form: transformer.Transformer,
  tokens: int,
  slots: int,
  top_k: int | None,
  numbers: schemes.Numbers,
  params: Any,
  prompt_BxL: Array,
  draw: tuple[float, Array] | None,
  position_key: Array | None,
) -> Array:
  net = transformer.fill(form, numbers)
  prompt_BxL = prompt_BxL.astype(jnp.int32)
  if net.shape.bos:
    before = ((0, 0), (1, 0))
    prompt_BxL = jnp.pad(prompt_BxL, before, constant_values=net.vocabulary)
  last = prompt_BxL.shape[1] - 1

  def predict(logits_BxV, index):
    if draw is None:
      return jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
    temperature, key = draw
    return sample(
      logits_BxV / temperature, top_k, jax.random.fold_in(key, index)
    )

  def choose(logits_BxV, index):
    token_B = predict(logits_BxV, index)
    return token_B, token_B

  empty = transformer.empty_cache(net, prompt_BxL.shape[0], slots)
  logits_Bx1xV, cache = net.apply(
    {'params': params}, prompt_BxL, cache=empty, key=position_key, rows=(last,)
  )
  first_B = predict(logits_Bx1xV[:, 0], last)
  index_T = last + 1 + jnp.arange(tokens - 1)
  token_BxT = unroll(
    net, params, (cache, first_B), index_T, choose, position_key
  )
  return jnp.concatenate([first_B[:, None], token_BxT], axis=1)


def sample(logits_BxV: Array, top_k: int | None, key: Array) -> Array:
  """Draw a token for each row with probability softmax(logits), B.

  Among the `top_k` most likely, if given; of those that are as likely as the
  last of them, the ones with the lowest ids.
  """
  if top_k is None:
    return jax.random.categorical(key, logits_BxV).astype(jnp.int32)
  logits_BxK, token_BxK = jax.lax.top_k(logits_BxV, top_k)
  place_Bx1 = jax.random.categorical(key, logits_BxK)[:, None]
  return jnp.take_along_axis(token_BxK, place_Bx1, axis=1)[:, 0]


def _check_prompt(net, prompt_BxL):
  if prompt_BxL.ndim != 2:
    raise component.UserError(
      f'a prompt is B x L, got the shape {prompt_BxL.shape}: put a batch axis '
      'before the tokens'
    )
  if not prompt_BxL.shape[1] and not net.shape.bos:
    raise component.UserError(
      'the prompt is empty and the model has no BOS to begin from: give at '
      'least one token'
    )
  if not jnp.issubdtype(prompt_BxL.dtype, jnp.integer):
    raise component.UserError(
      f'a prompt is of token ids, got {prompt_BxL.dtype}: give integers'
    )
  # What is traced has no values yet.
  if isinstance(prompt_BxL, jax.core.Tracer) or not prompt_BxL.size:
    return
  for token in (int(prompt_BxL.min()), int(prompt_BxL.max())):
    if not 0 <= token < net.vocabulary:
      raise component.UserError(
        f'a token of the prompt must be from 0 to {net.vocabulary - 1}, got '
        f'{token}: give ids of the vocabulary, and leave out BOS'
      )


def _check(net, tokens, temperature, top_k, key):
  if tokens < 1:
    raise component.UserError(
      f'tokens must be at least 1, got {tokens}: ask for more'
    )
  if not temperature >= 0:
    raise component.UserError(
      f'temperature must be at least 0, got {temperature}: 0 takes the most '
      'likely token'
    )
  if temperature > 0 and key is None:
    raise component.UserError(
      f'a temperature of {temperature} draws tokens, but there is no key: give '
      'one with jax.random.key, or temperature=0'
    )
  if top_k is not None and not 1 <= top_k <= net.vocabulary:
    raise component.UserError(
      f'top_k must be from 1 to the {net.vocabulary} tokens of the vocabulary, '
      f'got {top_k}: leave it out for all'
    )
