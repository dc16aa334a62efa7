"""Every method, one file each. A line below is all that a new one needs to be known by its name."""

from __future__ import annotations

from .base import PaperMethod as PaperMethod
from .names import MethodLike as MethodLike
from .names import method_from as method_from
from .names import names_in as names_in
from .registry import METHODS as METHODS
from .registry import register as register

# isort: off
# in the order in which they are listed
from .none import NoGuidance as NoGuidance
from .regions import Regions as Regions
from .attend_and_excite import AttendAndExcite as AttendAndExcite
from .syngen import SynGen as SynGen
from .syngen_entropy import SynGenEntropy as SynGenEntropy
from .a_star import AStar as AStar
from .structure_diffusion import StructureDiffusion as StructureDiffusion
from .ela import ELA as ELA
from .overlap import OverlapIoU as OverlapIoU
from .overlap import OverlapCoM as OverlapCoM
from .overlap import OverlapKL as OverlapKL
from .overlap import OverlapCC as OverlapCC
from .suppress import Suppress as Suppress
from .divide_and_bind import DivideAndBind as DivideAndBind
from .conform import Conform as Conform
from .ebama import EBAMA as EBAMA
from .predicated import Predicated as Predicated
from .initno import InitNO as InitNO
from .self_cross import SelfCross as SelfCross
from .focus import Focus as Focus
from .best_of_n import BestOfN as BestOfN
from .dos import Dos as Dos
from .amplify import Amplify as Amplify
from .attention_regulation import AttentionRegulation as AttentionRegulation
from .composable import Composable as Composable
from .nag import Nag as Nag
# isort: on

METHODS.add_all(globals())

DEFAULT_METHOD = "regions"
"""The method where none is named: of those measured on the embedded model, the one with the most correct images of pairs."""
