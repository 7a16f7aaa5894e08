"""Pictures and sounds in files: what is read, when, and what is said of files that are broken."""

import io
import pickle
import struct
import tracemalloc
import wave
import zlib

import numpy as np
import pytest
import sklearn.model_selection  # noqa: F401  its import draws from Python's global generator
from PIL import Image
from scipy.io import wavfile

from triptych import Dataset, Modalities, media
from triptych.comparison.runs import checksum
from triptych.coordination import CCA
from triptych.errors import FileError, ParameterError, ShapeError
from triptych.evaluation.retrieval import same_partner
from triptych.features import fit_features, transform_features
from triptych.files import read, read_npz, write_npz
from triptych.media import Pictures, Sounds, read_picture, read_sound
from triptych.nn.inputs import learn_input
from triptych.training.batches import Rows, content_ids

SIZE = (6, 4)  # width and height


def draw(path, seed, size=SIZE, mode="RGB"):
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def table(tmp_path):
    """Ten pictures and captions; rows 3 and 7 lack the picture, row 4 the caption."""
    (tmp_path / "pics").mkdir()
    lines, pixels = ["path,caption,category"], {}
    for i in range(10):
        pixels[i] = draw(tmp_path / "pics" / f"{i}.png", i)
        path = "" if i in (3, 7) else f"pics/{i}.png"
        caption = "" if i == 4 else ["red fox", "blue fish", "red fish"][i % 3]
        lines.append(f"{path},{caption},{'ab'[i % 2]}")
    file = tmp_path / "t.csv"
    file.write_text("\n".join(lines))
    return file, pixels


def load(file, picture="path:picture:6x4"):
    return read(file, {"image": picture, "words": "caption:text"}, labels=["category"])


def test_a_table_of_pictures_is_the_array_of_their_pixels(table):
    file, pixels = table
    data = load(file)
    X = data.X
    assert isinstance(X["image"], Pictures) and X["image"].shape == (10, 3, 4, 6)
    assert str(X.kind("image")) == "image (3, 4, 6)" and X["image"].dtype == np.uint8
    assert np.flatnonzero(~X.present["image"]).tolist() == [3, 7]
    assert np.flatnonzero(~X.present["words"]).tolist() == [4]
    for i in (0, 9):
        np.testing.assert_array_equal(X["image"][i], pixels[i].transpose(2, 0, 1))
    some = X[[9, 3, 0]]["image"]
    np.testing.assert_array_equal(np.asarray(some)[0], pixels[9].transpose(2, 0, 1))
    assert some.present.tolist() == [True, False, True] and len(X[2:5]["image"]) == 3
    np.testing.assert_array_equal(X[X.present["image"]][-1]["image"][0], X["image"][9])


