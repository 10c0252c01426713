"""Modules of the library that are imported by their names, the shipped models, and the licence."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

hiddenimports = collect_submodules("vae_gen")
datas = collect_data_files("vae_gen.artifacts", excludes=["weights"]) + copy_metadata("vae-gen")
