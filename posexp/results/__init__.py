"""What a run leaves behind, and reading it; no JAX.

`load`, `strata` and `outcomes` are the tables of finished runs, `coverage` what
they were evaluated on that training never used, and `heads` what each head of
their attention does.
"""

from posexp.results.attention_records import load as heads
from posexp.results.records import coverage, load, outcomes, strata

__all__ = ['coverage', 'heads', 'load', 'outcomes', 'strata']