def test_every_consumer_sees_what_it_sees_of_the_array(table):
    """Features, moments, batches, equal content and CCA, beside the same pixels in memory."""
    lazy = load(table[0]).X
    held = Modalities(
        {"image": np.asarray(lazy["image"]), "words": lazy["words"]},
        present={"image": lazy.present["image"]},
    )
    assert lazy.kinds == held.kinds
    for a, b in zip(
        transform_features(fit_features(lazy), lazy).values(),
        transform_features(fit_features(held), held).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(
            a if isinstance(a, np.ndarray) else a.toarray(),
            b if isinstance(b, np.ndarray) else b.toarray(),
        )
    readers = [{m: learn_input(X, m) for m in X.names} for X in (lazy, held)]
    np.testing.assert_array_equal(readers[0]["image"].mean, readers[1]["image"].mean)
    assert readers[0]["image"].integer and readers[0]["image"].high == readers[1]["image"].high
    rows = np.array([8, 3, 0])
    a, b = (
        Rows(X, r, content=True).take(rows) for X, r in zip((lazy, held), readers, strict=True)
    )
    for name in lazy.names:
        assert a.values[name].equal(b.values[name]) and a.present[name].equal(b.present[name])
        assert a.content[name].equal(b.content[name])
    both = lazy.present["image"] & lazy.present["words"]
    one, two = CCA(ridge=0.5).fit(lazy[both]), CCA(ridge=0.5).fit(held[both])
    np.testing.assert_array_equal(one.correlations_, two.correlations_)
    for name in ("image", "words"):
        np.testing.assert_array_equal(
            one.transform(lazy.select(name)[both])[name], two.transform(held[both])[name]
        )


def test_codes_of_many_files_are_made_in_pieces(table, monkeypatch):
    import triptych.contracts.method as method

    X = load(table[0]).X
    whole = X[X.present["image"] & X.present["words"]]
    model = CCA(ridge=0.5).fit(whole)
    expected = model.transform(whole)
    monkeypatch.setattr(method, "FILE_ROWS", 3)
    codes = model.transform(whole)
    for name in expected.names:
        np.testing.assert_allclose(codes[name], expected[name], rtol=1e-12, atol=1e-12)  # order
    assert len(codes) == len(whole)


def test_what_is_absent_is_never_opened(table):
    """Neither a row whose cell is empty nor one that a mask marks."""
    file, _ = table
    X = load(file).X
    (file.parent / "pics" / "2.png").write_bytes(b"broken")
    hidden = X.with_present({"image": np.arange(10) != 2})
    assert np.asarray(hidden["image"])[2].max() == 0
    assert np.asarray(hidden[[2, 0]]["image"])[0].max() == 0
    with pytest.raises(FileError, match=r"t\.csv, line 4, column 'path': '.*2\.png'.*is none"):
        np.asarray(X["image"])


def test_equal_files_are_equal_content(tmp_path):
    draw(tmp_path / "a.png", 0)
    draw(tmp_path / "b.png", 1)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "a.png")]
    pictures = Pictures([*paths, None, None], size=4)
    X = Modalities({"p": pictures, "t": list("uvwxyz")})
    ids = content_ids(X["p"], X.present["p"])
    assert ids[0] == ids[2] == ids[3] != ids[1] and len(set(ids[-2:])) == 2
    assert same_partner(X, "p", "t").tile(slice(0, 1))[0].tolist() == [1, 0, 1, 1, 0, 0]


def test_a_changed_picture_changes_the_checksum(table):
    file, _ = table
    before = checksum(load(file))
    assert checksum(load(file)) == before
    assert checksum(load(file, "path:picture:6x4:grey")) != before
    draw(file.parent / "pics" / "3.png", 99)  # in no row
    assert checksum(load(file)) == before
    draw(file.parent / "pics" / "5.png", 99)
    assert checksum(load(file)) != before


def test_slices_and_copies_for_other_processes(table):
    X = load(table[0]).X
    again = pickle.loads(pickle.dumps(X[2:6]))
    np.testing.assert_array_equal(np.asarray(again["image"]), np.asarray(X["image"])[2:6])
    assert len(pickle.dumps(X)) < 20_000  # paths, no pixels


def test_cross_validation_takes_rows(table):
    from sklearn.model_selection import cross_validate

    X = load(table[0]).X
    whole = X[X.present["image"] & X.present["words"]]
    found = cross_validate(CCA(n_components=1, ridge=1.0), whole, cv=2, error_score="raise")
    assert np.isfinite(found["test_score"]).all()


def test_memory_holds_a_few_pictures_and_not_all(tmp_path):
    """600 pictures of 256 × 256 are 118 MB as bytes; their moments and a batch take a part."""
    draw(tmp_path / "a.png", 0, (8, 8))
    X = Modalities({"p": Pictures([tmp_path / "a.png"] * 600, size=256)})
    tracemalloc.start()
    reader = learn_input(X, "p")
    rows = Rows(X, {"p": reader}, content=True)
    batch = rows.take(np.arange(0, 600, 100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.values["p"].shape == (6, 3, 256, 256)
    assert peak < 70e6  # three float64 arrays of 2**21 numbers are 50 MB


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        ("L", [[0, 200]], [0, 200]),
        ("1", [[False, True]], [0, 255]),
        ("I;16", [[0, 51200]], [0, 200]),
        ("RGBA", [[[10, 10, 10, 255], [10, 10, 10, 0]]], [10, 255]),
        ("LA", [[[10, 255], [10, 0]]], [10, 255]),
        ("CMYK", [[[0, 0, 0, 0], [0, 0, 0, 255]]], [255, 0]),
    ],
)
def test_kinds_of_pixels_become_grey(tmp_path, mode, pixels, expected):
    kinds = {"1": np.bool_, "I;16": np.uint16}
    picture = Image.fromarray(np.array(pixels, dtype=kinds.get(mode, np.uint8)))
    if mode in ("CMYK", "LA"):
        picture = Image.frombytes(mode, (2, 1), np.array(pixels, np.uint8).tobytes())
    path = tmp_path / ("p.tif" if mode == "CMYK" else "p.png")
    picture.save(path)
    assert read_picture(path, (2, 1), "grey").tolist() == [[expected]]
    assert read_picture(path, (2, 1), "rgb").shape == (3, 1, 2)


