"""What a tracker of experiments is."""

import abc
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


class Tracker(abc.ABC):
  """Where finished runs are sent; what is sent again replaces itself.

  Args:
    output: a directory for what it writes.
  """

  def __init__(self, output: pathlib.Path):
    self._output = output

  @abc.abstractmethod
  def has(self, digest: str, name: str, seeds: Sequence[int]) -> bool:
    """Return whether a run was sent whole, by whichever command."""

  @abc.abstractmethod
  def send(self, record: Mapping[str, Any]) -> None:
    """Send a record that has its details.

    Raises:
      UserError: one sentence, if the tracker refuses it.
      OSError: if something cannot be written.
    """
