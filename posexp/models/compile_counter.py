"""How many programs this process compiled, and for what."""

import collections

TRAINING, EVALUATION, DIAGNOSIS = 'training', 'evaluation', 'diagnosis'

# By what they are for. A program is counted as it is traced, before it is
# compiled or found in the cache on disk, which is once.
counted: collections.Counter[str] = collections.Counter()


def since(before: collections.Counter[str]) -> str:
  """Say what was compiled since a count was taken.

  >>> counted[TRAINING] += 1
  >>> since(counted - collections.Counter({TRAINING: 1}))
  '1 of training, 0 of evaluation, 0 of diagnosis'
  >>> counted[TRAINING] -= 1
  """
  return ', '.join(
    f'{counted[kind] - before[kind]} of {kind}'
    for kind in (TRAINING, EVALUATION, DIAGNOSIS)
  )
