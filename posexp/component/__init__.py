"""Frozen dataclasses that are their own configuration, and what they refuse."""

from posexp.component.base import Component as Component
from posexp.component.base import at_least as at_least
from posexp.component.base import field as field
from posexp.component.base import require as require
from posexp.component.base import written as written
from posexp.component.cache import cached as cached
from posexp.component.cache import code as code
from posexp.component.errors import UserError as UserError
from posexp.component.errors import extra as extra
from posexp.component.errors import matches as matches
from posexp.component.errors import nearest as nearest
from posexp.component.errors import one_of as one_of
from posexp.component.kinds import as_kind as as_kind
