"""The rules by which records become a verdict.

Every number is a mean over admitted seeds: those for which the root, the
trained model without any change, passed the gate in every task at the trained
length. Comparisons are paired: they use the same seed, the same regime and, at
each length, the same examples.
Intervals are Student's t over seeds. Where several comparisons form a family,
each has confidence 1 - 0.05/m for m comparisons, so that all hold at once in
95 % of experiments. With fewer than 2 admitted seeds nothing is claimed.
Shares of several tasks are averaged with equal weights.

* A regression is claimed if the token accuracy of the deployed model at the
  target lies below that of the root at the trained length: the interval of
  the difference excludes 0.
* Its kind follows from the rise of order errors, the rise of retrieval errors
  and the difference between the two (with the loss of accuracy, a family of 4;
  by task, one family of 3 comparisons per task). The kind is order if order
  errors rise, and rise more than retrieval errors; retrieval likewise; none if
  no rise can be claimed; otherwise the two cannot be distinguished.
* Its cause follows from the four models of the 2 x 2 at the target. The effect
  of the bias is the deployed model minus base scaling alone; the effect of base
  scaling is the deployed model minus the bias alone; the interaction is the
  rest (a family of 3). A change is named as a cause if its effect on token
  accuracy is claimed to be below 0.
* The best first fix is the option with the largest mean gain in token accuracy
  over the deployed model at the target. It is claimed if the interval of its
  gain lies above 0 and its paired difference to every other option lies above
  0. If neither a gain nor a loss is claimed, no difference can be claimed; if
  losses are claimed and no gain is, there is no fix. Otherwise the options that
  cannot be distinguished from the leader are tied with it.
* A tie is broken, among the options whose gain is claimed if there are any, by
  short range, then stability, then latency, then the fewest parts. This is a
  preference and not a finding.
* Short range is kept if the token accuracy at the trained length is at most
  0.02 below the root's, both on all answers and on those whose distance is at
  most an eighth of that length (each answer with the same weight, as some tasks
  have few or none): the whole 95 % interval of each difference lies above
  -0.02. It is lost if a whole interval lies below, and otherwise undecided.
* An option is stable to the target if attention collapsed in no admitted seed
  at any length at which it was looked at, the target among them (by the rules
  of collapse below), and more than
  half of its token accuracy at the trained length is left at the target: the
  interval of the difference to that half lies above 0. It is not stable if
  attention collapsed or the interval lies below 0, and otherwise undecided.
* Latency is unchanged if decoding and prefill, at the longest measured length,
  are each the root's program or take at most 1.05 times as long: the whole
  interval of the ratio lies below that. A program is the root's if it was
  compiled to the same instructions on arrays of the same shapes, and only
  floating constants differ, such as the frequencies of a rotation; timings then
  differ only by noise. Latency has changed if a whole interval lies above, and
  is otherwise undecided.
* Look-ups fail if the number of learned values that are looked up for a token
  grows from the trained length to the target.
* A choice is made among the candidates that pass all four criteria, adapted if
  they were adapted and zero-shot otherwise. The candidate with the largest mean
  token accuracy at the target is recommended if its gain over the unchanged
  root, and its difference to every other passing candidate, lie above 0. A tie
  is broken by the fewest parts, then by the mean, and called a preference. The
  root that is adapted without any other change is a candidate, too, so that the
  effect of adaptation is not credited to a scheme.
* If no candidate passes all four criteria, the best to pursue is named. It is
  chosen among those whose gain over the adapted root (over the unchanged root,
  if that was not run) is claimed: the one that fails the fewest criteria, then
  passes the most (some may be undecided or not measured), then loses least at
  short range (the mean loss on all answers or on near ones, whichever is judged
  worse), then has the largest mean. It is recommended on condition if it fails
  no criterion, as then no failure is shown; otherwise none is recommended.
"""

import dataclasses

import pandas as pd

from posexp.claims import contrasts
from posexp.studies import compare, criteria, plan

REGRESSION, NO_REGRESSION = 'regression', 'no regression can be claimed'
ORDER, RETRIEVAL, NEITHER = 'order', 'retrieval', 'none'
BOTH_KINDS = 'both, not told apart'
BIAS, BASE, BOTH = 'the bias', 'the base scaling', 'both'
UNCLEAR = 'neither can be claimed'
NO_CANDIDATE = 'no candidate passes'
MEAN = 'mean over tasks'


@dataclasses.dataclass(frozen=True)
class Errors:
  """How errors rose from the root, trained length, to the deployed, target."""

  task: str
  branch: str
  order: contrasts.Difference
  retrieval: contrasts.Difference
  excess: contrasts.Difference


@dataclasses.dataclass(frozen=True)
class Regression:
  """Whether there is one; `errors` are the mean over tasks, then each task."""

  branch: str
  change: contrasts.Difference | None = None
  errors: tuple[Errors, ...] = ()


@dataclasses.dataclass(frozen=True)
class Attribution:
  """The effects of both changes on token accuracy and on order errors."""

  branch: str
  bias: contrasts.Difference | None = None
  base: contrasts.Difference | None = None
  interaction: contrasts.Difference | None = None
  order_bias: contrasts.Difference | None = None
  order_base: contrasts.Difference | None = None


