"""Every number on a head is that of a loop in float64."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes, tasks
from posexp.evaluation import attention_statistics, diagnostics, evaluate
from posexp.models import mesh, transformer
from posexp.runs import config
from tests import references, small, task_cases

LENGTH, HEADS, WIDTH = 14, 2, 16
TASK = tasks.Reverse(symbols=16)


def run_of(scheme, **shape):
  shape = config.Model(layers=2, width=WIDTH, heads=HEADS, **shape)
  return small.run(
    scheme=scheme,
    task=TASK,
    model=shape,
    # Shorter than what is looked at, so that something lies beyond it.
    train=small.train_config(length=11),
    evaluate=config.Evaluate(lengths=(LENGTH,), examples=3),
  )


@functools.cache
def weights_of(run):
  """Random parameters of each seed, position's too, larger than at first."""
  net = transformer.of(run)
  make = jax.jit(lambda key: net.init(key, jnp.zeros((1, 4), jnp.int32)))
  drawn = [make(jax.random.key(seed))['params'] for seed in run.seeds]
  rng = np.random.default_rng(0)

  def one(path, *leaves):
    stacked = np.stack([np.asarray(x) for x in leaves])
    if transformer.POSITION in jax.tree_util.keystr(path):
      return rng.normal(size=stacked.shape).astype(np.float32)
    return 1.25 * stacked

  return jax.tree_util.tree_map_with_path(one, *drawn)


def reported(run, params=None):
  params = weights_of(run) if params is None else params
  on = mesh.mesh(len(run.seeds), run.train.batch)
  params = mesh.pad_seeds(params, on, len(run.seeds))
  return diagnostics.report(run, params, LENGTH, on)[1]


def norm(x, scale):
  mean = (x**2).mean(-1, keepdims=True)
  return x / np.sqrt(mean + 1e-6) * scale


def layers(run, params, read_L):
  """(q, k, content, params of position), layer by layer, in float64."""
  x = references.embed(
    run.scheme,
    params.get(transformer.POSITION_INPUT, {}),
    params['embedding'][read_L][None],
  )[0]
  for n in range(run.model.layers):
    block = params[f'block_{n}']
    h = norm(x, block['norm_attention']['scale'])
    pair = np.split(block['key_value']['kernel'], 2, axis=1)
    q, k, v = (
      (h @ w).reshape(1, len(x), HEADS, -1)
      for w in (block['query']['kernel'], *pair)
    )
    own = block.get(transformer.POSITION, {})
    yield q, k, h[None], own
    mixed = references.attend(run.scheme, own, q, k, v, h[None])
    x = x + mixed.reshape(x.shape) @ block['out']['kernel']
    h = norm(x, block['norm_mlp']['scale'])
    up = np.maximum(h @ block['up']['kernel'], 0)
    x = x + up @ block['down']['kernel'].T


def of_queries(rows, head, found):
  """Adds what the queries of a head do to lists by name."""
  for (_, h, i), _, weights in rows:
    if h != head:
      continue
    n, total = len(weights), sum(weights)
    assert n == i + 1
    found['finite'].append(1.0)
    found['first'].append(weights[0])
    found['beyond'].append(sum(w for j, w in enumerate(weights) if i - j >= 11))
    p = [w / total if total else 0.0 for w in weights]
    reach = sum(w * (i - j) for j, w in enumerate(p))
    found['reach'].append(reach)
    found['reach_share'].append(reach / n)
    if n > 1:
      entropy = -sum(w * math.log(w) for w in p if w)
      found['entropy'].append(entropy / math.log(n))


def of_gold(rows, head, batch, b, bos, found):
  """Adds rank and margin of the answers' keys, by distance."""
  logits = {i: z for (_, h, i), z, _ in rows if h == head}
  weights = {i: w for (_, h, i), _, w in rows if h == head}
  for t in range(LENGTH):
    d = int(batch.strata['distance'][b, t])  # The answer itself, in Reverse.
    if d < 1 or t - 1 + bos < 1 or batch.ends_BxL[b, t]:
      continue
    # BOS, if any, is one place before token 0.
    z, key = logits[t - 1 + bos], t - d + bos
    others = [x for j, x in enumerate(z) if j != key]
    rank = sum(x > z[key] for x in others)
    found['rank_share'].append(rank / len(others))
    found['rank', int(math.log2(d))].append(rank)
    found['margin', int(math.log2(d))].append(z[key] - max(others))
    w = weights[t - 1 + bos]
    p = [x / sum(w) if sum(w) else 0.0 for x in w]
    entropy = -sum(x * math.log(x) for x in p if x)
    found['asked_entropy'].append(entropy / math.log(len(w)))
    found['asked_first'].append(w[0])


