"""Models of other libraries by their names there: `open_clip:NAME@TAG` and `hf:ORG/NAME`. Never imports torch.

Their image towers are plain vision transformers, so a name becomes an ordinary card: geometry from the library's own
configuration, weights as a file, tensors through the layout of that family. Nothing is downloaded: a file that is
already in the Hugging Face cache of this machine is used where it lies, any other is named with how to get it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from adapters.card import Activation, Architecture, InputContract, WeightSource
from adapters.catalogue import common_input
from foundation.errors import MissingError, UsageError
from foundation.names import unknown_name

OPEN_CLIP_LAYOUT = "openai_clip"
HUB_LAYOUTS = {"clip": "hf_clip", "clip_vision_model": "hf_clip", "vit": "hf_vit"}
"""`model_type` of a configuration on the hub -> layout of its tensors."""

_HUB_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_PLAIN_TOWER = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_DEFAULT_TOWER = {"image_size": 224, "layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "mlp_ratio": 4.0}
"""Defaults of open_clip's CLIPVisionCfg."""


class LibraryModel(NamedTuple):
    """What a library says of one of its models."""

    name: str
    """As the library spells it, with the tag of the weights after an @."""
    architecture: Architecture
    input: InputContract
    weights: WeightSource
    layout: str | None
    note: str


# ---- open_clip


def is_open_clip_name(name: str) -> bool:
    """Whether open_clip has a configuration of this name, whatever the case of its letters."""
    return name.lower() in _open_clip_configs()


def open_clip_architecture(name: str) -> Architecture:
    """The image tower of an open_clip configuration; a tower that is no plain ViT is refused."""
    configs = _open_clip_configs()
    if name.lower() not in configs:
        known = [path.stem for path in configs.values()]
        raise unknown_name("open_clip model", name, known, see="open_clip.list_models()")
    path = configs[name.lower()]
    config = json.loads(path.read_text(encoding="utf-8"))
    tower: dict[str, Any] = config["vision_cfg"]
    _require_plain_tower(path.stem, tower)
    tower = _DEFAULT_TOWER | tower
    return Architecture(
        kind="vit",
        width=tower["width"],
        depth=tower["layers"],
        heads=tower["width"] // tower["head_width"],
        patch=tower["patch_size"],
        mlp_ratio=tower["mlp_ratio"],
        activation="quick_gelu" if config.get("quick_gelu") else "gelu",
        norm_eps=1e-5,
        pre_norm=True,
        patch_bias=False,
        image_size=tower["image_size"],
    )


def open_clip_model(name: str, tag: str | None) -> LibraryModel:
    """An open_clip model from scratch, or with the weights of a tag."""
    architecture = open_clip_architecture(name)
    true_name = _open_clip_configs()[name.lower()].stem
    if tag is None:
        return LibraryModel(true_name, architecture, common_input("clip"), WeightSource(kind="random"), None, "")
    tags = _open_clip_weights().get(true_name, {})
    spelt = tag.lower().replace("-", "_")
    if spelt not in tags:
        raise unknown_name(f"weights of open_clip's {true_name}", tag, tags, see="open_clip.list_pretrained()")
    published = tags[spelt]
    note = ""
    if published.get("quick_gelu") and architecture.activation != "quick_gelu":
        # open_clip warns of this and goes on with GELU; the weights were trained with QuickGELU.
        architecture = architecture.model_copy(update={"activation": "quick_gelu"})
        note = "QuickGELU as the weights were trained, although the configuration of this name says GELU"
    contract = InputContract(mean=tuple(published["mean"]), std=tuple(published["std"]))
    source = _open_clip_source(published)
    return LibraryModel(f"{true_name}@{spelt}", architecture, contract, source, OPEN_CLIP_LAYOUT, note)