def regression(
  root: pd.DataFrame | None, deployed: pd.DataFrame | None, study: plan.Study
) -> Regression:
  """Return whether accuracy was lost between the two, and to which errors."""
  if root is None or deployed is None:
    return Regression(compare.MISSING)
  ends = (deployed, study.target), (root, study.trained_length)
  after, before = (compare.by_seed(rows, 'token', n) for rows, n in ends)
  change = contrasts.difference(after, before, 4)
  if change.n < 2:
    return Regression(compare.NOT_ADMITTED, change)
  errors = []
  for task in (None, *study.tasks):
    m = 3 * len(study.tasks) if task else 4
    order, retrieval = (
      [compare.by_seed(rows, column, n, task) for rows, n in ends]
      for column in ('order', 'retrieval')
    )
    excess = [each - other for each, other in zip(order, retrieval)]
    rises = [
      contrasts.difference(after, before, m)
      for after, before in (order, retrieval, excess)
    ]
    errors.append(Errors(task or MEAN, kind(*rises), *rises))
  branch = REGRESSION if change.below else NO_REGRESSION
  return Regression(branch, change, tuple(errors))


def kind(
  order: contrasts.Difference,
  retrieval: contrasts.Difference,
  excess: contrasts.Difference,
) -> str:
  """Return the kind of a regression, by what can be claimed of its errors."""
  if order.above and excess.above:
    return ORDER
  if retrieval.above and excess.below:
    return RETRIEVAL
  return BOTH_KINDS if order.above or retrieval.above else NEITHER


def attribution(rows: dict[str, pd.DataFrame], length: int) -> Attribution:
  """Return effects in the 2 x 2 of root, base scaling, bias and deployed.

  All are at one length.

  Without the root the interaction is left out; without another, all is.
  """
  if not {plan.SCALED, plan.BIASED, plan.DEPLOYED} <= set(rows):
    return Attribution(compare.MISSING)
  token, order = (
    {name: compare.by_seed(rows[name], c, length) for name in rows}
    for c in ('token', 'order')
  )

  def effect(share: dict[str, pd.Series], without: str) -> contrasts.Difference:
    return contrasts.difference(share[plan.DEPLOYED], share[without], 3)

  bias, base = effect(token, plan.SCALED), effect(token, plan.BIASED)
  if min(bias.n, base.n) < 2:
    return Attribution(compare.NOT_ADMITTED)
  interaction = None
  if plan.ROOT in token:
    left = token[plan.SCALED] + token[plan.BIASED] - token[plan.ROOT]
    interaction = contrasts.difference(token[plan.DEPLOYED], left.dropna(), 3)
  branches = {
    (True, False): BIAS,
    (False, True): BASE,
    (True, True): BOTH,
    (False, False): UNCLEAR,
  }
  return Attribution(
    branches[bias.below, base.below],
    bias,
    base,
    interaction,
    order_bias=effect(order, plan.SCALED),
    order_base=effect(order, plan.BIASED),
  )


def prefer(
  lead: compare.Lead, judged: dict[str, criteria.Criteria], kind: str
) -> tuple[str, ...]:
  """Return what a tie is broken to: by the criteria, then the fewest parts."""
  if lead.branch != compare.TIE:
    return ()
  able = [name for name in lead.tied if name in lead.improving] or lead.tied
  worth = [criteria.PASS, criteria.UNDECIDED]
  worth += [criteria.NOT_MEASURED, criteria.FAIL]

  def key(name: str) -> tuple[int, ...]:
    ranks = (worth.index(each.branch) for each in judged[name][:3])
    return (*ranks, parts(name, kind))

  best = min(map(key, able))
  return tuple(name for name in able if key(name) == best)


def nearest(
  token: dict[str, pd.Series], judged: dict[str, criteria.Criteria]
) -> tuple[str, ...]:
  """Return the candidate to go on with where none passes, if one gains."""
  base = plan.UNCHANGED if plan.UNCHANGED in judged else plan.ROOT
  others = [name for name in judged if name != base]
  able = [
    name
    for name in others
    if contrasts.difference(token[name], token[base], len(others)).above
  ]

  def key(name: str) -> tuple[float, ...]:
    branches = judged[name].branches
    passed = branches.count(criteria.PASS)
    failed = branches.count(criteria.FAIL)
    kept = judged[name].short.numbers.get('mean', -1.0)
    return (failed, -passed, -kept, -token[name].mean())

  return (min(able, key=key),) if able else ()


def parts(option: str, kind: str) -> int:
  """Return how many mechanisms an option has.

  In a regression a fix that keeps both changes has 2.

  >>> [parts(o, 'choice') for o in ('no change', 'YaRN', 'YaRN + ALiBi')]
  [0, 1, 2]
  >>> [parts(o, 'regression') for o in ('base scaling', 'YaRN')]
  [1, 2]
  """
  if kind == 'regression':
    return 1 if option in (plan.SCALED, plan.BIASED) else 2
  return 0 if option == plan.UNCHANGED else 1 + option.count(' + ')
