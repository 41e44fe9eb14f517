"""Coverage of a scheme as a table for a terminal."""

from posexp import component, schemes
from posexp.schemes import coverage

# Lengths that are shown, as multiples of the trained one.
RATIOS = (1, 1.5, 2, 4, 8, 16, 32, 64)


def text(
  scheme: schemes.Scheme,
  *,
  train_length: int,
  dims: schemes.Dims,
  target: int | None = None,
  trained: schemes.Scheme | None = None,
) -> str:
  """Return a table of the coverage at lengths up to a target.

  Args:
    scheme: what is evaluated.
    train_length: tokens in a training sequence.
    dims: the sizes of the model.
    target: the longest length; four times the trained one unless given.
    trained: what was trained, if it is another scheme.
  """
  component.at_least('train_length', train_length, 2, 'one token has no place')
  target = 4 * train_length if target is None else target
  component.at_least('target', target, train_length, 'give a longer one')
  between = {round(train_length * ratio) for ratio in RATIOS}
  lengths = sorted({n for n in between if n < target} | {target})
  for length in lengths:
    evaluated = coverage.evaluated(scheme, train_length, length)
    evaluated.check(dims, length)
  shares = [
    coverage.coverage(
      scheme,
      trained=trained,
      train_length=train_length,
      length=length,
      dims=dims,
    )
    for length in lengths
  ]
  title = f'{scheme}, trained at {train_length} tokens'
  title += f' under {trained}' if trained is not None else ''
  if not shares[0]:
    return f'{title}: nothing in it depends on position'
  lines = [title, 'share that training never used, by length in tokens', '']
  lines.append(f'{"":12}' + ''.join(f'{n:>10,}' for n in lengths))
  for kind in shares[0]:
    cells = ''.join(f'{by_kind[kind]:>10.1%}' for by_kind in shares)
    lines.append(f'{kind:12}{cells}')
  return '\n'.join(lines)
