"""VariableTracking: follow a chain of assignments to its value."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from posexp import component
from posexp.tasks import base, draw, layout, recall

SET = 1


@dataclasses.dataclass(frozen=True)
class VariableTracking(recall.Store):
  """What is the value of this variable, which was set from another?

    body of N = length - 1 - 3 * queries tokens, SEP, (SET x value) * queries

  The body holds `chains` chains of 1 + `hops` statements of three tokens each:
  the root `SET x value`, then `SET y x`, `SET z y` and so on, in filler. A
  question asks for the variable at the end of a chain, and the answer is the
  value at its root; with `mixed`, for any variable of its chain, equally
  likely. Chains that are not asked about are distractors of the same form. Ids
  are 0 SEP, 1 SET, then `variables` variables, then `values` values, then
  `filler` filler tokens.

  Foils (C = 2): the values of the roots before and after the right one among
  the roots of the body: a chain followed to its end, and read one place off.
  Strata: `hops`, how many the question takes; `late`, how many of these lead
  to a statement that stands after the one that needs it.

  Args:
    variables: the number of variable tokens.
    chains: how many chains the body holds, whatever the length.
    hops: statements of a chain after its root.
    mixed: whether any variable of a chain is asked for, or only the last.

  >>> task = VariableTracking(
  ...   variables=4, values=4, filler=3, chains=2, hops=1, queries=1
  ... )
  >>> print(task.example(length=18))
  12 1 4 3 1 3 8 1 2 7 1 5 2 12 0 1 4 8
  17: 8, foils [7], distance 11, hops 1, late 1, query 0
  """

  capability: ClassVar[str] = 'C'
  width: ClassVar[int] = 3
  special: ClassVar[int] = 2
  less: ClassVar[str] = 'fewer chains, hops or queries'

  queries: int = 2
  variables: int = component.field(
    32,
    at_least='statements',
    remedy='a variable is set once; raise variables or have fewer chains or '
    'hops',
  )
  chains: int = component.field(
    4, at_least='queries', remedy='no chain is asked about twice'
  )
  hops: int = component.field(
    2,
    at_least=1,
    remedy='without a hop nothing is tracked: use Recall',
  )
  mixed: bool = False

  @property
  def names(self) -> int:
    return self.variables

  @property
  def room(self) -> int:
    return self.width * self.statements

  @property
  def statements(self) -> int:
    """The number of statements in a body."""
    return self.chains * (1 + self.hops)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body, count = self.body(length), self.statements
    place_M, filler_N, order_F, name_V, value_C, hops_Q = draw.words(
      key,
      body - count * (self.width - 1),
      body,
      count,
      self.variables,
      self.chains,
      self.queries,
    )
    start_F = layout.scattered(place_M, count, self.width)
    # Chains by statements, the root first.
    start_CxF = start_F[draw.shuffled(order_F)].reshape(self.chains, -1)
    name_CxF = self.special + draw.shuffled(name_V)[:count].reshape(
      self.chains, -1
    )
    value_C = draw.integers(value_C, self.first_value, self.first_filler)
    from_CxF = jnp.column_stack((value_C, name_CxF[:, :-1]))
    statement = jnp.full_like(name_CxF, SET), name_CxF, from_CxF
    body_N = layout.written(self.hay(filler_N), start_CxF, statement)
    least = 0 if self.mixed else self.hops
    hops_Q = draw.integers(hops_Q, least, self.hops + 1)
    return self._ask(length, body_N, start_CxF, name_CxF, value_C, hops_Q)

  def _ask(
    self,
    length: int,
    body_N: jax.Array,
    start_CxF: jax.Array,
    name_CxF: jax.Array,
    value_C: jax.Array,
    hops_Q: jax.Array,
  ) -> base.Batch:
    """Return the questions: the first chains, which are shuffled already."""
    root_C = start_CxF[:, 0]
    order_C = jnp.argsort(root_C)  # the chains, by where their roots stand
    foils_2xC = [
      jnp.zeros_like(value_C).at[order_C].set(foil_C)
      for foil_C in layout.neighbours(value_C[order_C])
    ]
    late_CxH = start_CxF[:, :-1] > start_CxF[:, 1:]
    late_CxF = jnp.cumsum(late_CxH, axis=1, dtype=jnp.int32)
    late_CxF = jnp.pad(late_CxF, ((0, 0), (1, 0)))
    asked = slice(self.queries)

    def of_asked(value_CxF: jax.Array) -> jax.Array:
      at_Qx1 = hops_Q[:, None]
      return jnp.take_along_axis(value_CxF[asked], at_Qx1, axis=1)[:, 0]

    name_Q = of_asked(name_CxF)
    return self.ask(
      body_N,
      (jnp.full_like(name_Q, SET), name_Q, value_C[asked]),
      [foil_C[asked] for foil_C in foils_2xC],
      {
        'hops': hops_Q,
        'late': of_asked(late_CxF),
        'distance': self.distance(length, root_C[asked] + self.width - 1),
      },
    )