def of_distances(run, shown, head, found):
  q, k, content, own = shown
  parts, length = references.terms(run.scheme, own), q.shape[1]
  z = references.logit(
    parts, q[0, :, head], k[0, :, head], content[0], head, HEADS
  )
  some = [math.floor((c + 0.5) * length / 4) for c in range(4)]
  last = length - 1
  for n, distances in enumerate([(1,), (2, 3), (4, 5, 6, 7), (8, 10, 12)]):
    for d in distances:
      for m, j in np.ndindex(4, 4):
        if d + 1 <= last:
          near, far = (z(some[m], last, some[j], last - x) for x in (d, d + 1))
          found['resolution', n].append(abs(near - far))


def expected(run, params):
  """Mean of each measure: by name, or (name, bin), S x layers x H."""
  batch = evaluate.examples(TASK, LENGTH, 3)
  batch = jax.tree.map(np.asarray, batch)
  net, bos = transformer.of(run), int(run.model.bos)
  read_BxL = np.asarray(transformer.inputs(net, batch.tokens_BxL))
  out = {}
  for s in range(len(run.seeds)):
    mine = jax.tree.map(lambda x, s=s: np.asarray(x[s], np.float64), params)
    lists = {}
    for b, read_L in enumerate(read_BxL):
      for n, shown in enumerate(layers(run, mine, read_L)):
        q, k, content, own = shown
        rows = list(references.rows(run.scheme, own, q, k, content))
        for head in range(HEADS):
          found = lists.setdefault((n, head), _Lists())
          of_queries(rows, head, found)
          of_gold(rows, head, batch, b, bos, found)
          of_distances(run, shown, head, found)
    for (n, head), found in lists.items():
      for name, values in found.items():
        table = np.full((2, 2, HEADS), np.nan)
        out.setdefault(name, table)[s, n, head] = np.mean(values)
  return out


class _Lists(dict):
  def __missing__(self, name):
    return self.setdefault(name, [])


@pytest.mark.parametrize(
  'scheme, bos',
  [
    (schemes.RoPE(base=20.0), True),
    (schemes.RoPE(base=20.0) + schemes.ALiBi(), False),
    (schemes.NoPE(), True),
    (schemes.T5(8, 12) + schemes.Forgetting(), False),
    (schemes.StickBreaking(), True),
  ],
  ids=str,
)
def test_every_number_is_that_of_a_loop(scheme, bos):
  run = run_of(scheme, bos=bos)
  row, wanted = reported(run), expected(run, weights_of(run))
  known = row['known']
  assert row['bins'] == [1, 2, 4, 8] and known == [0, 3, 6, 9]
  for name, values in row['heads'].items():
    # Five digits of float32 sums of a dozen products in a row.
    np.testing.assert_allclose(values, wanted[name], rtol=3e-4, atol=1e-5)
  assert row['heads'].keys() == set(attention_statistics.HEADS)
  for name, values in row['binned'].items():
    for n in range(4):
      found = np.array(values)[..., n]
      if name == 'resolution' and not scheme.blockwise:
        assert np.isnan(found).all()
      elif (name, n) in wanted:
        mine = wanted[name, n]
        np.testing.assert_allclose(found, mine, rtol=3e-4, atol=3e-5)
      else:
        assert np.isnan(found).all() and not known[n]
  assert row['binned'].keys() == set(attention_statistics.BINNED)


