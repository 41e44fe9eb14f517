"""`posexp figures`: figures and tables for a paper, from records alone.

Each function takes tables of `posexp.records` and gives a `Plate`: a figure,
its numbers, and what it shows in words.

  from posexp import paper, records

  results = records.load('runs/quickstart')
  for question in paper.questions(results):
    paper.accuracy(question).save('figures')
"""

from posexp.paper.curves import accuracy, errors, success
from posexp.paper.folder import write
from posexp.paper.heads import attention
from posexp.paper.heat import grid
from posexp.paper.plate import Plate, questions
from posexp.paper.psychometric import by_stratum, strata
from posexp.paper.retrofits import retrofits
from posexp.paper.wrapped import cost, explained

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
