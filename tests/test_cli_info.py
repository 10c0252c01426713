"""`info` and `verify`: what a model says of itself, and the proof on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cli_runner import Command


def test_info_says_the_essentials(cli: Command, detailed_model_folder: Path) -> None:
    lines = cli.succeed("info").out.decode().splitlines()
    assert lines[0] == "model         tiny, version 1"
    assert "pictures      1 × 28 × 28 (channels, height, width)" in lines
    assert "classes       blob, other blob" in lines
    assert "priors        normal, fitted (5 Gaussians for 2 classes)" in lines
    assert "default       the normal prior" in lines
    detailed = cli.succeed("info", model=detailed_model_folder).out.decode().splitlines()
    assert "default       the fitted prior, with details" in detailed
    dimensions = [line.split()[0] for line in lines if line.startswith("  z")]
    assert dimensions == ["z0", "z5", "z10", "z3", "z8", "z1", "z6", "z11", "z4", "z9", "z2", "z7"]


def test_info_gives_the_whole_manifest_as_json(cli: Command) -> None:
    manifest = json.loads((cli.model / "manifest.json").read_text())
    assert json.loads(cli.succeed("info", "--json").out) == manifest


def test_a_good_folder_verifies(cli: Command) -> None:
    outcome = cli.succeed("verify")
    lines = outcome.out.decode().splitlines()
    assert len(lines) == 23
    assert all(line.startswith("✓ ") for line in lines)
    assert outcome.err == "23 checks passed\n"


def test_verify_speaks_ascii_where_it_must(cli: Command) -> None:
    outcome = cli("verify", encoding="ascii")
    assert outcome.code == 0
    assert outcome.out.startswith(b"ok sha256 of encoder.onnx ")


def test_verify_names_what_failed_and_ends_with_4(cli: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(cli.model, tmp_path / "model"))
    content = bytearray((folder / "decoder.onnx").read_bytes())
    content[1000] ^= 1
    (folder / "decoder.onnx").write_bytes(content)
    outcome = cli("verify", model=folder)
    assert outcome.code == 4
    assert outcome.err == (
        f"vae-gen: {folder}: expected every check to pass, 1 of 7 did not; copy or export the model folder again\n"
    )
    failed = [line for line in outcome.out.decode().splitlines() if line.startswith("✗ ")]
    assert len(failed) == 1
    assert "decoder.onnx" in failed[0]
    document = json.loads(cli("verify", "--json", model=folder).out)
    assert document["passed"] is False
    assert [check["passed"] for check in document["checks"]].count(False) == 1


def test_a_provider_that_is_not_there_ends_with_3(cli: Command) -> None:
    outcome = cli("verify", "--provider", "tensorrt")
    assert outcome.code == 3
    assert outcome.err.startswith("vae-gen: expected an execution provider that is installed (")


def test_the_version_is_the_distributions(cli: Command) -> None:
    from importlib.metadata import version

    assert cli.succeed("--version").out.decode() == f"vae-gen {version('vae-gen')}\n"


def test_no_command_at_all_shows_the_help(cli: Command) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert "Usage: vae-gen" in outcome.err
    for name in ("sample", "traverse", "interpolate", "reconstruct", "encode", "decode", "info", "verify", "repeat"):
        assert f"  {name} " in outcome.err
