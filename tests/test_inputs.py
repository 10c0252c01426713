"""What callers pass in by mistake: every wrong value gets a sentence that helps, and no error is NumPy's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_gen import VAE, InputError, UsageError, to_grey_levels
from vae_gen.internal.files import Json


@pytest.fixture(scope="module")
def vae(detailed_model_folder: Path) -> VAE:
    return VAE(detailed_model_folder)


class OnGpu:
    """Behaves as a tensor of PyTorch on a GPU does."""

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")


ADVICE = "to fit a picture of another size, pass PIL.Image.fromarray(array) or the path of its file"
MISSING = "none.png: expected a picture, cannot open it (No such file or directory); check its name"
KINDS = "pass the path of a picture, a Pillow image or an array"
SHAPE = "expected images of shape [n, 1, 28, 28], got shape"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, f"expected images as an array of numbers, got None; {KINDS}"),
        ({1}, f"expected images as an array of numbers, got {{1}}; {KINDS}"),
        ([], f"{SHAPE} [0]; pass at least one picture"),
        (7, f"expected images as an array of numbers, got the single number 7; {KINDS}"),
        ("none.png", MISSING),
        (Path("none.png"), MISSING),
        ("a\0b", "a?b: expected the path of a picture, got a text that is not a path"),
        (["none.png", "b.png"], MISSING),
        ({"image": 1}, f"expected images as an array of numbers, got {{'image': 1}}; {KINDS}"),
        (b"x", f"expected images as an array of numbers, got b'x'; {KINDS}"),
        (np.array([None, 1]), f"expected images as an array of numbers, got an array of object; {KINDS}"),
        (np.zeros((32, 32)), f"{SHAPE} [32, 32]; {ADVICE}"),
        (np.zeros((28, 28, 1)),
         f"{SHAPE} [28, 28, 1]; move the channel axis to the front with numpy.moveaxis(images, -1, -3)"),
        (np.zeros((5, 784)), f"{SHAPE} [5, 784]; reshape them with images.reshape(-1, 1, 28, 28)"),
        ([np.zeros((28, 28)), np.zeros((30, 30))], f"picture 1: {SHAPE} [30, 30]; {ADVICE}"),
        ([[0.0], [0.0, 1.0]], "expected images as an array, got rows of different lengths; make them equal"),
        (np.full((28, 28), 128.0),
         "expected float images in [0, 1], got values from 128 to 128; divide by 255 or pass uint8"),
        (np.zeros((28, 28), bool), "expected images as uint8 (0 to 255) or floats (0 to 1), got bool; convert them"),
        (OnGpu(), "expected images as an array, got a value of type OnGpu that NumPy can't read; "
         "for a PyTorch tensor, pass tensor.detach().float().cpu()"),
    ],
)  # fmt: skip
def test_what_is_not_a_picture_gets_a_sentence_that_helps(
    vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in (vae.encode, vae.reconstruct):
        with pytest.raises(InputError) as raised:
            verb(images)
        assert str(raised.value) == message


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-0.057, 1.015, "got values from -0.057 to 1.015; clip them with numpy.clip(images, 0, 1)"),
        (0, 1.002, "got values from 0 to 1.002; clip them with numpy.clip(images, 0, 1)"),
        (-1, 1, "got values from -1 to 1; pass (images + 1) / 2"),
        (-2.1, 2.6, "got values from -2.1 to 2.6; undo their normalisation, so that black is 0 and white is 1"),
        (0, 255, "got values from 0 to 255; divide by 255 or pass uint8"),
        (3, 4095, "got values from 3 to 4095; divide them by the value of white, such as 65535"),
    ],
)
def test_the_advice_for_floats_outside_fits_their_range(vae: VAE, low: float, high: float, message: str) -> None:
    images = np.linspace(low, high, 784).reshape(28, 28)
    with pytest.raises(InputError) as raised:
        vae.encode(images)
    assert str(raised.value) == f"expected float images in [0, 1], {message}"


def test_floats_that_rounding_left_outside_are_clipped(vae: VAE) -> None:
    exact = np.linspace(0, 1, 784, dtype=np.float32).reshape(28, 28)
    near = exact.copy()
    near[0, 0], near[-1, -1] = -1e-9, np.float32(1 + 1.2e-7)
    np.testing.assert_array_equal(vae.encode(near).mean, vae.encode(exact).mean)
    assert to_grey_levels(near).tolist() == to_grey_levels(exact).tolist()
    for wrong in (np.nan, np.inf, 1.1, -1):
        with pytest.raises(InputError):
            to_grey_levels(np.array([0, wrong]))


def test_masked_arrays_are_refused_unless_nothing_is_masked(vae: VAE) -> None:
    images = np.ma.masked_array(np.zeros((28, 28)), mask=False)
    assert vae.encode(images).mean.shape == (1, 12)
    images[3, 3] = np.ma.masked
    with pytest.raises(InputError, match=r"expected images as plain numbers, got masked ones; fill them in with"):
        vae.encode(images)


def test_a_manifest_can_be_hashed(vae: VAE, detailed_model_folder: Path) -> None:
    assert {vae.manifest: 1}[VAE(detailed_model_folder).manifest] == 1


def test_images_become_tensors_of_pytorch_without_a_warning(vae: VAE) -> None:
    import torch

    for samples in (vae.sample(3, seed=1), vae.sample(70, seed=1), vae.sample(3, seed=1)[1]):
        assert torch.from_numpy(samples.images).shape == samples.shape
        assert torch.as_tensor(samples).shape == samples.shape


def test_paths_in_bytes_are_answered(vae: VAE, tmp_path: Path) -> None:
    for call in (lambda: VAE(b"model"), lambda: vae.sample(1).save(b"a.png"), lambda: VAE.from_sessions(b"a.json")):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"as a text, got bytes; pass os.fsdecode\(path\)"):
            call()


def test_tensors_of_pytorch_are_taken_or_named(vae: VAE) -> None:
    import torch

    expected = vae.encode(np.zeros((1, 28, 28), np.float32)).mean
    np.testing.assert_array_equal(vae.encode(torch.zeros(1, 28, 28)).mean, expected)
    both = vae.encode([torch.zeros(1, 28, 28), torch.zeros(28, 28)]).mean
    np.testing.assert_array_equal(both, [*expected, *expected])
    with pytest.raises(InputError, match=r"type Tensor that NumPy can't read; .*, pass tensor\.detach"):
        vae.encode(torch.zeros(1, 28, 28, requires_grad=True))
    with pytest.raises(InputError, match=r"type Tensor that NumPy can't read; .*, pass tensor\.detach\(\)\.float"):
        vae.encode(torch.zeros(1, 28, 28, dtype=torch.bfloat16))
    with pytest.raises(InputError, match="expected latents as an array, got a value of type Tensor"):
        vae.decode(torch.zeros(12, requires_grad=True))


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (None, "expected latents as an array of numbers, got None"),
        ("latents.npz", "expected latents, samples or a posterior, got 'latents.npz'; for a class pass "
         "vae.sample(label=…), and for the file of a picture vae.encode(…)"),
        (np.zeros(11), "expected latents of shape [n, 12], got [11]; this model's latents have that width"),
        (3.0, "expected latents as an array of numbers, got the single number 3.0"),
        (np.zeros((0, 12)), "expected latents for at least one picture, got an empty array of shape [0, 12]"),
        (np.full(12, 1e7), "expected latents from -1e+06 to 1e+06, got 1e+07; the prior's are hardly ever beyond 5"),
    ],
)  # fmt: skip
def test_what_is_not_a_latent_gets_a_sentence_that_helps(vae: VAE, latents: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        vae.decode(latents)
    assert str(raised.value) == message


def test_options_that_contradict_each_other_are_named(vae: VAE, tiny_model_folder: Path) -> None:
    cases: dict[str, Any] = {
        "expected noise only for pictures with details, got noise and detail=False; leave one out":
            lambda: vae.decode(np.zeros(12), noise=np.zeros(5), detail=False),
        "expected invert as auto, yes or no, got 'perhaps'": lambda: vae.encode(np.zeros((28, 28)), invert="perhaps"),  # type: ignore[arg-type]
        "expected the method linear, spherical, slerp or likely, got cubic":
            lambda: vae.interpolate(np.zeros(12), np.ones(12), method="cubic"),  # type: ignore[arg-type]
    }  # fmt: skip
    for message, call in cases.items():
        with pytest.raises(UsageError) as raised:
            call()
        assert str(raised.value) == message
    plain = VAE(tiny_model_folder)
    for verb in (plain.decode, plain.interpolate, plain.traverse, plain.reconstruct):
        arguments = {"decode": (np.zeros(12),), "interpolate": (np.zeros(12), np.ones(12)), "traverse": (0,),
                     "reconstruct": (np.zeros((28, 28)),)}[verb.__name__]  # fmt: skip
        with pytest.raises(UsageError, match=r"expected a model with a detail stage, got tiny 1, which has no"):
            verb(*arguments, detail=True)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("a.npy", {"columns": 3}, "expected a grid (.png or .webp) for columns, got 'a.npy'; leave columns out"),
        ("a.npz", {"scale": 2}, "expected pictures for scale, got the array 'a.npz'; leave scale out"),
        ("a.png", {"scale": 0}, "expected scale of at least 1, got 0"),
        ("a.png", {"columns": 0}, "expected columns of at least 1, got 0"),
        ("a", {}, "expected a path that ends in .png, .webp, .npy, .npz or / for a folder, got 'a'; add an ending, "
         "or for a folder write the path as a text that ends in /, or create the folder first"),
    ],
)  # fmt: skip
def test_saving_refuses_options_that_do_nothing(
    vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, options: dict[str, int], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        vae.sample(2, seed=1).save(path, **options)
    assert str(raised.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_pillow_image_beyond_the_limit_is_refused_before_it_is_converted(vae: VAE) -> None:
    with pytest.raises(InputError) as raised:
        vae.encode(Image.new("1", (5001, 5000)))
    assert str(raised.value) == "expected a picture of at most 25 megapixels, got 5001 × 5000; make it smaller first"


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("[", Json.mapping, "expected JSON, found something else in line 1, column 2"),
        (b"\xff", Json.mapping, "expected JSON, found bytes that are no text"),
        ("[" * 100_000, Json.mapping, "expected JSON, found lists nested too deep"),
        ("1" * 5000, Json.mapping, "expected JSON, found a number with too many digits"),
        ("[]", Json.mapping, "the document: expected an object, found []"),
        ("{}", lambda root: root["a"]["b"], "a is missing"),
        ('{"a": {"b": 1}}', lambda root: root["a"]["b"].text(), "a.b: expected a text, found 1"),
        ('{"a": [1, true]}', lambda root: root["a"].items(Json.whole),
         "a[1]: expected a whole number of at least 0, found true"),
        ("1.5", lambda root: root.whole(), "the document: expected a whole number of at least 0, found 1.5"),
        ("7", lambda root: root.whole(8, 9), "the document: expected a whole number from 8 to 9, found 7"),
        ("1e999", lambda root: root.number(), "the document: expected a finite number, found Infinity"),
        ("NaN", lambda root: root.number(0, 1), "the document: expected a number from 0 to 1, found NaN"),
        ("1", lambda root: root.flag(), "the document: expected true or false, found 1"),
        ('"9223372036854775808"', lambda root: root.decimal(),
         'the document: expected a whole number below 9223372036854775808 as a text, found "9223372036854775808"'),
        ('"x"', lambda root: root.one_of("a", "b"), 'the document: expected a or b, found "x"'),
        ("[[1], [1, 2]]", lambda root: root.array(),
         "the document: expected lists of numbers, all of the same length, found [[1], [1, 2]]"),
        ('"AAAA"', lambda root: root.decoded("float32", 1),
         'the document: expected base64 of float32 [1], found "AAAA"'),
    ],
)  # fmt: skip
def test_json_from_elsewhere_is_checked_as_it_is_read(text: str, read: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read(Json.parse(text, "a.json", InputError, "write it again"))
    assert str(raised.value) == f"a.json: {message}; write it again"


def test_json_that_is_right_is_read() -> None:
    root = Json.parse('{"a": [1, 2], "b": "AACAPw==", "c": "7", "d": 0.5}', "a.json", InputError, "")
    assert root["a"].items(Json.whole) == (1, 2)
    np.testing.assert_array_equal(root["a"].array(), [1, 2])
    assert root["b"].decoded("float32", 1).tolist() == [1]
    assert (root["c"].decimal(), root["d"].number(0, 1), "e" in root) == (7, 0.5, False)
    assert list(root.entries()) == ["a", "b", "c", "d"]
