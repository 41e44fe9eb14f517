"""What a tracker of experiments is."""

import abc
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


class Tracker(abc.ABC):
  """Where finished runs are sent; what is sent again replaces itself.

  Args:
    workdir: as given to `posexp run`.
    output: a directory for what it writes.
  """

  def __init__(self, workdir: pathlib.Path, output: pathlib.Path):
    self._workdir, self._output = workdir, output

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
