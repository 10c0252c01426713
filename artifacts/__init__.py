"""The model folders that ship in the wheel, as package data (see docs/model-folder.md)."""
