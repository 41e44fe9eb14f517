"""Controlled experiments on position in transformers.

The public API: `Run` with its parts `Model`, `Train` and `Evaluate` describes
an experiment, `tuned` chooses a run's learning rate, and `Contrast` is what it
asks; `attend` applies a positional scheme to arrays, `load` reads finished runs
as a table, and `UserError` is what bad input raises. The namespaces, from
bottom to top, are packages with one purpose each.
"""

import importlib
from typing import TYPE_CHECKING, Any

from posexp.version import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
  from posexp.attention.attend import attend as attend
  from posexp.component import UserError as UserError
  from posexp.results.records import load as load
  from posexp.runs.config import Evaluate as Evaluate
  from posexp.runs.config import Model as Model
  from posexp.runs.config import Run as Run
  from posexp.runs.config import Train as Train
  from posexp.runs.contrast import Contrast as Contrast
  from posexp.runs.tuning import tuned as tuned

# Imported when first asked for, so that results are read without JAX.
_WHERE = {
  'attend': 'posexp.attention.attend',
  'Contrast': 'posexp.runs.contrast',
  'Evaluate': 'posexp.runs.config',
  'load': 'posexp.results.records',
  'Model': 'posexp.runs.config',
  'Run': 'posexp.runs.config',
  'Train': 'posexp.runs.config',
  'tuned': 'posexp.runs.tuning',
  'UserError': 'posexp.component',
}
_NAMESPACES = (
  'results',
  'schemes',
  'tasks',
  'data',
  'attention',
  'runs',
  'models',
  'training',
  'evaluation',
  'claims',
  'studies',
  'plots',
  'reports',
  'inspect',
  'cost',
  'launch',
)


def __getattr__(name: str) -> Any:
  if name in _WHERE:
    return getattr(importlib.import_module(_WHERE[name]), name)
  if name in _NAMESPACES:
    return importlib.import_module(f'posexp.{name}')
  raise AttributeError(f'module posexp has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted({*globals(), *_WHERE, *_NAMESPACES})
