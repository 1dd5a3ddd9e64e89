"""The command line: from arguments and YAML files to stages on this machine.

Start-up is kept light (``--help`` answers in 0.3 s): only typer is imported at the top; the API's
models, rich and the runner are imported inside the verb that needs them.
"""
