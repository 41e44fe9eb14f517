"""How fast is a training step, against what one would otherwise pick?

posexp and x-transformers train the same model (3 layers, width 64, 4 heads,
feed-forward 256, vocabulary 64, pre-RMSNorm, ReLU, rotary positions) with
AdamW and clipping on batches of 64 sequences of 41 tokens. They alternate in
one process, so that whatever else the machine does hits both; the ratio is
taken round by round. posexp trains four seeds and draws its own data in the
step; the peer trains one model on a batch made beforehand.

A posexp task says which tokens it asks about (20 of 41 for Copy), and the last
layer is computed for these alone, with the same gradients. The peer computes
all; the last row, of a task that names no places, is the same work for both.

Then ALiBi at 16,384 tokens (1 x 4 heads x width 16, causal, forward):
`posexp.attend` on one device, as a user calls it, and torch's compiled
`flex_attention` with the same bias and a causal block mask, which skips what is
masked. Both may use every core; the results are compared before they are timed.

Command: make bench-peers
"""

import dataclasses
import statistics
import time

import jax
import numpy as np

import posexp
from posexp import schemes
from posexp.cost import bench
from posexp.models import mesh

try:
  import torch
  import x_transformers
  from torch.nn.attention import flex_attention
except ImportError as error:
  raise SystemExit(
    f'bench_peers needs {error.name}: pip install "posexp[peers]", or run '
    '`make bench-peers`'
  ) from error

ROUNDS, STEPS = 15, 20
VOCABULARY = 64
LONG, HEADS, WIDTH = 16_384, 4, 16


class Peer:
  """x-transformers, eager, which was its faster mode on a CPU."""

  def __init__(self, **position):
    self.model = x_transformers.TransformerWrapper(
      num_tokens=VOCABULARY,
      max_seq_len=bench.LENGTH + 1,
      use_abs_pos_emb=False,
      attn_layers=x_transformers.Decoder(
        dim=64,
        depth=3,
        heads=4,
        attn_dim_head=16,
        ff_mult=4,
        ff_custom_activation=torch.nn.ReLU(),
        ff_no_bias=True,
        use_rmsnorm=True,
        **position,
      ),
    )
    self.optimiser = torch.optim.AdamW(
      self.model.parameters(), lr=1e-3, betas=(0.9, 0.98)
    )
    # One token more than posexp's sequences, which begin with BOS: both models
    # read LENGTH tokens.
    shape = (bench.BATCH, bench.LENGTH + 1)
    self.tokens_BxL = torch.randint(0, VOCABULARY, shape)
    self()

  def __call__(self) -> float:
    """Tokens per second of a few steps."""
    begun = time.perf_counter()
    for _ in range(STEPS):
      logits_BxLxV = self.model(self.tokens_BxL[:, :-1])
      loss = torch.nn.functional.cross_entropy(
        logits_BxLxV.flatten(0, 1), self.tokens_BxL[:, 1:].flatten()
      )
      loss.backward()
      torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
      self.optimiser.step()
      self.optimiser.zero_grad()
    seconds = time.perf_counter() - begun
    return STEPS * bench.BATCH * bench.LENGTH / seconds


def flex(q, k, v):
  """torch's compiled attention with ALiBi, as a function that runs it."""
  slopes_H = torch.from_numpy(schemes.ALiBi().slopes(HEADS)).float()

  def bias(score, b, h, i, j):
    return score - slopes_H[h] * (i - j)

  mask = flex_attention.create_block_mask(
    lambda b, h, i, j: i >= j, None, None, LONG, LONG, device='cpu'
  )
  run = torch.compile(flex_attention.flex_attention)

  def first(x):
    return torch.from_numpy(np.array(x.swapaxes(1, 2)))

  args = [first(x) for x in (q, k, v)]

  def attend():
    with torch.no_grad():
      return run(*args, score_mod=bias, block_mask=mask).numpy()

  return attend


def attention() -> None:
  """Prints a row: seconds of both, alternating, and how far they differ."""
  shape = 1, LONG, HEADS, WIDTH
  q, k, v = jax.device_put(
    [jax.random.normal(jax.random.key(n), shape) for n in range(3)],
    mesh.by_head(HEADS),
  )
  run = jax.jit(
    lambda q, k, v: posexp.attend(schemes.ALiBi(), {}, q, k, v, block='auto')
  )

  def posexp_attend():
    return jax.block_until_ready(run(q, k, v))

  flex_attend = flex(q, k, v)
  off = np.abs(np.asarray(posexp_attend()).swapaxes(1, 2) - flex_attend()).max()
  rounds = [
    (_seconds(posexp_attend), _seconds(flex_attend)) for _ in range(ROUNDS)
  ]
  ratios = [flex_time / attend_time for attend_time, flex_time in rounds]
  time_ms, flex_ms = (1e3 * statistics.median(x) for x in zip(*rounds))
  print(
    f'\n{"attention, tokens":20}{"posexp":>10}{"flex":>11}  ratio of speeds\n'
    f'{f"ALiBi, {LONG:,}":20}{time_ms:>7,.0f} ms{flex_ms:>8,.0f} ms  '
    f'{bench.spread(ratios)}, largest difference {off:.0e}'
  )


def _seconds(run) -> float:
  begun = time.perf_counter()
  run()
  return time.perf_counter() - begun


def main() -> None:
  mesh.use_all_cores()
  rotary = {'rotary_pos_emb': True}
  rope = bench.step_run(schemes.RoPE())
  everywhere = bench.Everywhere(**dataclasses.asdict(rope.task))
  pairs = {
    'rotary': (rope, rotary),
    'ALiBi': (bench.step_run(schemes.ALiBi()), {'alibi_pos_bias': True}),
    'T5': (bench.step_run(schemes.T5()), {'rel_pos_bias': True}),
    'rotary, all tokens': (
      dataclasses.replace(rope, task=everywhere),
      rotary,
    ),
  }
  print(
    f'{"position":20}{"posexp":>10}{"x-transf.":>11}  ratio of tokens/s '
    f'(least, greatest of {ROUNDS} rounds)'
  )
  for name, (run, position) in pairs.items():
    trainer, peer = bench.Trainer(run), Peer(**position)
    rounds = [(trainer(), peer()) for _ in range(ROUNDS)]
    ratios = [speed / peer_speed for speed, peer_speed in rounds]
    speed, peer_speed = (statistics.median(speeds) for speeds in zip(*rounds))
    print(
      f'{name:20}{speed:>10,.0f}{peer_speed:>11,.0f}  {bench.spread(ratios)}',
      flush=True,
    )
  attention()


if __name__ == '__main__':
  main()
