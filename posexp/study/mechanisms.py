"""Why the options of a study behave as they do, from their formulas."""

from posexp.study import plan

# A heading, paragraphs, and a table (its head and its rows) if there is one.
Section = tuple[
  str, list[str], tuple[tuple[str, ...], list[tuple[str, ...]]] | None
]


def mechanisms(study: plan.Study) -> list[Section]:
  """Sections on what rotations encode, what scaling does, what a bias does.

  None yet: the memo leaves the section out.
  """
  return []
