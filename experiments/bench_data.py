"""Is reading frozen examples a bottleneck of evaluation?

Question: how long does it take to read the examples of the quickstart, against
predicting them with its RoPE model, three seeds? The smaller the model, the
larger the share, and the quickstart's is the smallest in use.

Command: python experiments/bench_data.py    (two minutes on two cores)

Every round, in one process, reads the frozen set of each length with TFDS, its
digest checked, and predicts it with a program that was compiled before.
Printed are medians over rounds, and the ratio with the least and the greatest
of the rounds. An evaluation reads a set once, for all runs of its grid.
"""

import pathlib
import statistics
import tempfile
import time

from posexp import data
from posexp.cost import bench
from posexp.data import store
from posexp.evaluation import evaluate
from posexp.launch import grid
from posexp.models import mesh
from posexp.training import train_step

ROUNDS = 7


def main():
  mesh.use_all_cores()
  file = pathlib.Path(__file__).with_name('quickstart.py')
  run = next(r for r in grid.load(str(file)).runs if str(r.scheme) == 'RoPE()')
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, _ = train_step.programs(run, on)
  params = start(train_step.members([run], on)).params
  evaluator = evaluate.Evaluator(run, on)
  sets = [data.Set(run.task, length) for length in run.lengths]
  rounds = []
  with tempfile.TemporaryDirectory() as name:
    store.build(sets, pathlib.Path(name))
    for _ in range(ROUNDS + 1):
      rounds.append([_time(each, name, evaluator, params) for each in sets])
  print(f'{run.name}: {data.NUMBER} examples, {len(run.seeds)} seeds')
  print(f'{"length":>6}{"read, s":>10}{"predict, s":>12}  read / predict')
  for n, examples in enumerate(sets):
    print(_line(str(examples.length), [row[n] for row in rounds[1:]]))
  sums = [[sum(times) for times in zip(*row)] for row in rounds[1:]]
  print(_line('all', sums))


def _time(examples, name, evaluator, params):
  """Seconds to read a set, and to predict it."""
  begun = time.perf_counter()
  batch = store.read(examples, pathlib.Path(name))
  read = time.perf_counter()
  evaluator.predictions(params, batch.tokens_BxL)
  return read - begun, time.perf_counter() - read


def _line(title, times):
  ratios = [reading / predicting for reading, predicting in times]
  reading, predicting = (statistics.median(t) for t in zip(*times))
  return (
    f'{title:>6}{reading:>10.3f}{predicting:>12.3f}  {bench.spread(ratios)}'
  )


if __name__ == '__main__':
  main()