def _require_plain_tower(name: str, tower: Mapping[str, Any]) -> None:
    if "timm_model_name" in tower:
        raise UsageError(
            f"the image tower of open_clip's {name} is timm's {tower['timm_model_name']}",
            where=f"open_clip:{name}",
            way_out=f"write timm:{tower['timm_model_name']}, with @pretrained for timm's copy of the weights",
        )
    odd = sorted(key for key, value in tower.items() if key not in _PLAIN_TOWER and value)
    if odd or not isinstance(tower.get("layers", 12), int):
        raise UsageError(
            f"the image tower of open_clip's {name} is no plain vision transformer ({', '.join(odd) or 'a ResNet'})",
            where=f"open_clip:{name}",
            way_out="choose a ViT without these options, or announce it as a model object (harness models new)",
        )


@cache
def _open_clip_home() -> Path:
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError("open_clip is not installed", way_out="pip install open_clip_torch")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _open_clip_configs() -> dict[str, Path]:
    return {path.stem.lower(): path for path in sorted((_open_clip_home() / "model_configs").glob("*.json"))}


@cache
def _open_clip_weights() -> dict[str, dict[str, dict[str, Any]]]:
    """open_clip's own table of published weights.

    The module that holds it imports torch by way of safetensors; so its tables are run without those imports.
    """
    values: dict[str, Any] = {}
    for name in ("constants.py", "pretrained.py"):
        path = _open_clip_home() / name
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [statement for statement in tree.body if _needs_no_library(statement)]
        exec(compile(tree, str(path), "exec"), values)  # source of a library that is installed, as importing would
    table: dict[str, dict[str, dict[str, Any]]] = values["_PRETRAINED"]
    return table


