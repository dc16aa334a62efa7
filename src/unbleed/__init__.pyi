"""The public names and the modules that they come from. `__init__.py` reads this file to import them when they are used."""

from . import guidance as guidance
from . import losses as losses
from . import methods as methods
from .api import attach, detach, guide, method
from .errors import (
    BenchError,
    CaptureError,
    MethodError,
    ModelError,
    OutputError,
    PrecisionError,
    PromptError,
    TrainingError,
    UnbleedError,
    UnbleedWarning,
)
from .estimation import estimate
from .guidance import Descent, Edit, Method, NoiseSearch, Refinement, Run, Schedule
from .heat_maps import draw_regions
from .inspection import Inspection, inspect
from .loading import load
from .losses import AttentionMaps, Loss, TokenGroups
from .methods import METHODS, PaperMethod, register
from .prompt import Entity, parse
from .regions import Region
from .settings import setting

__version__: str

__all__ = [
    "METHODS",
    "AttentionMaps",
    "BenchError",
    "CaptureError",
    "Descent",
    "Edit",
    "Entity",
    "Inspection",
    "Loss",
    "Method",
    "MethodError",
    "ModelError",
    "NoiseSearch",
    "OutputError",
    "PaperMethod",
    "PrecisionError",
    "PromptError",
    "Refinement",
    "Region",
    "Run",
    "Schedule",
    "TokenGroups",
    "TrainingError",
    "UnbleedError",
    "UnbleedWarning",
    "__version__",
    "attach",
    "detach",
    "draw_regions",
    "estimate",
    "guide",
    "inspect",
    "load",
    "method",
    "parse",
    "register",
    "setting",
]
