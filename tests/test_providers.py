"""Other execution providers than the CPU's: right, or refused. A made-up provider stands in for OpenVINO's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cli_runner import Command
from tiny_model import write_tiny_model
from vae_gen import VAE, UnavailableError, verify

OTHER = "OpenVINOExecutionProvider"


class Provider:
    """A made-up provider: it adds `error` to every output, and records which graphs it ran."""

    def __init__(self) -> None:
        self.error = 0.0
        self.outputs: list[str] = []


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    made = Provider()
    own = onnxruntime.InferenceSession

    class Session(own):  # type: ignore[misc, valid-type]
        def __init__(self, content: bytes, options: Any, providers: list[str], **settings: Any) -> None:
            self.other = providers == [OTHER]
            cpu = ["CPUExecutionProvider"]
            super().__init__(content, options, providers=cpu if self.other else providers, **settings)

        def get_providers(self) -> list[str]:
            return [OTHER] if self.other else super().get_providers()

        def run(self, names: Any, feed: Any, *more: Any) -> list[Any]:
            found = super().run(names, feed, *more)
            if not self.other:
                return found
            made.outputs += names
            return [values + np.float32(made.error) for values in found]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [OTHER, "CPUExecutionProvider"])
    return made


def test_it_makes_the_pictures_and_the_cpu_the_random_numbers(provider: Provider, detailed_model_folder: Path) -> None:
    with_other, on_cpu = VAE(detailed_model_folder, provider="openvino"), VAE(detailed_model_folder)
    for count, options in ((3, {}), (70, {}), (3, {"detail": False}), (3, {"label": 1}), (3, {"prior": "normal"})):
        provider.outputs.clear()
        found, expected = with_other.sample(count, seed=7, **options), on_cpu.sample(count, seed=7, **options)
        assert set(provider.outputs) == {"image"}
        np.testing.assert_allclose(found.images, expected.images, atol=1e-5)
        np.testing.assert_allclose(found.latents, expected.latents, atol=1e-5)
        np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(with_other.encode(found).mean, on_cpu.encode(expected).mean, atol=1e-5)
    assert "mean" in provider.outputs


def test_an_old_folder_has_latents_from_numpy(provider: Provider, old_model_folder: Path) -> None:
    found = VAE(old_model_folder, provider="openvino").sample(3, seed=7)
    np.testing.assert_allclose(found.images, VAE(old_model_folder).sample(3, seed=7).images, atol=1e-5)
    assert set(provider.outputs) == {"image"}


@pytest.mark.parametrize("error", [0.01, np.nan, 1e9])
def test_one_that_gives_other_numbers_is_refused(
    provider: Provider, cli: Command, detailed_model_folder: Path, error: float
) -> None:
    provider.error = error
    picture = Path("a.png")
    cli.succeed("sample", "-n", "1", "-o", picture)
    for command in (["sample", "-o", "out.png"], ["sample", "--no-detail", "-o", "out.png"],
                    ["sample", "-n", "2000", "-o", "out.npy"], ["reconstruct", picture, "-o", "out.png"],
                    ["encode", picture, "-o", "out.json"], ["traverse", "-o", "out.png"]):  # fmt: skip
        outcome = cli(*command, "--model", detailed_model_folder, "--provider", "openvino")
        assert outcome.code == 3, (command, outcome.err)
        assert "expected the execution provider openvino to compute" in outcome.err
        assert outcome.err.endswith("leave --provider out\n")
        assert not list(Path.cwd().glob("out.*"))
    provider.error = 0.0
    cli.succeed("sample", "--model", detailed_model_folder, "--provider", "openvino", "-o", "out.png")


def test_verify_names_the_provider_and_not_the_folder(provider: Provider, cli: Command) -> None:
    assert all(check.passed for check in verify(cli.model, provider="openvino"))
    provider.error = 0.02
    outcome = cli("verify", "--provider", "openvino")
    assert outcome.code == 3
    assert outcome.err.endswith(
        "did not with the execution provider openvino; the files are those of the manifest, so leave --provider out\n"
    )


def test_a_damaged_folder_is_named_in_spite_of_a_provider(provider: Provider, cli: Command, tmp_path: Path) -> None:
    folder = shutil.copytree(cli.model, tmp_path / "m")
    (folder / "decoder.onnx").write_bytes(bytes((folder / "decoder.onnx").stat().st_size))
    outcome = cli("verify", "--provider", "openvino", "--model", folder)
    assert outcome.code == 4
    assert "copy or export the model folder again" in outcome.err


def test_a_provider_that_is_not_installed_is_named_with_what_installs_it(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    for name in ("openvino", OTHER):
        with pytest.raises(UnavailableError) as caught:
            VAE(folder, provider=name).sample(1, seed=0)
        assert (
            "run pip uninstall -y onnxruntime onnxruntime-openvino && pip install onnxruntime-openvino, or leave "
            in str(caught.value)
        )
