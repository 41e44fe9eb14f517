"""The rules by which records become a verdict.

Every number is a mean over admitted seeds, unless it says 'over all seeds':
those for which the root, the trained model without any change, passed the gate
in every task at the trained length. Beside the gains and the loss of accuracy
stands the same number over all seeds, a seed that did not learn the tasks
counting as it is, judged in a family of the same size. Where one of the two is
claimed and the other is not, or those of what is named differ in sign, the memo
says so first. Comparisons are paired: they use the same seed, the same regime
and, at each length, the same examples. Shares of several tasks are averaged
with equal weights.

What is claimed, and how often that is false. A difference is tested by
Student's t over seeds, with a spread of at least what a single target is worth,
and a p-value of at least 2 / 4ⁿ with n seeds, as so few can all fall on one
side. A family of m comparisons is corrected by Holm's method, so that the
chance of any false claim in it is at most its level; its intervals hold all
together (Bonferroni). A family spans all cases of a study: every regime,
variant and schedule. Its size follows from the plan, whether or not all runs
have finished.

* Errors of a regression: 4 comparisons a case, in a family at 5 %; by task, 3
  comparisons a task and case, in another one at 5 %.
* Causes: 4 comparisons a case, in a family at 2.5 %.
* Gains: one comparison an option and case, in a family at 2.5 %. That an option
  leads is tested at the level of a single one of that family: which option
  leads is chosen by the same seeds, and this bounds the chance of a false
  choice all the same (see `posexp.studies.compare.lead`).
* Criteria: 4 comparisons an option and case, in a family at 2.5 %.

So the chance that a study of a regression names a cause or a fix that is not
there is at most 5 %, and so is the chance that a choice recommends a candidate
although one as good keeps all criteria. Not corrected are the timings, each
judged by its own 95 % interval, which is over rounds and not over seeds. Of
order errors, the changes that stand beside a gain or an effect have intervals
as wide as if they were in its family, and are not claimed.

* A regression is claimed if the token accuracy of the deployed model at the
  target is claimed to lie below that of the root at the trained length.
* Its kind follows from the rise of order errors, the rise of retrieval errors
  and the difference between the two. It is order if order errors are claimed to
  rise, and to rise more than retrieval errors; retrieval likewise. If one rises
  or both do and their difference is not claimed, just that is said.
* Its cause follows from the four models of the 2 x 2 at the target. The effect
  of the bias is the deployed model minus base scaling alone; the effect of base
  scaling is the deployed model minus the bias alone; the interaction is the
  rest. A change does harm if its effect on token accuracy is claimed to be
  below 0, or to be below that of the other, which does harm. It is named as the
  cause if it does harm and its effect is claimed to be below that of the other.
  That one effect is claimed and the other is not names no cause.
* The best first fix is the option with the largest mean gain in token accuracy
  over the deployed model at the target, of all options: what a fix costs is
  said beside it and excludes none. It is claimed if its gain is claimed and its
  difference to every other option is. If neither a gain nor a loss is claimed,
  no difference can be claimed; if losses are claimed and no gain is, there is
  no fix. Otherwise the options that cannot be distinguished from the leader are
  tied with it.
* Short range is kept if the token accuracy at the trained length is at most
  0.02 below the root's, both on all answers and on those whose distance is at
  most an eighth of that length (each answer with the same weight, as some tasks
  have few or none): both differences are claimed to lie above -0.02. It is lost
  if one is claimed to lie below, and otherwise undecided.
* An option is stable to the target if attention collapses in few seeds (by the
  rules of collapse below, at any length at which it was looked at, the target
  among them) and more than half of its token accuracy at the trained length is
  left at the target, as a claim. It is not stable if less than half is claimed
  to be left, or if it is shown, as one comparison of the family, that attention
  collapses in more than a tenth of seeds. Few is, each by an exact one-sided
  test at 5 %: shown to be less than half of the seeds, and not shown to be more
  than a tenth. Otherwise it is undecided. So a single seed that collapses fails
  no option, and more seeds are no more failures. In a choice among nine
  candidates, none passes with 4 seeds and an option fails if all 4 collapse;
  with 5 seeds it passes if none collapses and fails from 4 on; with 6, if none
  and from 5 on; with 8, up to 1 and from 5 on.
* Latency is unchanged if decoding and prefill, at the longest measured length,
  are each the root's program or take at most 1.05 times as long: the whole
  interval of the ratio lies below that. A program is the root's if it was
  compiled to the same instructions on arrays of the same shapes, and only
  floating constants differ, such as the frequencies of a rotation; timings then
  differ only by noise. Latency has changed if a whole interval lies above, and
  is otherwise undecided.
* Look-ups fail if the number of learned values that are looked up for a token
  grows from the trained length to the target.
* An option fails if it fails a criterion, passes if it passes all four, and is
  undecided otherwise, which is no failure.
* A choice is made among the admissible candidates, those that do not fail,
  adapted if they were adapted and zero-shot otherwise. The admissible candidate
  with the largest mean token accuracy at the target is recommended if its gain
  over the unchanged root is claimed, and so is its difference to every other
  admissible candidate. What it is not shown to pass is said with it. The root
  that is adapted without any other change is a candidate, too, so that the
  effect of adaptation is not credited to a scheme.
* A tie is broken among the tied options whose gain is claimed, if there are
  any. Each step keeps the best of what the one before left: short range, then
  stability, then latency, then look-ups (what passes before what is undecided,
  what is undecided before what was not measured, and that before what fails),
  then the fewest parts, then, in a choice, the largest mean. This is a
  preference and not a finding, and the memo names the steps that decided.
* If every candidate fails, none is recommended, and the best to pursue is
  named. It is chosen among those whose gain over the adapted root (over the
  unchanged root, if that was not run) is claimed at the level of a gain: the
  one that fails the fewest criteria, then passes the most (some may be
  undecided or not measured), then loses least at short range (the mean loss on
  all answers or on near ones, whichever is judged worse), then has the largest
  mean.
"""

