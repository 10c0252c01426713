"""The speed, the memory and the size of the program, compared with alternatives in the same run: `python -m bench`."""
