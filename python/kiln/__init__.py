"""Kiln: makes PyTorch models run fast for inference.

  prog = kiln.compile(model, inputs=[x])            ahead of time; an nn.Module
  fast = torch.compile(model, backend="kiln")       on the first call
  prog.save("model.kiln"); kiln.load("model.kiln")
  prog.save("model.pt2"); torch.export.load("model.pt2")
  print(prog.report); kiln.explain(model, inputs=[x])
"""

from . import _native
from .frontends.errors import FrontendError as Error
from .frontends.input_spec import Input
from .compiler import compile, explain, jit_reports
from .errors import NativeError
from .operators import register_operators
from .program import Program, load, save
from .pt2 import trusting
from .report import Report

_native.set_error_class(NativeError)
register_operators()

__version__ = "0.1.0"
__all__ = ["Error", "Input", "Program", "Report", "compile", "explain", "jit_reports", "load",
           "save", "trusting"]
