"""Controlled experiments on position in transformers."""

from posexp.attention import attend as attend
from posexp.config import Evaluate as Evaluate
from posexp.config import Model as Model
from posexp.config import Run as Run
from posexp.config import Train as Train
from posexp.version import VERSION as __version__  # noqa: F401
