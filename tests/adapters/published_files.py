"""Checkpoints as they are published, made from their tensor names and shapes: no weights, but every name and sibling.

Names and shapes are those of the upstream code (section 9 of the adapter specification), one line per tensor. In a
shape `D` is the width, `N` the rows of the position table, `p` the patch, `E` the projection, `W` the text width, and
`Q` that of a decoder, `4D` four times `D`; `{wb}` stands for a weight and its bias, `{i}` for the number of a block.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adapters.card import ModelCard
from adapters.registry import catalog
from tests.adapters.published_names import (
    CLIP,
    CLIP_END,
    CLIP_TEXT,
    DECODER_BLOCK,
    FLAX,
    HF_CLIP,
    HIVIT_STEM,
    MMSEG,
    SAN_TAIL,
    TIMM,
    TIMM_BLOCK,
)

Shapes = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


# ---- names and shapes

DECODER_WIDTH = 512
_TERM = re.compile(r"(\d*)([A-Za-z]?)")


def expanded(template: str, symbols: dict[str, int], blocks: range = range(0), prefix: str = "") -> Shapes:
    """The lines of a template as names and shapes."""
    shapes: Shapes = {}
    for line in template.split("\n"):
        if not line.strip():
            continue
        name, _, text = line.partition(" ")
        shape = tuple(_number(term, symbols) for term in text.split(",")) if text else ()
        for number in blocks if "{i}" in name else (0,):
            spelt = prefix + name.replace("{i}", str(number))
            if spelt.endswith("{wb}"):
                shapes[spelt.replace("{wb}", "weight")] = shape
                shapes[spelt.replace("{wb}", "bias")] = shape[:1]
            else:
                shapes[spelt] = shape
    return shapes


def _number(term: str, symbols: dict[str, int]) -> int:
    match = _TERM.fullmatch(term)
    assert match is not None, term
    return int(match[1] or 1) * (symbols[match[2]] if match[2] else 1)


def shapes_of(card: ModelCard) -> Shapes:
    """All names and shapes of the card's file at the card's width, the encoder's and those beside it."""
    architecture = card.architecture
    assert architecture is not None
    width, depth = architecture.width, architecture.depth
    rows = 1 + (architecture.image_size // architecture.patch) ** 2
    text = width * 2 // 3 if card.backbone == "ViT-Base" else width * 3 // 4
    symbols = {"D": width, "N": rows, "p": architecture.patch, "E": text, "W": text, "V": 64}
    symbols |= {
        "Q": DECODER_WIDTH if width >= DECODER_WIDTH else 32,
        "H": architecture.heads,
        "h": width // architecture.heads,
    }
    return _FILES[card.checkpoint_id or ""](symbols, depth)


Build = Callable[[dict[str, int], int], Shapes]


def _clip(prefix: str = "", *, scalars: tuple[str, ...] = ()) -> Build:
    def build(s: dict[str, int], depth: int) -> Shapes:
        shapes = expanded(CLIP + CLIP_END, s, range(depth), f"{prefix}visual.")
        shapes |= expanded(CLIP_TEXT, s, range(12), prefix)
        return shapes | {f"{prefix}logit_scale": ()} | dict.fromkeys(scalars, ())

    return build


def _ban(s: dict[str, int], depth: int) -> Shapes:
    beside = ("decode_head.side_adapter_network.x", "decode_head.mask_decoder.x")
    return expanded(MMSEG, s, range(depth), "image_encoder.") | dict.fromkeys(beside, (1,))


def san(s: dict[str, int], depth: int, split: int) -> Shapes:
    """The CLIP files of OpenMMLab's model zoo: the tower in two parts."""
    tail = expanded(SAN_TAIL, s, range(depth - split), "decode_head.rec_with_attnbias.")
    text = expanded(CLIP_TEXT, s, range(12), "text_encoder.") | {"text_encoder.logit_scale": ()}
    return expanded(MMSEG, s, range(split), "image_encoder.") | tail | text


def _changeclip(s: dict[str, int], depth: int) -> Shapes:
    shapes = expanded(CLIP + CLIP_END, s, range(depth), "backbone.")
    lines = "fpn1.0.{wb} D\nfpn1.1.{wb} D,D,2,2\nfpn1.2.{wb} D\nfpn1.2.running_mean D\nfpn1.2.num_batches_tracked\n"
    lines += "fpn1.4.{wb} D,D,2,2\nfpn2.0.{wb} D\nfpn2.1.{wb} D,D,2,2\nfpn3.{wb} D\nfpn4.0.{wb} D"
    shapes |= expanded(lines, s, prefix="backbone.")
    shapes |= expanded(CLIP_TEXT, s, range(12), "text_encoder.")
    beside = ("context_decoder.x", "minus_conv.x", "channel_att.x", "neck.x", "decode_head.x", "gamma")
    return shapes | dict.fromkeys(beside, (1,)) | {"contexts2": (1, 1, 13, s["W"])}


def _prithvi(prefix: str = "", beside: str = "") -> Build:
    def build(s: dict[str, int], depth: int) -> Shapes:
        shapes = expanded(TIMM.replace("D,3,p,p", "D,6,1,p,p"), s, range(depth), prefix)
        shapes[f"{prefix}pos_embed"] = (1, 1 + 3 * (s["N"] - 1), s["D"])
        lines = "decoder_embed.{wb} 512,D\nmask_token 1,1,512\ndecoder_pos_embed 1,589,512\n"
        lines += "decoder_norm.{wb} 512\ndecoder_pred.{wb} 1536,512\n"
        return shapes | expanded(lines + DECODER_BLOCK, s, range(8), beside)

    return build


def _fusar_klip(s: dict[str, int], depth: int) -> Shapes:
    return _blip(s, depth) | {"image_queue": (256, 20000)}


def _blip(s: dict[str, int], depth: int) -> Shapes:
    shapes = expanded(TIMM, s, range(depth), "visual_encoder.")
    shapes |= expanded(TIMM, s, range(depth), "visual_encoder_m.")
    lines = "temp\nvision_proj.{wb} 256,D\nvision_proj_m.{wb} 256,D\ntext_proj.{wb} 256,768\nitm_head.{wb} 2,768\n"
    lines += "image_queue 256,57600\nqueue_ptr 1\ntext_encoder.embeddings.position_ids 1,512\n"
    lines += "text_encoder.embeddings.word_embeddings.weight V,768\ntext_decoder.bert.embeddings.LayerNorm.{wb} 768\n"
    return shapes | expanded(lines, s)


def _sar_jepa(s: dict[str, int], depth: int) -> Shapes:
    shapes = expanded(TIMM.replace("D,3,p,p", "D,1,p,p"), s, range(depth))
    shapes |= {f"blocks.{i}.attn.rpe_k.lookup_table_weight": (1, s["h"], 50) for i in range(depth)}
    shapes |= {f"decoder_blocks.{i}.attn.rpe_k.lookup_table_weight": (1, 32, 50) for i in range(8)}
    lines = "mask_token 1,1,D\nencoder_pred.{wb} 512,D\ndecoder_norm.{wb} 512\ndecoder_pred.{wb} 1024,512\n"
    shapes |= expanded(lines + DECODER_BLOCK, s, range(8))
    for level, side in enumerate((11, 19, 27, 35), start=1):
        shapes |= {f"sarfeature{level}.weight_{axis}": (1, 1, side, side) for axis in ("x1", "x2", "y1", "y2")}
    return shapes


def mae(s: dict[str, int], depth: int, *, full: bool = False) -> Shapes:
    """MAE's public file, or with `full` the one that keeps the decoder."""
    lines = "decoder_embed.{wb} 512,D\nmask_token 1,1,512\ndecoder_pos_embed 1,N,512\n"
    lines += "decoder_norm.{wb} 512\ndecoder_pred.{wb} 768,512\n"
    return expanded(TIMM, s, range(depth)) | (expanded(lines + DECODER_BLOCK, s, range(8)) if full else {})


def _moco(s: dict[str, int], depth: int) -> Shapes:
    shapes: Shapes = {}
    hidden = 4096 * s["D"] // 768
    for encoder in ("base_encoder", "momentum_encoder"):
        shapes |= expanded(TIMM, s, range(depth), f"module.{encoder}.")
        shapes |= _projector(f"module.{encoder}.head.", (s["D"], hidden, hidden, 256))
    return shapes | _projector("module.predictor.", (256, hidden, 256))


def _projector(prefix: str, widths: tuple[int, ...]) -> Shapes:
    """Linear layers without bias, each followed by a batch norm; the last one without learned scale."""
    shapes: Shapes = {}
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        last = layer == len(widths) - 2
        norm = f"{prefix}{3 * layer + 1}."
        shapes[f"{prefix}{3 * layer}.weight"] = (after, before)
        shapes |= {} if last else {f"{norm}weight": (after,), f"{norm}bias": (after,)}
        shapes |= {f"{norm}running_mean": (after,), f"{norm}running_var": (after,), f"{norm}num_batches_tracked": ()}
    return shapes


def _geochat(s: dict[str, int], depth: int) -> Shapes:
    prefix = "model.vision_tower.vision_tower.vision_model."
    language = 4 * s["D"]
    beside = {"model.mm_projector.0.weight": (language, s["D"]), "lm_head.weight": (500 * s["V"], language)}
    beside |= {f"model.layers.{i}.self_attn.q_proj.weight": (language, language) for i in range(32)}
    beside[f"{prefix}embeddings.position_ids"] = (1, s["N"])
    return expanded(HF_CLIP, s, range(depth), prefix) | beside


def _vhm(s: dict[str, int], depth: int) -> Shapes:
    return expanded(HF_CLIP, s, range(depth), "vision_model.")


def _bita(s: dict[str, int], depth: int) -> Shapes:
    lines = "ln_vision.{wb} D\nquery_tokens 1,32,768\ntemp\nvision_proj.{wb} 256,768\ntext_proj.{wb} 256,768\n"
    return expanded(lines + "itm_head.{wb} 2,768\nFformer.bert.embeddings.word_embeddings.weight V,768", s)


def lavis_tower(s: dict[str, int]) -> Shapes:
    """The tower that BITA leaves out of its own file: 23 blocks, of which it runs 21."""
    return expanded(CLIP, s, range(23))


def _hivit(s: dict[str, int], depth: int) -> Shapes:
    width = s["D"]
    fine, middle = {"S": width // 4}, {"S": width // 2}
    shapes: Shapes = {"absolute_pos_embed": (1, s["N"] - 1, width)}
    shapes |= expanded("patch_embed.proj.{wb} S,3,4,4\npatch_embed.norm.{wb} S", fine)
    shapes |= expanded(HIVIT_STEM, fine, range(4)) | expanded(HIVIT_STEM, middle, range(5, 9))
    shapes |= expanded("norm.{wb} 4S\nreduction.weight 2S,4S", fine, prefix="blocks.4.")
    shapes |= expanded("norm.{wb} 4S\nreduction.weight 2S,4S", middle, prefix="blocks.9.")
    shapes |= expanded(TIMM_BLOCK, s, range(10, 10 + depth))
    lines = "norm.{wb} 7D\ndecoder_embed.{wb} 512,7D\nmask_token 1,1,512\ndecoder_pos_embed 1,196,512\n"
    lines += "decoder_norm.{wb} 512\ndecoder_pred.{wb} 768,512\n"
    shapes |= expanded(lines + DECODER_BLOCK, s, range(6))
    for level, side in enumerate((19, 27, 35), start=1):
        shapes |= {f"sarfeature{level}.weight_{axis}": (1, 1, side, side) for axis in ("x1", "x2", "y1", "y2")}
    return shapes


def flax(s: dict[str, int], depth: int) -> Shapes:
    """Google's archive of ViT-L on ImageNet-21k."""
    return expanded(FLAX, s, range(depth))


def _with_head(classes: int) -> Build:
    return lambda s, depth: mae(s, depth) | {"head.weight": (classes, s["D"]), "head.bias": (classes,)}


_FILES: dict[str, Build] = {
    "remoteclip_vitb32": _clip(),
    "remoteclip_vitl14": _clip(),
    "georsclip_vitb32": _clip(),
    "skyscript_vitb32_top50": _clip("module."),
    "skyscript_vitl14_top50": _clip("module."),
    "openai_clip_vitb16": _clip(scalars=("input_resolution", "context_length", "vocab_size")),
    "ban_vitb16_clip": _ban,
    "ban_vitl14_336_clip": _ban,
    "changeclip_vitb16": _changeclip,
    "prithvi_v1_100m": _prithvi(),
    "prithvi_v1_100m_renamed": _prithvi("encoder.", "decoder."),
    "blip_base": _blip,
    "fusar_klip_vitb16": _fusar_klip,
    "fusar_klip_vitl16": _fusar_klip,
    "sarjepa_vitb16": _sar_jepa,
    "mae_vitb16": mae,
    "mocov3_vitb16": _moco,
    "geochat_vitl14_504": _geochat,
    "vhm_vitl14_336": _vhm,
    "bita_stage1": _bita,
    "saratrx_hivitb": _hivit,
    "deit_base_patch16_224": _with_head(1000),
    "timm_vit_large_in21k": _with_head(21843),
}


# ---- values and files


def random_values(shapes: Shapes, seed: int = 0) -> State:
    """Random numbers of these shapes, small enough for a deep network."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _value(name, shape, generator) for name, shape in shapes.items()}


def _value(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith(("position_ids", "num_batches_tracked", "queue_ptr", "_resolution", "_length", "vocab_size")):
        return torch.zeros(shape, dtype=torch.int64)
    value = torch.randn(shape, generator=generator) * 0.1
    return value + 1 if len(shape) == 1 and name.endswith(("weight", "scale")) else value


def hollow_values(shapes: Shapes) -> State:
    """Zeros of these shapes that take one number each, in memory and in a file."""
    return {name: torch.zeros(1).expand(shape) if shape else torch.zeros(()) for name, shape in shapes.items()}


class Foreign:
    """A class of a package that is not installed, as the files of training frameworks hold them."""

    def __init__(self) -> None:
        self.history = {"loss": [1.0, 2.0]}


Foreign.__module__ = "mmengine.logging.message_hub"
Foreign.__qualname__ = Foreign.__name__ = "MessageHub"


def save_nested(*keys: str, **siblings: object) -> Callable[[Path, State], None]:
    """A writer that wraps the tensors in these keys, with these siblings on the way."""

    def write(path: Path, state: State) -> None:
        content: object = state
        for key in reversed(keys):
            content = siblings | {key: content}
        torch.save(content, path)

    return write


def save_mmengine(path: Path, state: State) -> None:
    """As mmengine saves: with its own objects beside the tensors, pickled under the name of its package."""
    import sys
    import types

    module = types.ModuleType(Foreign.__module__)
    module.MessageHub = Foreign  # type: ignore[attr-defined]
    sys.modules[Foreign.__module__] = module
    sys.modules.setdefault("mmengine", types.ModuleType("mmengine"))
    sys.modules.setdefault("mmengine.logging", types.ModuleType("mmengine.logging"))
    try:
        torch.save({"meta": {"seed": 0}, "message_hub": Foreign(), "state_dict": state, "optimizer": {}}, path)
    finally:
        for name in ("mmengine.logging.message_hub", "mmengine.logging", "mmengine"):
            sys.modules.pop(name, None)


def save_torchscript(path: Path, state: State) -> None:
    """As OpenAI publishes: a scripted module, floating numbers of matrices in half precision."""
    root = _Empty()
    for name, value in state.items():
        *folders, leaf = name.split(".")
        module: nn.Module = root
        for folder in folders:
            if folder not in module._modules:
                module.add_module(folder, _Empty())
            module = module.get_submodule(folder)
        module.register_buffer(leaf, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, the published files remain
        torch.jit.script(root).save(str(path))  # type: ignore[no-untyped-call]


class _Empty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def save_zip(path: Path, state: State) -> None:
    """As SkyScript publishes: a zip with a folder with one checkpoint."""
    inside = path.with_name("epoch_20.pt")
    torch.save({"epoch": 20, "name": "x", "state_dict": state, "optimizer": {"state": {}}}, inside)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inside, f"{path.stem}/epoch_20.pt")
    inside.unlink()


def save_shards(path: Path, state: State, *, safe: bool = False) -> None:
    """As language models are published: an index, and the tensors spread over two shards in half precision."""
    names = list(state)
    tower = [name for name in names if "vision_tower" in name]
    others = [name for name in names if name not in set(tower)]
    ending = "safetensors" if safe else "bin"
    weight_map: dict[str, str] = {}
    for number, part in enumerate((others, tower), start=1):
        shard = path.with_name(f"pytorch_model-0000{number}-of-00002.{ending}")
        values = {name: state[name].half() for name in part}
        if safe:
            save_file({name: value.contiguous() for name, value in values.items()}, shard)
        else:
            torch.save(values, shard)
        weight_map |= dict.fromkeys(part, shard.name)
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def save_npz(path: Path, state: State) -> None:
    """As Google publishes."""
    with path.open("wb") as stream:
        np.savez(stream, **{name: value.numpy() for name, value in state.items()})  # type: ignore[arg-type]


def save_safetensors(path: Path, state: State) -> None:
    """As the hub prefers."""
    save_file({name: value.contiguous() for name, value in state.items()}, path)


_RUN = argparse.Namespace(lr=1e-3, output_dir=Path("out"))
_WRITERS: dict[str, Callable[[Path, State], None]] = {
    "skyscript_vitb32_top50": save_zip,
    "skyscript_vitl14_top50": save_zip,
    "openai_clip_vitb16": save_torchscript,
    "ban_vitb16_clip": save_mmengine,
    "ban_vitl14_336_clip": save_mmengine,
    "changeclip_vitb16": save_mmengine,
    "blip_base": save_nested("model"),
    "fusar_klip_vitb16": save_nested("model", epoch=1, config={}),
    "fusar_klip_vitl16": save_nested("model", epoch=1, config={}),
    "sarjepa_vitb16": save_nested("model", optimizer={}, epoch=200, scaler={}, args=_RUN),
    "mae_vitb16": save_nested("model"),
    "mocov3_vitb16": save_nested("state_dict", epoch=300, arch="vit_base", optimizer={}),
    "geochat_vitl14_504": save_shards,
    "vhm_vitl14_336": lambda path, state: torch.save({k: v.bfloat16() for k, v in state.items()}, path),
    "bita_stage1": save_nested("model", optimizer={}, config={"run": _RUN}, epoch=1),
    "saratrx_hivitb": save_nested("model", optimizer={}, epoch=800, args=_RUN),
    "deit_base_patch16_224": save_nested("model"),
    "timm_vit_large_in21k": save_safetensors,
}


def write(card: ModelCard, path: Path, state: State) -> None:
    """The file in the container and with the siblings that the card's model is published with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS.get(card.checkpoint_id or "", save_nested())(path, state)


def published_cards() -> list[ModelCard]:
    """The catalogue's models whose weights are, or will be, files of others."""
    return [card for card in catalog().values() if card.checkpoint_id is not None]


def reduced(card: ModelCard, factor: int = 16) -> ModelCard:
    """The same model at a fraction of its width, for tests with real numbers."""
    architecture = card.architecture
    assert architecture is not None
    smaller = {"width": architecture.width // factor, "heads": max(architecture.heads // 4, 1)}
    weights = card.weights.model_copy(update={"sha256": None})
    return card.model_copy(update={"architecture": architecture.model_copy(update=smaller), "weights": weights})
