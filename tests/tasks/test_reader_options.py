"""Options of all eight readers: stated, honoured or refused, and recorded so that they can be read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import MissingError, UsageError
from tasks.catalog import DATASETS
from tasks.classification.data import build
from tasks.datasets import DataOptions, DatasetIndex, DataSource, catalogue, read_index
from tasks.datasets.catalogue import ANY_SPLIT, READERS, options_known, options_of
from tasks.datasets.division import divide
from tasks.datasets.options import recorded_options
from tasks.datasets.split_files import write_split_file

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]

CHIPS = ("fusar_air", "fusar_ship", "sar_acd")


def _xml(name: str) -> str:
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>6</ymax></bndbox>"
    return f"<annotation><object><name>{name}</name>{box}</object></annotation>"


def _write_chips(root: Path, folders: list[str], ending: str, write: WriteImage, texture: Texture) -> None:
    for label, folder in enumerate(folders):
        for number in range(10):
            write(root / folder / f"{number}.{ending}", texture(100 * label + number))


def _write_voc(root: Path, target: str, write: WriteImage, texture: Texture) -> None:
    for number in range(8):
        write(root / "JPEGImages" / f"{number}.jpg", texture(number))
        path = root / "Annotations" / f"{number}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_xml(target))


def _write_aircraft(root: Path, write: WriteImage, texture: Texture) -> None:
    """Besides eight images, one that only the list of the training part names."""
    _write_voc(root, "A220", write, texture)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, numbers in {"train": (0, 1, 2, 3, 9), "val": (4, 5), "test": (6, 7)}.items():
        (lists / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))


def _write_coco(root: Path, write: WriteImage, texture: Texture) -> None:
    images = [{"id": number, "file_name": f"{number}.png", "scene": f"s{number // 2}"} for number in range(8)]
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4]} for number in range(8)]
    for image in images:
        write(root / "images" / str(image["file_name"]), texture(int(str(image["id"]))))
    known = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cargo"}]}
    (root / "instances_all.json").write_text(json.dumps(known))


def _write_map(root: Path, write: WriteImage, texture: Texture) -> None:
    for number in range(8):
        place = f"City_{number // 2}_01_01_0{number}"
        write(root / "sar_64" / f"{place}_SAR_{number}.tif", texture(number))
        write(root / "lab_64" / f"{place}_Label_{number}.tif", np.zeros((9, 12, 3), dtype=np.uint8))


def _write_polarised(root: Path, write: WriteImage, texture: Texture) -> None:
    for number in range(6):
        place = root / ("train_set" if number < 4 else "test_set") / f"AIR-PolarSAR-Seg-{number}"
        for shift, band in enumerate(("HH", "HV", "VH", "VV")):
            write(place.with_name(f"{place.name}_{band}.tiff"), texture(10 * number + shift).astype(np.uint16))
        write(place.with_name(f"{place.name}_gt.png"), np.full((9, 12, 3), (0, 255, 255), dtype=np.uint8))


@pytest.fixture
def sources(tmp_path: Path, write_image: WriteImage, texture: Texture) -> dict[str, DataSource]:
    """All eight data sets in their layouts, tiny; `voc` is a second layout of FU-SS, `parts` one of FUSAR-AIR."""
    roots = {name: tmp_path / name for name in (*DATASETS, "voc", "parts")}
    write = (write_image, texture)
    _write_chips(roots["fusar_air"], ["one", "two"], "png", *write)
    _write_chips(roots["parts"], [f"{part}/{name}" for part in ("train", "test") for name in "ab"], "png", *write)
    _write_chips(roots["fusar_ship"], ["ShipCategory/Cargo/A", "ShipCategory/Tanker/B"], "tiff", *write)
    types = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")
    _write_chips(roots["sar_acd"], [f"images/{name}" for name in types], "jpg", *write)
    _write_coco(roots["fusar_air_sense"], *write)
    _write_coco(roots["fusar_ship_sense"], *write)
    _write_voc(roots["voc"], "cargo", *write)
    _write_aircraft(roots["sar_aircraft_few"], *write)
    _write_map(roots["fusar_map"], *write)
    _write_polarised(roots["air_polarsar_seg"], *write)
    dataset = {"voc": "fusar_ship_sense", "parts": "fusar_air"}
    return {name: DataSource(dataset.get(name, name), root) for name, root in roots.items()}


def _read(sources: dict[str, DataSource], name: str, **options: Any) -> DatasetIndex:
    return read_index(sources[name], DataOptions(allow_bad=True, **options))


CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in (*DATASETS, "voc", "parts")),
    *((name, {"split": "1:1"}) for name in (*DATASETS, "voc")),
    *((name, {"split": "official"}) for name in ("parts", "sar_aircraft_few", "air_polarsar_seg")),
    ("fusar_air", {"group_near_duplicates": True}),
    ("fusar_ship", {"label_map": "ship7", "split": "2:1"}),
    ("fusar_ship_sense", {"label_map": "fine", "group": "image"}),
    ("voc", {"label_map": "fine", "voc_origin": 0}),
    ("sar_aircraft_few", {"pool": "trainval"}),
    ("sar_aircraft_few", {"voc_origin": 0, "split": "3:1"}),
    ("fusar_map", {"label_map": "map5", "group": "scene", "split": "1:1"}),
    ("air_polarsar_seg", {"polarisation": "pseudo", "split": "official"}),
    ("air_polarsar_seg", {"class_order": ("water", "housing", "industrial", "natural", "land use", "other")}),
]


@pytest.mark.parametrize(("name", "options"), CHOICES, ids=lambda value: str(value))
def test_what_is_recorded_reads_the_same_data_again(
    sources: dict[str, DataSource], name: str, options: dict[str, Any]
) -> None:
    index = _read(sources, name, **options)
    again = read_index(sources[name], recorded_options(dict(index.choices), index.label_map))
    assert again.data_hash == index.data_hash and again == index
    assert divide(again) == divide(index)
    plain = read_index(sources[name], recorded_options(dict(index.choices), ""))
    assert plain.data_hash == index.data_hash  # the label map is among the choices as well


def test_a_split_file_leaves_the_data_as_they_are(sources: dict[str, DataSource], tmp_path: Path) -> None:
    """Where the file lay is not recorded: the images are the same under every split."""
    whole = _read(sources, "air_polarsar_seg")
    path, *_ = write_split_file(tmp_path / "s.json", whole.dataset, whole.data_hash, divide(whole), {})
    index = _read(sources, "air_polarsar_seg", split_file=path)
    assert read_index(sources["air_polarsar_seg"], recorded_options(dict(index.choices), "")).images


class _Watched:
    """Notes which options a reader looks at."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(DataOptions(), name)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_reader_looks_at_the_options_that_it_states_and_at_no_other(
    sources: dict[str, DataSource], dataset: str
) -> None:
    module: ModuleType = getattr(catalogue, dataset)
    watched: Any = _Watched()
    READERS[dataset].find(sources[dataset].root, READERS[dataset].label_map, watched)
    assert watched.seen | {"label_map"} == set(module.OPTIONS) == set(READERS[dataset].options)
    assert options_known(dataset) == (*module.OPTIONS, *ANY_SPLIT)


