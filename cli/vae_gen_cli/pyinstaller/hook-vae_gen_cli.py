"""Commands, which are imported by their names, and the files that `vae-gen play` and `vae-gen kit` serve and copy."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules("vae_gen_cli")
excludes = ["**/node_modules"]  # only a checkout has them
datas = collect_data_files("vae_gen_cli.web", excludes=excludes)
datas += collect_data_files("vae_gen_cli.examples", include_py_files=True, excludes=excludes)