@pytest.mark.parametrize('bos', [True, False])
@pytest.mark.parametrize(
  'name', ['recall', 'reverse repeats', 'flip-flop', 'ordering spread']
)
def test_the_right_key_reads_the_answer(name, bos):
  """In these tasks it is the answer itself that stands there."""
  task, length = task_cases.TABLE[name]
  batch, shape = task_cases.draw(task, length), config.Model(bos=bos)
  batch = tasks.with_evidence(task, batch)
  net = transformer.Transformer(shape, schemes.NoPE(), task.vocabulary)
  read_BxL = np.asarray(transformer.inputs(net, batch.tokens_BxL))
  found = attention_statistics.gold(batch, shape)
  targets_B = batch.targets_BxL.sum(1)
  for b in range(8):
    places = [x for x in zip(*(array[b] for array in found)) if x[2] >= 0]
    assert len(places) == min(targets_B[b], attention_statistics.GOLD)
    assert len({query for query, _, _ in places}) == len(places)
    for query, key, number in places:
      # What is predicted at a place is the next that is read there.
      answer = batch.tokens_BxL[b, query + 1 - bos]
      assert batch.targets_BxL[b, query + 1 - bos]
      assert key <= query and read_BxL[b, key] == answer
      assert 2**number <= query - key + 1 < 2 ** (number + 1)


def test_keys_that_a_query_cannot_see_are_left_out():
  distance = np.array([[-1, 1, 1, 2, 3, 4, 5, 2]])
  one = np.ones_like(distance)
  ends = np.arange(8)[None] == 7
  batch = tasks.Batch(
    one, distance > 0, ends, one[..., None], {'evidence': distance}
  )
  pick = lambda **shape: attention_statistics.gold(batch, config.Model(**shape))
  # Token 1 is predicted from one key; the last is an end.
  assert pick(bos=False).query_BxG.tolist() == [[1, 2, 3, 4, 5]]
  assert pick(bos=True, window=3).query_BxG.tolist() == [[1, 2, 3, 4]]
  assert pick(bos=True, window=3).key_BxG.tolist() == [[1, 2, 2, 2]]
  assert pick(window=1) is None
  assert (
    attention_statistics.gold(batch._replace(strata={}), config.Model()) is None
  )


def test_ties_count_a_half_and_hidden_keys_nothing():
  z = jnp.array([[[2.0, 5.0, 2.0, 1.0, 9.0], [jnp.nan] * 5, [0.0] * 5]])
  gold = attention_statistics.Gold(
    jnp.array([3, 3, 4]), jnp.array([2, 2, 2]), jnp.array([1, 0, -1])
  )
  found = attention_statistics.ranks(z, gold, 2)
  # 5 is above, the other 2 is alike and 9 comes after the query.
  assert found['rank'][0, 1] == 1.5 and found['margin'][0, 1] == -3
  assert math.isnan(found['rank'][0, 0]) and math.isnan(found['margin'][0, 0])
  # In a window of 3 the first key is hidden.
  assert attention_statistics.ranks(z, gold, 2, 3)['rank'][0, 1] == 1


def test_weights_need_not_sum_to_one():
  weights = jnp.array([[[0.0, 0.0, 0.0], [0.1, 0.1, 0.2]]])
  found = attention_statistics.spread(weights, np.array([0, 2]))
  p = [0.25, 0.25, 0.5]
  entropy = -sum(x * math.log(x) for x in p) / math.log(3)
  assert found['entropy'][0] == pytest.approx(entropy, abs=1e-6)
  assert found['reach'][0] == pytest.approx((0 + 0.75) / 2, abs=1e-6)
  assert found['reach_share'][0] == pytest.approx(0.75 / 3 / 2, abs=1e-6)
  bad = attention_statistics.spread(
    weights.at[0, 1, 0].set(jnp.nan), np.array([0, 2])
  )
  assert bad['finite'][0] == 0.5 and math.isnan(bad['entropy'][0])


def test_a_record_of_many_heads_is_small():
  """Four lengths, five seeds, three layers and four heads."""
  rng, size = np.random.default_rng(0), 0
  for length in (64, 128, 256, 512):
    number = attention_statistics.bins(length)
    heads = lambda *n: rng.normal(size=(5, 2, 3, 4, *n))
    values = {
      name: heads(*(number,) if name in attention_statistics.BINNED else ())
      for name in (*attention_statistics.HEADS, *attention_statistics.BINNED)
      if name not in ('first', 'beyond')
    }
    bin_BxG = rng.integers(0, number, (2, 16))
    gold = attention_statistics.Gold(bin_BxG, bin_BxG, bin_BxG)
    masses = heads(length), heads(length)
    row = attention_statistics.row(values, masses, gold, 64, number)
    assert len(row['heads']) == 9 and len(row['binned']) == 3
    size += len(json.dumps(row))
  # With two numbers more a head than at first; 150 kB is too much.
  assert size < 80_000