def test_a_camera_that_was_turned(tmp_path):
    wide = Image.fromarray(np.array([[0, 255]], np.uint8))
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned by 90 degrees
    wide.save(tmp_path / "p.png", exif=tags)
    assert read_picture(tmp_path / "p.png", (1, 2), "grey").ravel().tolist() == [0, 255]


def _header(width, height):
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT"


def _png():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(
        out, "PNG"
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "expected a picture .*it is none"),
        (b"hello", "it is none"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "it is none"),
        (_header(9, 0), "without pixels|it is none"),
        (_header(9500, 9500), "9500 × 9500, more than"),
        (_header(20000, 20000), "more than 178956970 pixels"),
        (_header(40, 40), "cannot be read"),
        (_png()[:-400], "cannot be read; .*truncated"),
        (_png()[:100], "cannot be read"),
    ],
)
def test_a_broken_picture_is_named_with_its_row(tmp_path, body, said):
    (tmp_path / "good.png").write_bytes(_png())
    (tmp_path / "bad.png").write_bytes(body)
    (tmp_path / "t.csv").write_text("name,p\na,good.png\nb,bad.png\n")
    data = read(tmp_path / "t.csv", {"image": "p:picture:4"})
    assert data.X["image"][0].shape == (3, 4, 4)
    with pytest.raises(FileError, match=rf"t\.csv, line 3, column 'p': '.*bad\.png': .*({said})"):
        data.X["image"][1]
    with pytest.raises(FileError, match=rf"row 0: '.*bad\.png': .*({said})"):
        Pictures(["bad.png"], folder=tmp_path)[0]


def test_damage_anywhere_is_a_file_error(tmp_path):
    whole = _png()
    path = tmp_path / "p.png"
    for at in range(0, len(whole), 11):
        bad = bytearray(whole)
        bad[at] ^= 0xFF
        path.write_bytes(bad)
        try:
            assert read_picture(path, (4, 4)).shape == (3, 4, 4)
        except FileError:
            continue


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("none.png", "expected a file; no such file"),
        ("sub", "expected a file, got a folder"),
        ("a\0b", "expected a file; "),
        ("https://example.org/a.png", "expected a file; no such file"),
    ],
)
@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_a_path_that_is_no_file_is_named_at_once(tmp_path, cell, said, kind):
    (tmp_path / "sub").mkdir()
    (tmp_path / "t.csv").write_text(f"p\n{cell}\n")
    with pytest.raises(FileError, match=rf"t\.csv, line 2, column 'p': .*{said}"):
        read(tmp_path / "t.csv", {"m": f"p:{kind}"})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("path:pictur", "'m': a table's columns are one of .*got 'pictur'"),
        ("path:pictur:32", "'m': a table's columns are one of .*got 'pictur'"),
        ("path:image", "got 'image'.* For picture files it is 'picture'"),
        ("path:picture:huge", "'m': expected a picture's size .*got 'huge'"),
        ("path:picture:0x4", "'m': size: expected a whole number >= 1"),
        ("path:picture:9999999", "'m': size: .*<= 8192"),
        ("path:picture:4x4x4", "got '4x4x4'"),
        ("path:sound:fast", "'m': expected samples per second .*got 'fast'"),
        ("path:sound:0", "'m': rate: expected a whole number >= 1"),
        ("path:sound:0s", "'m': seconds: expected a number > 0"),
        ("path,caption:picture", r"'m': picture is one column, got \['path', 'caption'\]"),
        ("nope:picture", "'m': .* has no column 'nope'"),
        ("caption:text:32", "'m': text takes no options; got"),
    ],
)
def test_specifications_that_make_no_modality(table, spec, said):
    with pytest.raises(ParameterError, match=said):
        read(table[0], {"m": spec})


