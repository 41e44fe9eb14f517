"""How fast is a training step, against what one would otherwise pick?

posexp and x-transformers train the same model (3 layers, width 64, 4 heads,
feed-forward 256, vocabulary 64, pre-RMSNorm, ReLU, rotary positions) with
AdamW and clipping on batches of 64 sequences of 41 tokens. They alternate in
one process, so that whatever else the machine does hits both; the ratio is
taken round by round. posexp trains four seeds and draws its own data in the
step; the peer trains one model on a batch made beforehand.

Command: make bench-peers
"""

import statistics
import time

from posexp import bench, schemes, sharding

try:
  import torch
  import x_transformers
except ImportError as error:
  raise SystemExit(
    f'bench_peers needs {error.name}: pip install "posexp[peers]", or run '
    '`make bench-peers`'
  ) from error

ROUNDS, STEPS = 9, 20
VOCABULARY = 64


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


def main() -> None:
  sharding.use_all_cores()
  pairs = {
    'rotary': (schemes.RoPE(), {'rotary_pos_emb': True}),
    'ALiBi': (schemes.ALiBi(), {'alibi_pos_bias': True}),
    'T5': (schemes.T5(), {'rel_pos_bias': True}),
  }
  print(
    f'{"position":10}{"posexp":>12}{"x-transf.":>12}  ratio of tokens/s '
    f'(least, greatest of {ROUNDS} rounds)'
  )
  for name, (scheme, position) in pairs.items():
    ours, theirs = bench.Timed(bench.step_run(scheme)), Peer(**position)
    rounds = [(ours(), theirs()) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rounds]
    mine = statistics.median(a for a, _ in rounds)
    peer = statistics.median(b for _, b in rounds)
    print(
      f'{name:10}{mine:>12,.0f}{peer:>12,.0f}  '
      f'{statistics.median(ratios):.2f} ({min(ratios):.2f}, '
      f'{max(ratios):.2f})',
      flush=True,
    )


if __name__ == '__main__':
  main()
