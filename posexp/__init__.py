"""Controlled experiments on position in transformers."""

import importlib
from typing import TYPE_CHECKING, Any

from posexp.version import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
  from posexp.attention import attend as attend
  from posexp.config import Evaluate as Evaluate
  from posexp.config import Model as Model
  from posexp.config import Run as Run
  from posexp.config import Train as Train

# Imported when first asked for, so that records are read without JAX.
_WHERE = {
  'attend': 'posexp.attention',
  'Evaluate': 'posexp.config',
  'Model': 'posexp.config',
  'Run': 'posexp.config',
  'Train': 'posexp.config',
}


def __getattr__(name: str) -> Any:
  if name not in _WHERE:
    raise AttributeError(f'module posexp has no attribute {name!r}')
  return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *_WHERE])
