"""What models are evaluated on: frozen sets with published digests."""

from posexp.datasets.examples import DRAW as DRAW
from posexp.datasets.examples import FOLD as FOLD
from posexp.datasets.examples import NUMBER as NUMBER
from posexp.datasets.examples import Set as Set
from posexp.datasets.examples import digest as digest
from posexp.datasets.examples import draw as draw
