"""The front doors: thin walkers from PyTorch's captured graphs to the capture builder."""

from .captured import CapturedInput, CapturedProgram
from .errors import FrontendError, StructureError
from .export_driver import CapturedModule, capture_module
from .export_frontend import walk_exported_program
from .input_spec import Input
from .protocol import RecordingCapture
from .tree import make_binder, make_flatten, make_unflatten, register_known_types

__all__ = [
  "CapturedInput", "CapturedModule", "CapturedProgram", "FrontendError", "Input",
  "RecordingCapture", "StructureError", "capture_module", "make_binder", "make_flatten",
  "make_unflatten", "register_known_types", "walk_exported_program",
]