def test_arguments_that_cannot_be_used(tmp_path):
    with pytest.raises(ParameterError, match=r"one for each row, got the path 'a\.png'"):
        Pictures("a.png")
    with pytest.raises(ParameterError, match="a width and a height"):
        Pictures([], size=(1, 2, 3))
    with pytest.raises(ParameterError, match="colour: expected one of 'rgb', 'grey'"):
        Pictures([], colour="blue")
    with pytest.raises(ShapeError, match="'p': declared 'vector', but it is 'image'"):
        Modalities({"p": Pictures([None])}, kinds={"p": "vector"})


def test_two_modalities_of_one_column(table):
    X = read(table[0], {"a": "path:picture:4", "b": "path:picture:8:grey", "c": "path:text"}).X
    assert X["a"].shape[1:] == (3, 4, 4) and X["b"].shape[1:] == (1, 8, 8)
    assert X["c"][0] == "pics/0.png"


def test_pictures_are_written_as_arrays(tmp_path, table):
    data = load(table[0])
    write_npz(data, tmp_path / "d.npz")
    again = read_npz(tmp_path / "d.npz")
    np.testing.assert_array_equal(again.X["image"], np.asarray(data.X["image"]))
    np.testing.assert_array_equal(again.X.present["image"], data.X.present["image"])


