"""`posexp figures`: figures and tables for a paper, from records alone.

Each function takes tables of `posexp.results.records` and gives a `Plate`: a
figure, its numbers, and what it shows in words.

  import posexp
  from posexp import plots

  for question in plots.questions(posexp.load('runs/quickstart')):
    plots.accuracy(question).save('figures')
"""

from posexp.plots.curves import accuracy, errors, success
from posexp.plots.export import write
from posexp.plots.heads import attention
from posexp.plots.heatmap import grid
from posexp.plots.paper import Plate, questions
from posexp.plots.psychometric import by_stratum, strata
from posexp.plots.retrofits import retrofits
from posexp.plots.wrapped import cost, explained

__all__ = [
  'Plate',
  'accuracy',
  'attention',
  'by_stratum',
  'cost',
  'errors',
  'explained',
  'grid',
  'questions',
  'retrofits',
  'strata',
  'success',
  'write',
]
