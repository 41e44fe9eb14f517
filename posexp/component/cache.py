"""What is kept between calls, by values and by the code behind them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from posexp.component import user_code
from posexp.component.base import Component


def cached(maxsize: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
  """Keep what a function returns, as `functools.lru_cache` does.

  A component of a user's class is another argument once a function that the
  class uses is another, as where a cell of a notebook was run again: it equals
  the one before, and what was compiled for that one is out of date.

  Args:
    maxsize: how many results are kept, the most recent ones.
  """

  def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.lru_cache(maxsize)
    def kept(_: Any, *arguments: Any, **named: Any) -> Any:
      return function(*arguments, **named)

    @functools.wraps(function, updated=())
    def call(*arguments: Any, **named: Any) -> Any:
      theirs = code((*arguments, *named.values()))
      return kept(theirs, *arguments, **named)

    call.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return call

  return decorate


def code(value: Any) -> tuple[str, ...]:
  """Return digests of the code of all users' classes in a value.

  A value is a component or another dataclass, or a tuple of them.
  """
  if isinstance(value, tuple):
    return tuple(digest for item in value for digest in code(item))
  if not dataclasses.is_dataclass(value) or isinstance(value, type):
    return ()
  fields = dataclasses.fields(value)
  inner = code(tuple(getattr(value, field.name) for field in fields))
  theirs = isinstance(value, Component) and not user_code.is_ours(type(value))
  return (user_code.digest(type(value)), *inner) if theirs else inner
