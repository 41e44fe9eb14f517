"""Synthetic tasks in which finding and ordering can be told apart."""

from posexp.tasks.addition import Addition as Addition
from posexp.tasks.base import Batch as Batch
from posexp.tasks.base import Task as Task
from posexp.tasks.copying import Copy as Copy
from posexp.tasks.copying import Reverse as Reverse
from posexp.tasks.dyck import Dyck as Dyck
from posexp.tasks.events import Ordering as Ordering
from posexp.tasks.events import Presence as Presence
from posexp.tasks.mixture import Mixture as Mixture
from posexp.tasks.start import Start as Start

# What `posexp tasks` lists: one line a task.
CATALOGUE: tuple[Task, ...] = (
  Copy(),
  Reverse(),
  Ordering(),
  Presence(),
  Addition(),
  Dyck(),
)
