"""Every picture of posexp, drawn from records alone, in one style.

Each of the functions below takes tables of `posexp.results` and gives a
`Plate`: a figure, its numbers, and what it shows in words.

  import posexp
  from posexp import plots

  for question in plots.questions(posexp.load('runs/quickstart')):
    plots.accuracy(question).save('figures')

They are short functions on top of `plots.style` (how a run looks),
`plots.layout` (panels with a legend) and `plots.elements` (the length axis,
curves), of which figures of your own can be made too.
"""

from posexp.plots.explanation import explained
from posexp.plots.export import write
from posexp.plots.figures import (
  accuracy,
  attention,
  by_stratum,
  cost,
  errors,
  retrofits,
  success,
)
from posexp.plots.forest import contrasts
from posexp.plots.heatmap import grid
from posexp.plots.paper import Plate, questions
from posexp.results.by_stratum import errors as strata

__all__ = [
  'Plate',
  'accuracy',
  'attention',
  'by_stratum',
  'contrasts',
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
