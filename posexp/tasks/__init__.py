"""Synthetic tasks in which finding and ordering can be told apart."""

from posexp.tasks.addition import Addition as Addition
from posexp.tasks.attachment import Attachment as Attachment
from posexp.tasks.base import Batch as Batch
from posexp.tasks.base import Task as Task
from posexp.tasks.base import with_evidence as with_evidence
from posexp.tasks.copying import Copy as Copy
from posexp.tasks.copying import Reverse as Reverse
from posexp.tasks.copying import SelectiveCopy as SelectiveCopy
from posexp.tasks.copying import Sort as Sort
from posexp.tasks.counting import Count as Count
from posexp.tasks.counting import Majority as Majority
from posexp.tasks.counting import Parity as Parity
from posexp.tasks.dyck import Dyck as Dyck
from posexp.tasks.events import Ordering as Ordering
from posexp.tasks.events import Presence as Presence
from posexp.tasks.flipflop import FlipFlop as FlipFlop
from posexp.tasks.lookup import IndexLookup as IndexLookup
from posexp.tasks.lookup import LookupLeft as LookupLeft
from posexp.tasks.lookup import LookupRight as LookupRight
from posexp.tasks.mixture import Mixture as Mixture
from posexp.tasks.recall import FirstWins as FirstWins
from posexp.tasks.recall import LastWins as LastWins
from posexp.tasks.recall import Needle as Needle
from posexp.tasks.recall import Recall as Recall
from posexp.tasks.start import Start as Start
from posexp.tasks.stopping import RepeatToken as RepeatToken
from posexp.tasks.tracking import VariableTracking as VariableTracking

# What `posexp tasks` lists: one line a task.
CATALOGUE: tuple[Task, ...] = (
  Copy(),
  Reverse(),
  SelectiveCopy(),
  Ordering(),
  Presence(),
  Recall(),
  FirstWins(),
  LastWins(),
  Needle(),
  VariableTracking(),
  FlipFlop(),
  Attachment(),
  LookupLeft(),
  LookupRight(),
  IndexLookup(),
  Sort(),
  RepeatToken(),
  Count(),
  Majority(),
  Parity(),
  Addition(),
  Dyck(),
)