def tone(path, seconds=0.05, rate=8000, dtype=np.int16, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    wave_ = 0.5 * np.sin(2 * np.pi * 440 * t)
    scale = {np.uint8: (127, 128), np.int16: (32767, 0), np.int32: (2**31 - 1, 0)}
    gain, offset = scale.get(dtype, (1, 0))
    body = (wave_ * gain + offset).astype(dtype)
    wavfile.write(path, rate, np.column_stack([body] * channels) if channels > 1 else body)
    return wave_


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_sample_format_is_the_same_sound(tmp_path, dtype, channels):
    expected = tone(tmp_path / "a.wav", dtype=dtype, channels=channels)
    rate, found = read_sound(tmp_path / "a.wav")
    assert rate == 8000 and found.dtype == np.float32
    step = 2 / 127 if dtype == np.uint8 else 2 / 32767  # of the coarsest that it can be
    np.testing.assert_allclose(found, expected, atol=step)


def test_24_bits_and_channels_that_differ(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(8000)
        for left, right in ((2**22, 0), (-(2**22), -(2**22))):
            file.writeframes(b"".join(v.to_bytes(3, "little", signed=True) for v in (left, right)))
    assert read_sound(tmp_path / "a.wav")[1].tolist() == [0.25, -0.5]


def test_sounds_keep_their_length_and_their_rate(tmp_path):
    expected = tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav", seconds=0.1)
    tone(tmp_path / "c.wav", rate=16000, seconds=0.1)
    (tmp_path / "t.csv").write_text("take,word\na.wav,x\n,y\nb.wav,z\n")
    X = read(tmp_path / "t.csv", {"sound": "take:sound", "word": "word:text"}).X
    assert str(X.kind("sound")) == "waveform (t)"
    assert X.present["sound"].tolist() == [True, False, True]
    np.testing.assert_allclose(X["sound"][0], expected, atol=2 / 32767)  # cut to 16 bits
    assert [len(s) for s in X["sound"]] == [400, 0, 800] and X["sound"].load()[1] is None
    held = Modalities({"sound": X["sound"].load(), "word": X["word"]})
    readers = [learn_input(M, "sound") for M in (X, held)]
    # The same samples, summed in another order.
    np.testing.assert_allclose(readers[0].scale, readers[1].scale, rtol=1e-6)
    a, b = (
        Rows(M.select("sound"), {"sound": readers[1]}).take(np.array([2, 1])) for M in (X, held)
    )
    assert a.values["sound"].equal(b.values["sound"]) and a.lengths["sound"].tolist() == [800, 0]
    for M in (X, held):
        assert transform_features(fit_features(M), M)["sound"].shape == (3, 2)
    paths = [tmp_path / "a.wav", tmp_path / "c.wav"]
    slow = Sounds(paths, rate=4000, seconds=0.05)
    assert [len(s) for s in slow] == [200, 200]
    t = np.arange(200) / 4000
    middle = slice(20, 180)  # away from the ends, where the filter sees silence
    np.testing.assert_allclose(
        slow[1][middle], 0.5 * np.sin(2 * np.pi * 440 * t)[middle], atol=5e-3
    )  # ripple of the resampling filter
    with pytest.raises(FileError, match=r"row 1: .*c\.wav': it has 16000 .*first file 8000.*rate"):
        Sounds(paths).load()
    with pytest.raises(ShapeError, match="different length"):
        np.asarray(slow)


def test_a_broken_sound_is_named_with_its_row(tmp_path):
    tone(tmp_path / "good.wav")
    whole = (tmp_path / "good.wav").read_bytes()
    nothing = io.BytesIO()
    wavfile.write(nothing, 8000, np.zeros(0, np.int16))
    silent = io.BytesIO()
    wavfile.write(silent, 8000, np.array([np.nan], np.float32))
    for body, said in (
        (b"", "cannot be read"),
        (whole[:30], "cannot be read"),
        (whole[:45], "cannot be read"),
        (whole[:100], "cannot be read; Reached EOF"),
        (nothing.getvalue(), "without samples"),
        (silent.getvalue(), "NaN"),
        (b"ID3" + bytes(100), "cannot be read"),
    ):
        (tmp_path / "bad.wav").write_bytes(body)
        sounds = Sounds(["good.wav", "bad.wav"], folder=tmp_path)
        with pytest.raises(FileError, match=rf"row 1: '.*bad\.wav': .*{said}"):
            sounds.load()
    (tmp_path / "long.wav").write_bytes(whole + b"LIST" + struct.pack("<I", 4) + b"abcd")
    assert len(read_sound(tmp_path / "long.wav")[1]) == 400


def test_deep_training_reads_files_in_batches(table):
    """The same network from files and from memory; a checkpoint knows the files' content."""
    from triptych import Training
    from triptych.coordination import CLIP

    lazy = load(table[0]).X
    whole = np.flatnonzero(lazy.present["image"] & lazy.present["words"])
    lazy = lazy[whole]
    held = Modalities({"image": np.asarray(lazy["image"]), "words": lazy["words"]})
    models = [
        CLIP(n_components=4, training=Training(epochs=1, batch_size=4), random_state=0).fit(X)
        for X in (lazy, held)
    ]
    codes = [m.transform(lazy)["image"] for m in models]
    np.testing.assert_array_equal(*codes)
    rows = Rows(lazy, models[0].inputs_)
    before = models[0]._fingerprint(rows)
    assert models[0]._fingerprint(Rows(lazy, models[0].inputs_)) == before
    draw(table[0].parent / "pics" / "5.png", 99)
    assert models[0]._fingerprint(rows) != before


def test_the_marker_is_of_files_only():
    from triptych.arrays import is_lazy, is_on_demand

    assert is_on_demand(Pictures([])) and is_lazy(Pictures([]))
    assert not is_on_demand(np.zeros(2)) and not is_on_demand([])
    assert media.loaded([1]) == [1] and len(Dataset(Modalities({"p": Pictures([None])}))) == 1


def test_options_said_twice_are_refused():
    for words in (["4x4", "grey", "rgb"], ["8", "8x8"]):
        with pytest.raises(ParameterError, match="said twice"):
            media.picture_options(words)
    with pytest.raises(ParameterError, match="rate: said twice, 8000 and 16000"):
        media.sound_options(["8000", "16000"])


def test_relative_paths_are_found_from_another_folder(tmp_path, monkeypatch):
    draw(tmp_path / "0.png", 0)
    monkeypatch.chdir(tmp_path)
    rows = Pictures(["0.png"], size=np.int64(4))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert rows.load().shape == (1, 3, 4, 4)


@pytest.mark.parametrize("path", [3, float("nan"), b"0.png"])
def test_what_is_no_path_is_named_with_its_row(path):
    with pytest.raises(ParameterError, match="paths, row 1: expected a path or None"):
        Pictures([None, path])
    with pytest.raises(ParameterError, match="size"):
        Pictures([], size=4.5)
