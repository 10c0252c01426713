"""`traverse`, `interpolate` and `reconstruct`: the right pictures at the right places, still and moving."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen import VAE, ImageSpec, Posterior, to_grey_levels
from vae_gen.internal.losses import losses_of
from vae_gen_cli.output import moving_scale
from vae_gen_cli.sheets import cards, shortened, table

SIDE, GAP = 28, 2


@pytest.fixture
def model(tiny_model_folder: Path) -> VAE:
    return VAE(tiny_model_folder)


def frames(path: str) -> list[np.ndarray]:
    """All frames of a moving picture, grey."""
    with Image.open(path) as image:
        found = []
        for at in range(getattr(image, "n_frames", 1)):
            image.seek(at)
            found.append(np.asarray(image.convert("L")))
        return found


def holds(sheet: np.ndarray, picture: np.ndarray, scale: int) -> bool:
    """Whether the picture, uint8 [1, height, width], stands somewhere in the sheet."""
    return bool(places_of(sheet, picture, scale))


def place(sheet: np.ndarray, picture: np.ndarray, scale: int) -> tuple[int, int]:
    """The row and the column of the first place at which the picture stands in the sheet."""
    return places_of(sheet, picture, scale)[0]


def places_of(sheet: np.ndarray, picture: np.ndarray, scale: int) -> list[tuple[int, int]]:
    wanted = picture[0].repeat(scale, axis=0).repeat(scale, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, wanted.shape)
    corners = np.argwhere((windows[:, :, :: 3 * scale, :: 3 * scale] == wanted[:: 3 * scale, :: 3 * scale]).all((2, 3)))
    return [(top, left) for top, left in corners.tolist() if np.array_equal(windows[top, left], wanted)]


def cell(sheet: np.ndarray, row: int, column: int, rows: int, columns: int, scale: int) -> np.ndarray:
    """One picture of a table whose grid ends at its lower right corner."""
    size = SIDE * scale
    top = sheet.shape[0] - (rows - row) * (size + GAP)
    left = sheet.shape[1] - (columns - column) * (size + GAP)
    return sheet[top : top + size, left : left + size]


def test_a_traversal_has_a_row_for_each_dimension_ordered_by_kl(cli: Command, model: VAE) -> None:
    outcome = cli.succeed("traverse", "--steps", "5", "--json")
    assert json.loads(outcome.out)["output"] == "traversal.png"
    assert outcome.err == "all dimensions in 5 steps around a typical latent → traversal.png\n"
    (sheet,) = frames("traversal.png")
    made = to_grey_levels(model.traverse(steps=5).images)
    assert len(made) == 12
    tops = []
    for row in range(12):
        places = [place(sheet, made[row, column], 3) for column in range(5)]
        assert len({top for top, _ in places}) == 1
        assert [left for _, left in places] == sorted(left for _, left in places)
        tops.append(places[0][0])
    assert tops == sorted(tops)


def test_a_sheet_of_given_values_around_the_centre_has_them_above_its_columns(cli: Command, model: VAE) -> None:
    outcome = cli.succeed("traverse", "--steps", "5", "--around", "centre", "--span", "2.5", "--json")
    assert outcome.err == "all dimensions in 5 steps around the prior's centre → traversal.png\n"
    rows = json.loads(outcome.out)["rows"]
    assert [row["name"] for row in rows] == [f"z{at}" for at in model.manifest.latent.order]
    assert all(row["values"] == [-2.5, -1.25, 0, 1.25, 2.5] for row in rows)
    (sheet,) = frames("traversal.png")
    made = to_grey_levels(model.traverse(around="centre", span=2.5, steps=5).images)
    for row in (0, 5, 11):
        for column in (0, 2, 4):
            wanted = made[row, column, 0].repeat(3, axis=0).repeat(3, axis=1)
            np.testing.assert_array_equal(cell(sheet, row, column, 12, 5, 3), wanted)


@pytest.mark.parametrize(("span", "last"), [("2.5", 2.5), ("0.95", 1.95996)])
def test_one_dimension_goes_over_the_span_around_a_seed(
    cli: Command, model: VAE, span: str, last: float
) -> None:
    cli.succeed("traverse", "--dim", "7", "--seed", "3", "--start", "9", "--span", span, "--steps", "3")
    (sheet,) = frames("traversal-3.png")
    (centre,) = model.stream(1, 3, 9)
    latent = centre.latents[0].copy()
    for column, value in enumerate((-last, 0, last)):
        latent[7] = value
        wanted = to_grey_levels(model.decode(latent))[0, 0].repeat(3, axis=0).repeat(3, axis=1)
        found = cell(sheet, 0, column, 1, 3, 3)
        assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_a_traversal_around_an_image_uses_its_posterior_mean(cli: Command, model: VAE) -> None:
    cli.succeed("sample", "-n", "1", "--seed", "4", "-o", "picture/")
    line = "traverse --dim 0 --image picture/000000.png --span 2 --steps 3 --scale 1"
    cli.succeed(*line.split())
    with Image.open("picture/000000.png") as image:
        mean = model.encode(np.asarray(image)).mean[0].copy()
    mean[0] = 0
    (sheet,) = frames("traversal.png")
    assert holds(sheet, to_grey_levels(model.decode(mean))[0], 1)


@pytest.mark.parametrize(
    ("output", "options", "kind"),
    [
        ("a.gif", (), "GIF"),
        ("a.apng", (), "PNG"),
        ("a.webp", ("--animate",), "WEBP"),
        ("a.png", ("--animate",), "PNG"),
    ],
)
def test_an_animation_goes_there_and_back_forever(
    cli: Command, output: str, options: tuple[str, ...], kind: str
) -> None:
    cli.succeed("traverse", "--dim", "0", "--steps", "5", "--fps", "10", "-o", output, *options)
    with Image.open(output) as image:
        assert image.format == kind
        assert image.info["loop"] == 0
        assert image.info.get("duration", 100) == 100
    found = frames(output)
    assert len(found) == 8
    for at in range(1, 4):
        np.testing.assert_array_equal(found[at], found[8 - at])
    assert len({frame.tobytes() for frame in found}) == 5


def test_a_moving_traversal_of_all_dimensions_shows_them_side_by_side(cli: Command, model: VAE) -> None:
    cli.succeed("traverse", "--steps", "3", "-o", "a.gif")
    found = frames("a.gif")
    made = to_grey_levels(model.traverse(steps=3).images)
    for row in (0, 6, 11):
        assert holds(found[0], made[row, 0], 4)
        assert holds(found[2], made[row, 2], 4)


@pytest.mark.parametrize(
    ("line", "count", "pictures"),
    [
        ("traverse --dim 0 --steps 4 -o a.gif", 6, 1),
        ("traverse --dim 0,1 --steps 4 -o a.webp --animate", 6, 2),
        ("interpolate --seed 1 --seed 2 --steps 4 -o a.webp --animate", 6, 1),
        ("interpolate --label blob --label other --seed 1 --steps 4 --loop -o a.apng", 6, 1),
    ],
)
def test_an_animation_is_large_fast_and_shows_its_values(cli: Command, line: str, count: int, pictures: int) -> None:
    cli.succeed(*line.split())
    output = next(word for word in line.split() if word.startswith("a."))
    with Image.open(output) as image:
        assert image.info["loop"] == 0
        assert image.info.get("duration", 33) in (30, 33, 100 / 3)  # milliseconds; those of a GIF are tens of them
        assert min(image.size) >= 280
        assert image.size[0] >= 280 * pictures
    found = frames(output)
    assert len(found) == count
    below = [frame[-45:] for frame in found]  # two lines of text
    assert (below[0] != below[1]).any()
    assert (below[0] > 128).mean() > 0.8


def test_the_default_scale_depends_on_the_size_of_the_pictures() -> None:
    for height, rows, scale in ((28, 1, 10), (28, 3, 4), (8, 1, 35), (128, 1, 3), (128, 3, 1), (4, 1, 64)):
        assert moving_scale(ImageSpec(1, height, height), rows) == scale


def test_an_animation_has_enough_frames_by_default(cli: Command) -> None:
    cli.succeed("traverse", "--dim", "0", "-o", "a.gif", "--scale", "1")
    assert len(frames("a.gif")) == 2 * 45 - 2


@pytest.mark.parametrize(("output", "codec"), [("a.mp4", "h264"), ("a.webm", "vp9")])
def test_a_video_has_the_frames_of_the_animation_twice(cli: Command, output: str, codec: str) -> None:
    av = pytest.importorskip("av")
    for name in (output, "a.gif", f"again-{output}"):
        cli.succeed("interpolate", "--seed", "1", "--seed", "2", "--steps", "5", "-o", name)
    with av.open(output) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.average_rate) == (codec, 30)
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
    expected = [frame.astype(int) for frame in frames("a.gif")]
    assert len(pictures) == 2 * len(expected)
    for picture, wanted in zip(pictures, expected * 2, strict=True):
        height, width = wanted.shape
        assert picture.shape == (height + height % 2, width + width % 2)
        assert np.abs(picture[:height, :width].astype(int) - wanted).mean() < 12  # 16 to 235 in place of 0 to 255
    assert Path(output).read_bytes() == Path(f"again-{output}").read_bytes()


def test_a_video_without_its_package_says_what_to_install(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = cli("traverse", "-o", "a.mp4")
    assert (outcome.code, outcome.err) == (
        3,
        "vae-gen: expected the package av, which writes .mp4, got none; install the extra video: "
        'pip install "vae-gen[video]", or pip install av; or write a .webp or a .gif\n',
    )
    assert list(Path.cwd().iterdir()) == []


def test_an_array_has_the_pictures_of_the_sheet(cli: Command, model: VAE) -> None:
    cli.succeed("traverse", "--dim", "3,1", "--steps", "4", "-o", "a.npy")
    array = np.load("a.npy")
    assert (array.dtype, array.shape) == (np.uint8, (2, 4, 1, 28, 28))
    np.testing.assert_array_equal(array, model.traverse([3, 1], steps=4).grey_levels())


def test_a_traversal_goes_around_the_medoid_of_a_class(cli: Command, model: VAE) -> None:
    outcome = cli.succeed("traverse", "--label", "other", "--steps", "3", "-o", "a.npy")
    assert outcome.err == "all dimensions in 3 steps around a typical latent of other blob → a.npy\n"
    made = model.traverse(around=model.fitted_prior().medoid(1), steps=3, detail=False)
    np.testing.assert_array_equal(np.load("a.npy"), made.grey_levels())


def test_a_still_and_a_moving_webp_are_told_apart_by_the_option(cli: Command) -> None:
    cli.succeed("traverse", "--dim", "0", "-o", "still.webp")
    assert len(frames("still.webp")) == 1


def test_an_interpolation_of_seeds_has_a_row_for_each_pair(cli: Command, model: VAE) -> None:
    seeds = ("--seed", "1", "--seed", "2", "--seed", "3", "--method", "linear")
    outcome = cli.succeed("interpolate", *seeds, "--steps", "4", "--loop")
    assert outcome.err == "seed 1 → seed 2 → seed 3 in 4 linear steps → interpolation.png\n"
    (sheet,) = frames("interpolation.png")
    ends = [next(iter(model.stream(1, seed))).latents[0] for seed in (1, 2, 3)]
    for row, (a, b) in enumerate(((0, 1), (1, 2), (2, 0))):
        made = to_grey_levels(model.interpolate(ends[a], ends[b], 4).images)
        for column in range(4):
            wanted = made[column, 0].repeat(3, axis=0).repeat(3, axis=1)
            np.testing.assert_array_equal(cell(sheet, row, column, 3, 4, 3), wanted)


def test_the_spherical_way_is_another_one(cli: Command) -> None:
    for method in ("linear", "spherical"):
        cli.succeed("interpolate", "--seed", "1", "--seed", "2", "--method", method, "-o", f"{method}.png")
    assert Path("linear.png").read_bytes() != Path("spherical.png").read_bytes()


def test_latents_and_images_can_be_the_ends(cli: Command, model: VAE) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "1", "-o", "ends/")
    images = ("--image", "ends/000000.png", "--image", "ends/000001.png")
    cli.succeed("encode", "ends/000000.png", "ends/000001.png")
    cli.succeed("interpolate", *images, "--scale", "1", "--steps", "3", "-o", "images.png")
    cli.succeed("interpolate", "--latents", "latents.npz", "--scale", "1", "--steps", "3", "-o", "latents.png")
    with np.load("latents.npz") as archive:
        made = to_grey_levels(model.interpolate(*archive["mean"], 3, "likely").images)
    for name in ("images.png", "latents.png"):
        (sheet,) = frames(name)
        assert all(holds(sheet, picture, 1) for picture in made)


def test_a_loop_goes_round_and_shows_each_end_once(cli: Command) -> None:
    seeds = ("--seed", "1", "--seed", "2", "--seed", "3")
    cli.succeed("interpolate", *seeds, "--steps", "4", "--loop", "-o", "round.gif")
    assert len(frames("round.gif")) == 9
    cli.succeed("interpolate", *seeds, "--steps", "4", "-o", "back.gif")
    assert len(frames("back.gif")) == 12


def test_a_reconstruction_stands_below_its_original_with_the_loss(cli: Command, model: VAE) -> None:
    cli.succeed("sample", "-n", "3", "--seed", "1", "-o", "in/")
    files = sorted(map(str, Path("in").iterdir()))
    document = json.loads(cli.succeed("reconstruct", *files, "--json").out)
    images = np.stack([frames(file)[0] for file in files])
    made = to_grey_levels(model.reconstruct(images))
    (sheet,) = frames("reconstruction.png")
    for at in range(3):
        assert holds(sheet, images[at][None], 4)
        assert holds(sheet, made[at], 4)
    assert [row["file"] for row in document["pictures"]] == files


def test_the_loss_is_cross_entropy_at_the_posterior_mean_plus_kl(cli: Command, model: VAE) -> None:
    Image.fromarray(np.full((28, 28), 51, np.uint8)).save("grey.png")  # 0.2 everywhere
    row = json.loads(cli.succeed("reconstruct", "grey.png", "--json").out)["pictures"][0]
    posterior = model.encode(np.full((28, 28), 51, np.uint8))
    p = model.decode(posterior.mean).astype(np.float64).ravel()
    cross_entropy = -sum(0.2 * np.log(value) + 0.8 * np.log(1 - value) for value in p)
    kl = sum(
        (mean**2 + np.exp(log_variance) - log_variance - 1) / 2
        for mean, log_variance in zip(posterior.mean[0].tolist(), posterior.log_variance[0].tolist(), strict=True)
    )
    assert row["reconstruction_nats"] == pytest.approx(cross_entropy, abs=0.01)
    assert row["kl_nats"] == pytest.approx(kl, abs=0.001)
    assert row["loss_nats"] == pytest.approx(cross_entropy + kl, abs=0.01)
    assert row["psnr_db"] == pytest.approx(-10 * np.log10(((p - 0.2) ** 2).mean()), abs=0.001)


def test_the_loss_of_a_gaussian_model_is_that_of_the_variance_in_its_manifest(
    cli: Command, model: VAE, tiny_model_folder: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "gaussian"))
    document = json.loads((folder / "manifest.json").read_text())
    document |= {"likelihood": "gaussian", "metrics": {"test": {"pixel_variance": 0.002}}}
    (folder / "manifest.json").write_text(json.dumps(document))
    Image.fromarray(np.full((28, 28), 51, np.uint8)).save("grey.png")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("black.png")
    outcome = cli.succeed("reconstruct", "grey.png", "black.png", "--json", model=folder)
    rows = json.loads(outcome.out)["pictures"]
    images = np.array([0.2, 0])[:, None]
    p = model.decode(model.encode(np.stack([np.full((28, 28), 51, np.uint8), np.zeros((28, 28), np.uint8)])).mean)
    squared = ((p.reshape(2, -1).astype(np.float64) - images) ** 2).sum(1)
    density = squared / (2 * 0.002) + 784 / 2 * np.log(2 * np.pi * 0.002)
    assert [row["reconstruction_nats"] for row in rows] == pytest.approx(density, abs=0.01)
    psnr = -10 * np.log10(squared / 784)
    assert [row["psnr_db"] for row in rows] == pytest.approx(psnr, abs=0.001)
    nats = np.mean([row["loss_nats"] for row in rows])
    said = f"2 pictures, {nats:.1f} nats and a PSNR of {psnr.mean():.1f} dB on average → reconstruction.png"
    assert outcome.err == f"{said}\n"
    losses = VAE(folder).losses(["grey.png", "black.png"])
    assert losses.nats == pytest.approx([row["loss_nats"] for row in rows], abs=0.001)


def test_a_perfect_reconstruction_has_a_finite_loss_and_99_db() -> None:
    half = np.array([0, 0.5], np.float32).reshape(1, 1, 1, 2)
    code = Posterior(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32))
    losses = losses_of(half, half, code, None)
    assert losses.psnr_db == [99]
    assert losses.nats == pytest.approx(np.log(2), abs=1e-6)
    assert losses_of(half, half, code, 0.5).nats == pytest.approx(np.log(np.pi))  # two pixels of ½ ln 2πv


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_labels_of_a_table_stay_inside_it_and_off_the_pictures(scale: int) -> None:
    black = np.zeros((4, 6, 1, SIDE, SIDE), np.uint8)
    with_labels = np.asarray(table(black, ["z10  12.34 nats\nand more"] * 4, ["-2.50"] * 6, scale))
    without = np.asarray(table(black, [" \n "] * 4, [" "] * 6, scale))
    pictures = (with_labels == 0).sum(axis=0) >= 4 * SIDE * scale  # the columns where pictures stand
    left = int(np.argmax(pictures))
    assert (with_labels[:, :5] == 255).all()
    assert (with_labels[0] == 255).all()
    assert (with_labels[-1] == 255).all()
    assert (with_labels[:, -1] == 255).all()
    first = int(np.argmax(with_labels[:, left] == 0))  # below the column labels, which may be wider than a cell
    assert (with_labels[first:, left - 2 : left] == 255).all()
    assert (with_labels < 255).sum() > (without < 255).sum()


@pytest.mark.parametrize("label", ["z10  12.34 nats", "12.3 nats\n18.1 dB", "a\nb\ngy"])
@pytest.mark.parametrize("scale", [1, 3])
def test_labels_of_cards_do_not_touch(scale: int, label: str) -> None:
    sheet = np.asarray(cards(np.zeros((5, 2, 1, SIDE, SIDE), np.uint8), [label] * 5, 3, scale))
    width, height = sheet.shape[1] // 3, sheet.shape[0] // 2
    assert (sheet[:height, :width] == sheet[height:, :width]).all()  # no card reaches into the one below
    for at in range(3):
        assert (sheet[:, at * width] == 255).all()
        assert (sheet[:, (at + 1) * width - 1] == 255).all()
    assert (sheet[-1] == 255).all()


def test_colour_pictures_make_colour_sheets() -> None:
    red = np.zeros((2, 3, 3, 8, 8), np.uint8)
    red[:, :, 0] = 255
    sheet = table(red, ["a", "b"], ["1", "2", "3"], 2)
    assert sheet.mode == "RGB"
    assert (255, 0, 0) in {colour for _, colour in sheet.getcolors(10_000) or []}
    assert cards(red, ["a", "b"], 2, 2).mode == "RGB"


def test_long_names_lose_their_middle_and_letters_that_the_font_lacks() -> None:
    assert shortened("shirt.png") == "shirt.png"
    assert shortened("größe.png") == "gr??e.png"
    assert shortened("a" * 30 + ".png") == "aaaaaaaaaa...aaaaaaa.png"
    assert len(shortened("x" * 500)) == 24


@pytest.mark.parametrize("words", [["3,z7"], ["z3", "7"], [" Z3 , z7 "]])
def test_dimensions_are_named_as_people_write_them(cli: Command, model: VAE, words: list[str]) -> None:
    options = [part for word in words for part in ("--dim", word)]
    outcome = cli.succeed("traverse", *options, "--steps", "3", "--json")
    assert outcome.err == "dimensions 3, 7 in 3 steps around a typical latent → traversal.png\n"
    assert json.loads(outcome.out)["dimension"] == [3, 7]
    (sheet,) = frames("traversal.png")
    made = model.traverse([3, 7], steps=3).grey_levels()
    for row in (0, 1):
        assert holds(sheet, made[row, 2], 3)


def test_slerp_is_the_spherical_way(cli: Command) -> None:
    for method in ("slerp", "spherical"):
        cli.succeed("interpolate", "--seed", "1", "--seed", "2", "--method", method, "-o", f"{method}.png")
    assert Path("slerp.png").read_bytes() == Path("spherical.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "seeds", "says"),
    [
        ("--label blob --label other --seed 7", (7, 7), "blob → other blob of seed 7"),
        ("--label blob --label other --seed 7 --seed 8", (7, 8), "blob of seed 7 → other blob of seed 8"),
    ],
)
def test_a_morph_between_classes_goes_from_a_sample_of_one_to_a_sample_of_the_other(
    cli: Command, detailed_model_folder: Path, words: str, seeds: tuple[int, int], says: str
) -> None:
    line = (
        "interpolate", *words.split(), "--start", "5", "--steps", "4", "--method", "linear", "--json", "-o", "a.png",
    )  # fmt: skip
    for extra, folder in ((("--no-detail",), detailed_model_folder), ((), detailed_model_folder)):
        outcome = cli.succeed(*line, *(extra or ["--no-fade"]), model=folder)
        assert outcome.err == f"{says}{', no details' if extra else ''} in 4 linear steps → a.png\n"
        document = json.loads(outcome.out)
        assert document["label"] == [0, 1]
        assert document["seeds"] == [str(seed) for seed in dict.fromkeys(seeds)]
        model = VAE(folder)
        first, last = (
            next(model.stream(1, seed, 5, label=label, detail=not extra))
            for seed, label in zip(seeds, ("blob", "other"), strict=True)
        )
        (sheet,) = frames("a.png")
        ends = [(0, first)] if seeds[0] != seeds[1] and not extra else [(0, first), (3, last)]
        for column, sample in ends:  # with other seeds, the last picture has the first one's noise
            found = cell(sheet, 0, column, 1, 4, 3)[::3, ::3].astype(int)
            assert np.abs(found - sample.grey_levels()[0, 0].astype(int)).max() <= 1
        middle = cell(sheet, 0, 1, 1, 4, 3)[::3, ::3]
        latent = first.latents[0] + (last.latents[0] - first.latents[0]) / np.float32(3)
        noise = None
        if not extra:
            a, b = (model.detail_noise(1, seeds[0], 5, labels=label)[0] for label in (0, 1))
            noise = a + (b - a) / np.float32(3)
        wanted = to_grey_levels(model.decode(latent, noise=noise, detail=not extra))[0, 0]
        assert np.abs(middle.astype(int) - wanted.astype(int)).max() <= 1


def test_a_morph_between_classes_draws_a_seed_and_names_the_file_by_it(cli: Command) -> None:
    outcome = cli.succeed("interpolate", "--label", "blob", "--label", "other", "--steps", "2", "--json")
    (seed,) = json.loads(outcome.out)["seeds"]
    said = f"blob → other blob of seed {seed} (drawn at random), fitted prior in 2 likely steps"
    assert outcome.err == f"{said} → interpolation-{seed}.png\n"
    assert [path.name for path in Path.cwd().iterdir()] == [f"interpolation-{seed}.png"]


@pytest.mark.parametrize("extra", [(), ("--detail",), ("--no-detail",)])
def test_a_reconstruction_shows_details_and_has_the_loss_of_the_mean_picture(
    cli: Command, detailed_model_folder: Path, extra: tuple[str, ...]
) -> None:
    cli.succeed("sample", "-n", "1", "--seed", "1", "-o", "in/", model=detailed_model_folder)
    outcome = cli.succeed("reconstruct", "in/000000.png", "--json", "-o", "a.png", *extra, model=detailed_model_folder)
    document = json.loads(outcome.out)
    model = VAE(detailed_model_folder)
    (sheet,) = frames("a.png")
    details = extra != ("--no-detail",)
    assert document["detail"] is details
    made = to_grey_levels(model.reconstruct("in/000000.png", detail=details))[0]
    assert holds(sheet, made, 4)
    image = frames("in/000000.png")[0] / 255
    p = model.reconstruct("in/000000.png", detail=False)[0, 0].astype(np.float64)
    loss = -(image * np.log(p) + (1 - image) * np.log1p(-p)).sum()
    assert document["pictures"][0]["reconstruction_nats"] == pytest.approx(loss, abs=0.01)
