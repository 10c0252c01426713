"""How fast everything is, beside the alternatives, measured in the same run: `python -m bench`."""