import dataclasses
from collections.abc import Callable, Mapping

import pandas as pd

from posexp.claims import contrasts
from posexp.studies import compare, criteria, families, plan

REGRESSION, NO_REGRESSION = 'regression', 'no regression can be claimed'
ORDER, RETRIEVAL, NEITHER = 'order', 'retrieval', 'none'
# Errors rise, and which rise more cannot be claimed.
BOTH_KINDS, SOME_ORDER, SOME_RETRIEVAL = 'both', 'some order', 'some retrieval'
BIAS, BASE, BOTH = 'the bias', 'the base scaling', 'both'
# It does harm, and whether more than the other cannot be claimed.
SOME_BIAS, SOME_BASE = 'some by the bias', 'some by the base scaling'
UNCLEAR = 'neither can be claimed'
NO_CANDIDATE = 'every candidate fails'
MEAN = 'mean over tasks'
FEWEST_PARTS, LARGEST_MEAN = 'the fewest parts', 'the largest mean'


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
  """Whether there is one.

  Attributes:
    branch: REGRESSION, NO_REGRESSION, or why that is open.
    change: of accuracy, from the root to the deployed model.
    every: the same over all seeds.
    errors: the mean over tasks, then each task.
  """

  branch: str
  change: contrasts.Difference | None = None
  every: contrasts.Difference | None = None
  errors: tuple[Errors, ...] = ()


@dataclasses.dataclass(frozen=True)
class Attribution:
  """The effects of both changes on token accuracy and on order errors.

  Attributes:
    branch: BIAS, BASE, BOTH, SOME_BIAS, SOME_BASE, UNCLEAR, or why it is open.
    bias: the effect of adding it to base scaling.
    base: the effect of scaling the base under the bias.
    difference: the effect of the bias less that of base scaling.
    interaction: None without the root.
    order_bias: as `bias`, of order errors.
    order_base: as `base`, of order errors.
  """

  branch: str
  bias: contrasts.Difference | None = None
  base: contrasts.Difference | None = None
  difference: contrasts.Difference | None = None
  interaction: contrasts.Difference | None = None
  order_bias: contrasts.Difference | None = None
  order_base: contrasts.Difference | None = None

  @property
  def other_too(self) -> bool:
    """Return whether the change that is not the cause does harm as well."""
    effects = {BIAS: self.base, BASE: self.bias}
    other = effects.get(self.branch)
    return other is not None and other.below


# Pairs of what is compared, by task (MEAN for the mean) and name.
Changes = dict[tuple[str, str], contrasts.Paired]


def changes(
  root: pd.DataFrame | None,
  deployed: pd.DataFrame | None,
  study: plan.Study,
  tasks: tuple[str, ...] = (MEAN,),
  every: bool = False,
) -> Changes:
  """Return the change of accuracy, of both errors and of their difference."""
  if root is None or deployed is None:
    return {}
  pairs: Changes = {}
  for task in tasks:
    after, before = (
      {
        column: compare.share(
          rows, column, length, None if task == MEAN else task, every
        )
        for column in ('token', 'order', 'retrieval')
      }
      for rows, length in (
        (deployed, study.target),
        (root, study.trained_length),
      )
    )
    for share in (after, before):
      share['excess'] = share['order'].less(share['retrieval'])
    for name in after:
      # The accuracy of a task is what its errors leave.
      if name != 'token' or task == MEAN:
        pairs[task, name] = after[name].over(before[name])
  return pairs


def regression(
  judged: Mapping[tuple[str, str], contrasts.Difference],
  every: Mapping[tuple[str, str], contrasts.Difference],
) -> Regression:
  """Return whether accuracy was lost, and to which errors.

  Args:
    judged: what `changes` gives, of the mean and of each task, judged; empty if
      a run is missing.
    every: that of accuracy over all seeds.
  """
  if not judged:
    return Regression(compare.MISSING)
  change = judged[MEAN, 'token']
  if change.n < 2:
    return Regression(compare.NOT_ADMITTED, change, every[MEAN, 'token'])
  errors = []
  for task in dict.fromkeys(task for task, _ in judged):
    names = ('order', 'retrieval', 'excess')
    rises = [judged[task, name] for name in names]
    errors.append(Errors(task, kind(*rises), *rises))
  branch = REGRESSION if change.below else NO_REGRESSION
  return Regression(branch, change, every[MEAN, 'token'], tuple(errors))


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
  branches = {
    (True, True): BOTH_KINDS,
    (True, False): SOME_ORDER,
    (False, True): SOME_RETRIEVAL,
    (False, False): NEITHER,
  }
  return branches[order.above, retrieval.above]


