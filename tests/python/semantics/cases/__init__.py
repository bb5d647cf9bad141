"""All cases; importing this registers them, in the order of the documentation."""

from . import memory, state, arguments, values  # noqa: F401
