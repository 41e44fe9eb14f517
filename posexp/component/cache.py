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
      code = _code((*arguments, *named.values()))
      return kept(code, *arguments, **named)

    call.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return call

  return decorate


def _code(value: Any) -> tuple[str, ...]:
  """Return digests of the code of all users' classes in a value."""
  if isinstance(value, tuple):
    return tuple(digest for item in value for digest in _code(item))
  if not isinstance(value, Component):
    return ()
  fields = dataclasses.fields(value)  # type: ignore[arg-type]
  inner = _code(tuple(getattr(value, field.name) for field in fields))
  ours = user_code.is_ours(type(value))
  return inner if ours else (user_code.digest(type(value)), *inner)
