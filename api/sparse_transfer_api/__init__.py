"""The contract between user, operator and runner: resource, stage results, keys, definitions.

Everything here is pure: values in, values out. It imports pydantic and the standard library only,
so that the operator, the runner's two flavours and the command line can all share it.
"""

__version__ = "0.1.0"
