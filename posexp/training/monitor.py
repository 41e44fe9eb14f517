"""What a training loop tells of itself and asks: its one seam to a launcher."""

from collections.abc import Callable, Sequence

from posexp.runs import config


class Monitor:
  """A monitor that is silent and never stops a loop.

  A launcher overrides it with progress, signals and other hosts.
  """

  def note(self, text: str) -> None:
    """Tell a person one line."""

  def skip(self, run: config.Run, steps: int) -> None:
    """Count steps that an earlier process did."""

  def advance(self, runs: Sequence[config.Run], steps: int) -> None:
    """Count steps that were done just now, of each of the runs."""

  def stop(self) -> BaseException | None:
    """Return what to raise once all is saved, None to go on."""
    return None

  def agree(self, work: Callable[[], str], what: str) -> None:
    """Do what must come to the same words in every process of the runs."""
    del what
    work()
