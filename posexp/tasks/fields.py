"""Checks of fields, so that a mistake is a sentence at construction."""

from posexp import component


def at_least(name: str, value: int, minimum: int, remedy: str) -> None:
  """Raises a `UserError` unless `value` is an int of at least `minimum`."""
  if type(value) is not int:
    raise component.UserError(
      f'{name} must be an int, got {value!r} ({type(value).__name__}): write '
      'a whole number, so that the config can be saved and compared'
    )
  component.at_least(name, value, minimum, remedy)


def some_queries(queries: int) -> None:
  """Raises a `UserError` unless a sequence asks a question at least."""
  at_least('queries', queries, 1, 'ask one question or more per sequence')


def is_bool(name: str, value: bool) -> None:
  """Raises a `UserError` unless `value` is True or False."""
  if type(value) is not bool:
    raise component.UserError(
      f'{name} must be True or False, got {value!r}: write one of the two'
    )


def within(
  name: str, value: float, low: float, high: float, remedy: str
) -> None:
  """Raises a `UserError` unless `value` is a number in [low, high]."""
  if type(value) not in (int, float) or not low <= value <= high:
    raise component.UserError(
      f'{name} must be a number from {low} to {high}, got {value!r}: {remedy}'
    )
