"""`vae-train` and `vae-eval` as commands: exit codes, messages, files."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import vae_gen
from cli_runner import call
from tiny_training import CONFIG, tiny_data
from vae_train import eval_command, train_command
from vae_train.config import TrainConfig
from vae_train.options import install_command
from vae_train.run_folder import load_run
from vae_train.training import train

DATA = tiny_data(height=28, width=28, train=60, test=30)


def brief(epochs: int) -> tuple[str, ...]:
    return ("--full", "--epochs", str(epochs), "--batch-size", "20", "--threads", "1", "--device", "cpu")


BRIEF = brief(1)


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty rectangles in place of the data set, and a folder of its own."""
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.chdir(tmp_path)


def vae_train(*arguments: str) -> int:
    return call(train_command, *arguments)


def vae_eval(*arguments: str) -> int:
    return call(eval_command, *arguments)


def test_a_run_leaves_the_files_that_its_folder_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert vae_train("--out", "run", *brief(2)) == 0
    files = {str(path.relative_to("run")) for path in Path("run").rglob("*") if path.is_file()}
    assert files == {
        "config.json", "metrics.jsonl", "weights.safetensors", "checkpoint.pt", "curves.png", "timing.json",
        "evaluation.json", str(Path("samples", "epoch-001.png")), str(Path("samples", "epoch-002.png")),
    }  # fmt: skip
    record = json.loads(Path("run", "config.json").read_text())
    assert record["settings"] == TrainConfig(full=True, epochs=2, batch_size=20, threads=1, device="cpu").to_json()
    assert record["data"] == {"name": "rectangles", "class_names": ["rectangle"], "sha256": {"made-up": "0" * 64}}
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    lines = [json.loads(line) for line in Path("run", "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert line["validation"] is None
        assert line["train"]["neg_elbo"] == pytest.approx(line["train"]["reconstruction"] + line["train"]["kl"])
        assert sum(line["train"]["kl_per_dimension"]) == pytest.approx(line["train"]["kl"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split("  ")[0] for line in captured.err.splitlines()[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert captured.err.splitlines()[2].startswith("test -ELBO ")


def test_a_run_learns() -> None:
    assert vae_train("--out", "run", *brief(8)) == 0
    first, *_, last = load_run(Path("run")).metrics
    assert last["train"]["neg_elbo"] < 0.9 * first["train"]["neg_elbo"]


def test_validation_figures_and_the_best_weights_come_with_images_held_out(tmp_path: Path) -> None:
    run = train(CONFIG, tiny_data(), tmp_path / "run")
    figures = [line["validation"]["neg_elbo"] for line in run.metrics]
    best = load_run(tmp_path / "run", "best")
    assert all(line["validation"]["kl_per_dimension"] for line in run.metrics)
    assert (best.weights_sha256 == run.weights_sha256) == (figures[-1] == min(figures))


def test_without_out_the_run_is_named_after_its_latent() -> None:
    assert vae_train(*BRIEF, "--latent-dim", "3") == 0
    assert load_run(Path("runs", "fashion-mnist-3d")).config.model.latent_dim == 3


def test_resume_keeps_the_settings_that_are_not_given_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert vae_train("--out", "run", *BRIEF, "--lr", "0.002") == 0
    assert vae_train("--out", "run", "--resume", "--epochs", "2") == 0
    config = load_run(Path("run")).config
    assert (config.learning_rate, config.batch_size, config.full, config.epochs) == (0.002, 20, True, 2)
    assert "going on with run after epoch 1" in capsys.readouterr().err


def test_resume_begins_a_run_that_is_not_there() -> None:
    assert vae_train("--out", "run", "--resume", *BRIEF) == 0
    assert len(load_run(Path("run")).metrics) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epochs", "0"], 2, "expected epochs of at least 1, got 0"),
        (["--lr", "-1"], 2, "expected a learning rate above 0, got -1"),
        (["--device", "tpu"], 2, "expected one of auto, cpu, cuda, mps for --device, got tpu"),
        (["--precision", "64"], 2, "expected 32 or bf16 for --precision, got 64"),
        (["--out", "missing/run", *BRIEF], 7, "cannot write missing/run: there is no folder "),
        (["--out", "file", *BRIEF], 2, "expected a new folder, got file, which exists; add --resume or "),
        (["--out", "file", "--resume", *BRIEF], 5, "file: expected a run folder, found no readable config.json "),
        (["--out", "run", *BRIEF, "--lr", "1e30"], 8, "expected finite losses, got one that is not at epoch 1, step "),
        (["--out", "run", "--epochs", "1"], 2,
         "expected fewer validation images than the 60 training images, got 5000; hold out fewer, or none with --full"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("something")
    assert vae_train(*arguments) == code
    error = capsys.readouterr().err
    assert error.startswith(f"vae-train: {message}".replace("missing/run", str(Path("missing/run"))))
    assert error.count("\n") == 1
    assert Path("file").read_text() == "something"


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert vae_train("--out", "run", "--device", "cuda") == 3
    assert "expected a device cuda that PyTorch " in capsys.readouterr().err
    assert not Path("run").exists()


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vae_train.training.train", interrupted)
    assert vae_train("--out", "run") == 130
    error = capsys.readouterr().err
    assert "stopped; to go on, run: vae-train --out run --resume\n" in error


def test_bf16_trains_too() -> None:
    assert vae_train("--out", "run", *BRIEF, "--precision", "bf16") == 0
    assert load_run(Path("run")).metrics[0]["train"]["neg_elbo"] > 0


@pytest.mark.parametrize("program", ["vae-train", "vae-detail", "vae-eval", "vae-export"])
def test_the_help_page_fits_80_columns_and_ends_with_examples(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = entry_points(group="console_scripts", name=program)
    monkeypatch.setattr(sys, "argv", [program, "-h"])
    monkeypatch.setenv("COLUMNS", "80")
    assert entry.load()() == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: {program} [OPTIONS]")
    assert max(map(len, page.splitlines())) <= 80
    assert "..." not in page
    _, examples = page.split("\nExamples:\n")
    assert all(line.startswith(f"  {program}") for line in examples.splitlines())


@pytest.mark.parametrize(("module", "arguments"), [("train_command", []), ("eval_command", ["run"])])
def test_without_the_extra_help_works_and_the_rest_says_what_to_install(module: str, arguments: list[str]) -> None:
    blocked = (
        "import sys, runpy; missing = ['torch', 'safetensors', 'matplotlib', 'numpy']; "
        f"sys.modules.update(dict.fromkeys(missing)); runpy.run_module('vae_train.{module}', run_name='__main__')"
    )
    start = [sys.executable, "-c", blocked]
    helped = subprocess.run([*start, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0, helped.stderr
    assert "Usage: " in helped.stdout
    used = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False)
    assert used.returncode == 3
    assert used.stderr.endswith(
        f': expected the extra "train", found no torch; install it with: {install_command("train")}\n'
    )


@pytest.mark.parametrize(
    ("recorded", "what"),
    [
        (None, '"vae-gen[train]"'),
        ('{"url": "file:///home/a%20b/clone", "dir_info": {}}', '"/home/a b/clone[train]"'),
        ('{"url": "file:///clone", "dir_info": {"editable": true}}', '-e "/clone[train]"'),
        ('{"url": "file:///vae_gen-0.1.0-py3-none-any.whl", "archive_info": {}}',
         '"/vae_gen-0.1.0-py3-none-any.whl[train]"'),
        ('{"url": "https://host/a.whl", "archive_info": {}}', '"vae-gen[train] @ https://host/a.whl"'),
        ('{"url": "https://host/vae-gen", "vcs_info": {"vcs": "git", "commit_id": "1f2e"}}',
         '"vae-gen[train] @ git+https://host/vae-gen@1f2e"'),
    ],
)  # fmt: skip
def test_the_hint_installs_the_extra_from_where_vae_gen_came(
    recorded: str | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Distribution:
        def __init__(self, text: str | None) -> None:
            self.text = text

        def read_text(self, name: str) -> str | None:
            return self.text if name == "direct_url.json" else "another file"

    # Metadata that a build left in a clone comes first, and does not record where vae-gen was installed from.
    monkeypatch.setattr("vae_train.options.distributions", lambda name: [Distribution(None), Distribution(recorded)])
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    assert install_command("train") == f"/venv/bin/python -m pip install {what}"


def test_evaluating_a_run_prints_a_table_or_json_that_agree_with_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vae_train("--out", "run", *BRIEF) == 0
    capsys.readouterr()
    assert vae_eval("run", "--json", "-o", "figures.json", "--threads", "1") == 0  # as in BRIEF: sums differ by threads
    text = capsys.readouterr().out
    assert Path("figures.json").read_text() == text
    figures, own = json.loads(text), json.loads(Path("run", "evaluation.json").read_text())
    assert figures["model"] == "run"
    assert figures["engine"].startswith("PyTorch ")
    assert {key: figures[key] for key in own if key not in ("data", "epochs")} == {
        key: own[key] for key in own if key not in ("data", "epochs")
    }
    assert vae_eval("run") == 0
    table = capsys.readouterr().out
    assert f"{own['neg_elbo']:.3f} nats per image" in table
    assert f"{own['active_units']} of 12" in table
    assert table.isascii()


def test_evaluating_a_model_folder_uses_onnx_runtime(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vae_eval(str(tiny_model_folder), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["engine"].startswith("ONNX Runtime ")
    assert (figures["model"], figures["images"], len(figures["kl_per_dimension"])) == ("tiny", 30, 12)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 4, "expected a model folder or one of "),
        (["."], 5, "expected a run's folder or a model folder, found neither config.json nor manifest.json in .; "),
        (["empty"], 5, str(Path("empty", "weights.safetensors")) + ": expected the weights of a finished epoch, "),
        (["odd"], 5, str(Path("odd", "config.json")) + ": expected one of the settings model, "),
        (["broken"], 5, str(Path("broken", "config.json")) + ": expected JSON, found "),
        (["empty", "--weights", "first"], 2, "expected last or best for --weights, got first"),
        (["empty", "--weights", "best"], 5, "empty: expected a run with validation figures, got one with --full"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = {"format": 1, "versions": {"torch": "2.14.1"}, "data": {}}
    settings = {"empty": json.dumps({**begun, "settings": {"full": True}}), "broken": "{",
                "odd": json.dumps({**begun, "settings": {"colour": 1}})}  # fmt: skip
    for name, text in settings.items():
        Path(name).mkdir()
        Path(name, "config.json").write_text(text)
    assert vae_eval(*arguments) == code
    error = capsys.readouterr().err
    assert error.startswith(f"vae-eval: {message}")
    assert error.count("\n") == 1


def test_damaged_weights_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert vae_train("--out", "run", *BRIEF) == 0
    weights = Path("run", "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(vae_gen.InputError) as caught:
        load_run(Path("run"))
    assert str(caught.value).startswith(f"{weights}: expected the weights of the model in config.json, got ")
    assert "\n" not in str(caught.value)
