"""Frozen evaluation sets with published digests, and corpora of text."""

from posexp.data.corpora import Catalogue as Catalogue
from posexp.data.corpora import Corpus as Corpus
from posexp.data.corpora import Document as Document
from posexp.data.corpora import Folder as Folder
from posexp.data.corpora import StandardLibrary as StandardLibrary
from posexp.data.examples import DRAW as DRAW
from posexp.data.examples import FOLD as FOLD
from posexp.data.examples import GATE_FOLD as GATE_FOLD
from posexp.data.examples import NUMBER as NUMBER
from posexp.data.examples import Set as Set
from posexp.data.examples import digest as digest
from posexp.data.examples import draw as draw
from posexp.data.text import Text as Text
from posexp.data.tokenizers import Bytes as Bytes
from posexp.data.tokenizers import SentencePiece as SentencePiece
from posexp.data.tokenizers import Tokenizer as Tokenizer