def _needs_no_library(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and statement.module in ("functools", "typing")
    return not isinstance(statement, ast.Try)


def _open_clip_source(published: Mapping[str, Any]) -> WeightSource:
    licence = "see the model's page"
    repository, _, filename = str(published.get("hf_hub", "")).rpartition("/")
    if not repository:
        url = str(published["url"])
        return WeightSource(kind="url", url=url, filename=url.rpartition("/")[2], licence=licence)
    # Without a file name open_clip takes the first of these that is published.
    candidates = [filename] if filename else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    found = next((path for name in candidates if (path := cached_file(repository, name))), None)
    if found is not None:
        return WeightSource(kind="file", hub_id=repository, filename=found.name, path=str(found), licence=licence)
    return WeightSource(kind="hub", hub_id=repository, filename=candidates[0], licence=licence)


# ---- Hugging Face hub


def hub_model(repository: str) -> LibraryModel:
    """A CLIP or ViT model whose configuration and weights are in the Hugging Face cache of this machine."""
    repository = _repository(repository)
    config_file = cached_file(repository, "config.json")
    if config_file is None:
        raise _not_cached(repository, "config.json")
    config = _read_json(config_file)
    family = str(config.get("model_type"))
    if family not in HUB_LAYOUTS:
        raise UsageError(
            f"{repository} is of the family {family!r}; read are {', '.join(sorted(HUB_LAYOUTS))}",
            where=str(config_file),
            way_out="look whether timm has it (timm:NAME@pretrained), or announce it as a model object "
            "(harness models new)",
        )
    weights = next((path for name in _HUB_FILES if (path := cached_file(repository, name))), None)
    if weights is None:
        raise _not_cached(repository, _HUB_FILES[0])
    architecture = _clip_tower(config) if HUB_LAYOUTS[family] == "hf_clip" else _vit_tower(config)
    contract = _hub_contract(repository, "clip" if HUB_LAYOUTS[family] == "hf_clip" else "half")
    if architecture.in_channels != contract.channels:
        raise UsageError(
            f"{repository} takes {architecture.in_channels} channels and its statistics are for {contract.channels}",
            where=str(config_file),
            way_out="describe it in a model file with an input of its own",
        )
    source = WeightSource(
        kind="file", hub_id=repository, filename=weights.name, path=str(weights), licence="see the model's page"
    )
    return LibraryModel(repository, architecture, contract, source, HUB_LAYOUTS[family], "")


def cached_file(repository: str, filename: str) -> Path | None:
    """A file in the Hugging Face cache, found without a network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename, cache_dir=constants.HF_HUB_CACHE)
    return Path(found) if isinstance(found, str) else None


def _repository(written: str) -> str:
    """`org/name` of what was written; the id of such a card, `org--name` in lower case, is understood too."""
    repository = written.replace("--", "/")
    if repository.count("/") > 1 or not all(repository.split("/")):
        raise UsageError(
            f"not a repository of the hub: {written!r}", way_out="write hf:ORG/NAME, for example hf:openai/clip-vit-b"
        )
    from huggingface_hub import constants

    cache_folder = Path(constants.HF_HUB_CACHE)
    wanted = "models--" + repository.replace("/", "--")
    if not (cache_folder / wanted).is_dir() and cache_folder.is_dir():
        for folder in cache_folder.iterdir():
            if folder.name.lower() == wanted.lower():
                return folder.name.removeprefix("models--").replace("--", "/")
    return repository


def _not_cached(repository: str, filename: str) -> MissingError:
    from huggingface_hub import constants

    return MissingError(
        f"{filename} of {repository} is not in the Hugging Face cache of this machine",
        where=str(constants.HF_HUB_CACHE),
        way_out=f"run `hf download {repository}` where there is a network, and bring the cache along (HF_HOME)",
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MissingError(f"not valid JSON: {error}", where=str(path), way_out="download the model again") from error
    return content if isinstance(content, dict) else {}


def _clip_tower(config: Mapping[str, Any]) -> Architecture:
    """Image tower of transformers' CLIPModel or CLIPVisionModel; what is not written has CLIPVisionConfig's value."""
    nested = config.get("vision_config")
    tower = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
        "image_size": 224,
        "num_channels": 3,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    } | dict(nested if isinstance(nested, dict) else config)
    return _tower(tower, pre_norm=True, patch_bias=False)


def _vit_tower(config: Mapping[str, Any]) -> Architecture:
    """The ViTModel of transformers; what is not written has ViTConfig's value."""
    tower = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 16,
        "image_size": 224,
        "num_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    } | dict(config)
    if tower.get("qkv_bias") is False:
        raise UsageError("a ViT without biases in its attention is not read", way_out="announce it as a model object")
    return _tower(tower, pre_norm=False, patch_bias=True)


def _tower(tower: Mapping[str, Any], *, pre_norm: bool, patch_bias: bool) -> Architecture:
    activations: dict[str, Activation] = {"gelu": "gelu", "quick_gelu": "quick_gelu"}
    if tower["hidden_act"] not in activations:
        raise UsageError(
            f"the activation {tower['hidden_act']!r} is not known here",
            way_out=f"known are {', '.join(activations)}; announce it as a model object (harness models new)",
        )
    return Architecture(
        kind="vit",
        width=tower["hidden_size"],
        depth=tower["num_hidden_layers"],
        heads=tower["num_attention_heads"],
        patch=tower["patch_size"],
        mlp_ratio=tower["intermediate_size"] / tower["hidden_size"],
        activation=activations[tower["hidden_act"]],
        norm_eps=tower["layer_norm_eps"],
        pre_norm=pre_norm,
        patch_bias=patch_bias,
        in_channels=tower["num_channels"],
        image_size=tower["image_size"],
    )


def _hub_contract(repository: str, usual: str) -> InputContract:
    """The statistics beside the weights, else those that the family usually has."""
    path = cached_file(repository, "preprocessor_config.json")
    stated = _read_json(path) if path is not None else {}
    if not stated.get("image_mean") or not stated.get("image_std"):
        return common_input(usual)
    mean, std = tuple(stated["image_mean"]), tuple(stated["image_std"])
    return InputContract(channels=len(mean), grey_rule="single" if len(mean) == 1 else "replicate", mean=mean, std=std)