@pytest.mark.parametrize("dataset", CHIPS)
def test_a_ratio_counts_for_chips_and_nonsense_is_refused(sources: dict[str, DataSource], dataset: str) -> None:
    usual, halves = (build(_read(sources, dataset, split=ratio)) for ratio in (None, "1:1"))
    per_class = len(usual.classes)
    assert (len(usual.train), len(usual.test)) == (8 * per_class, 2 * per_class)
    assert (len(halves.train), len(halves.test)) == (5 * per_class, 5 * per_class)
    assert dict(halves.index.choices)["split"] == "1:1" and "split" not in dict(usual.index.choices)
    with pytest.raises(UsageError, match="not a split"):
        _read(sources, dataset, split="nonsense")


def test_the_parts_of_fusar_air_count_when_they_are_asked_for(sources: dict[str, DataSource]) -> None:
    data = build(_read(sources, "parts", split="official"))
    assert {chip.image_id.split("/")[0] for chip in data.train} == {"train"} and len(data.train) == 20
    assert {chip.image_id.split("/")[0] for chip in data.test} == {"test"} and len(data.test) == 20
    pooled = build(_read(sources, "parts"))
    assert {chip.image_id.split("/")[0] for chip in pooled.test} == {"train", "test"}
    shutil.rmtree(sources["parts"].root / "test")
    with pytest.raises(MissingError, match="needs train and test"):
        _read(sources, "parts", split="official")


@pytest.mark.parametrize("dataset", ["fusar_air", "fusar_ship", "sar_acd", "fusar_air_sense", "fusar_map"])
def test_official_parts_that_are_not_there_are_refused(sources: dict[str, DataSource], dataset: str) -> None:
    with pytest.raises((MissingError, UsageError), match="official split"):
        _read(sources, dataset, split="official")


def test_an_option_written_for_one_data_set_must_be_known_to_it() -> None:
    with pytest.raises(UsageError, match="sar_acd has no option --voc-origin") as caught:
        options_of("sar_acd", {"voc_origin": {"sar_acd": "0"}})
    assert "--label-map, --split, --split-file, --group-near-duplicates" in caught.value.way_out
    for_all = {"voc_origin": {"": "0"}, "split": {"": "1:1", "sar_acd": "2:1"}}
    assert options_of("sar_acd", for_all) == DataOptions(split="2:1")
    assert options_of("sar_aircraft_few", for_all) == DataOptions(split="1:1", voc_origin=0)
    # What is written for others is their business.
    assert options_of("fusar_map", {"voc_origin": {"sar_acd": "0"}}) == DataOptions()


def test_an_image_has_the_labels_of_its_own_its_boxes_and_its_mask(sources: dict[str, DataSource]) -> None:
    found = {name: [image.labels for image in _read(sources, name).images] for name in DATASETS}
    assert found["sar_acd"][0] == {0} and found["sar_acd"][-1] == {5}
    assert found["sar_aircraft_few"][0] == {0} and found["fusar_map"][0] == {0}
    assert found["air_polarsar_seg"][0] == {3}