def effects(
  rows: Mapping[str, pd.DataFrame], column: str, length: int
) -> dict[str, contrasts.Paired]:
  """Return the effects in the 2 x 2 of root, base scaling, bias and deployed.

  All are at one length: bias, base, their difference and the interaction.
  Without the root the last is left out; without another, all are.
  """
  if not {plan.SCALED, plan.BIASED, plan.DEPLOYED} <= set(rows):
    return {}
  share = {name: compare.share(rows[name], column, length) for name in rows}
  deployed = share[plan.DEPLOYED]
  pairs = {
    'bias': deployed.over(share[plan.SCALED]),
    'base': deployed.over(share[plan.BIASED]),
    # (deployed - scaled) - (deployed - biased).
    'difference': share[plan.BIASED].over(share[plan.SCALED]),
  }
  if plan.ROOT in share:
    scaling = share[plan.SCALED].less(share[plan.ROOT])
    pairs['interaction'] = deployed.less(share[plan.BIASED]).over(scaling)
  return pairs


def attribution(
  judged: Mapping[str, contrasts.Difference],
  order: Mapping[str, contrasts.Difference],
) -> Attribution:
  """Return which change did the harm.

  Args:
    judged: the `effects` on token accuracy.
    order: those on order errors.
  """
  if not judged:
    return Attribution(compare.MISSING)
  bias, base, difference = (judged[n] for n in ('bias', 'base', 'difference'))
  if min(bias.n, base.n) < 2:
    return Attribution(compare.NOT_ADMITTED)
  return Attribution(
    culprit(bias, base, difference),
    bias,
    base,
    difference,
    judged.get('interaction'),
    order_bias=order['bias'],
    order_base=order['base'],
  )


def culprit(
  bias: contrasts.Difference,
  base: contrasts.Difference,
  difference: contrasts.Difference,
) -> str:
  """Return which change did the harm, by what can be claimed of the effects."""
  # What lies below something that lies below 0 does so too.
  bias_harms = bias.below or (base.below and difference.below)
  base_harms = base.below or (bias.below and difference.above)
  if bias_harms and difference.below:
    return BIAS
  if base_harms and difference.above:
    return BASE
  branches = {
    (True, True): BOTH,
    (True, False): SOME_BIAS,
    (False, True): SOME_BASE,
    (False, False): UNCLEAR,
  }
  return branches[bias_harms, base_harms]


@dataclasses.dataclass(frozen=True)
class Preference:
  """What a tie is broken to.

  Attributes:
    options: several if the steps leave several.
    steps: those that decided, in their order.
  """

  options: tuple[str, ...] = ()
  steps: tuple[str, ...] = ()


def prefer(
  lead: compare.Lead,
  judged: Mapping[str, criteria.Criteria],
  kind: str,
) -> Preference:
  """Return what a tie is broken to, step by step."""
  if lead.branch != compare.TIE:
    return Preference()
  left = [name for name in lead.tied if name in lead.improving]
  left = left or list(lead.tied)
  worth = [criteria.PASS, criteria.UNDECIDED]
  worth += [criteria.NOT_MEASURED, criteria.FAIL]

  def rank_in(number: int) -> Callable[[str], float]:
    return lambda name: worth.index(judged[name].branches[number])

  steps = {name: rank_in(n) for n, name in enumerate(criteria.NAMES.values())}
  steps[FEWEST_PARTS] = lambda name: parts(name, kind)
  if kind == 'choice':
    steps[LARGEST_MEAN] = lambda name: -lead.gains[name].mean
  deciding = []
  for step, rank in steps.items():
    best = min(map(rank, left))
    kept = [name for name in left if rank(name) == best]
    if len(kept) < len(left):
      deciding.append(step)
    left = kept
  return Preference(tuple(left), tuple(deciding))


def nearest(
  token: Mapping[str, compare.Share],
  judged: Mapping[str, criteria.Criteria],
  family: families.Family,
) -> tuple[str, ...]:
  """Return the candidate to go on with where every one fails, if one gains.

  Args:
    token: accuracy of each at the target, and of the root.
    judged: the criteria of each.
    family: of how many comparisons each gain is one.
  """
  base = plan.UNCHANGED if plan.UNCHANGED in judged else plan.ROOT
  able = [
    name
    for name in judged
    if name != base and family.judge_alone(token[name].over(token[base])).above
  ]

  def key(name: str) -> tuple[float, ...]:
    branches = judged[name].branches
    passed = branches.count(criteria.PASS)
    failed = branches.count(criteria.FAIL)
    kept = judged[name].short.numbers.get('mean', -1.0)
    return (failed, -passed, -kept, -token[name].by_seed.mean())

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
