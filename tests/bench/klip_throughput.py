"""Images per second and use of the matrix units for a step of pre-training, beside the rate that this machine reaches.

    python -m tests.bench.klip_throughput --device cuda --size base --batches 32,64,128 --compile --out throughput.json

Operations are counted by PyTorch's own counter over forward and backward of one step; the ceiling is the best of a few
large matrix products in the same number format on the same machine, not a datasheet. So the printed utilisation is
counted work over measured time over measured ceiling. A batch that does not fit is said to be so; the largest that fits
is looked for by doubling with `--batches max`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from foundation.files import write_json
from klip.model.pretrainer import PairBatch, Pretrainer, StepContext
from klip.settings import PretrainingSettings, preset
from klip.tokens.batch import pack
from klip.tokens.layout import SlotTokens, TextTokens
from klip.tokens.vocabulary import Specials

VOCABULARY = 30_524  # section 2.1 of the KLIP specification: BERT's pieces and the two new ones
SPECIALS = Specials(pad=0, unk=100, cls=101, sep=102, mask=103, seg=2, dec=30_522, enc=30_523)
TEXT_TOKENS = 122  # section 3.4: the paper's example texts take 79 to 123


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="base", choices=["tiny", "base", "large"])
    parser.add_argument("--batches", default="32,max", help="comma-separated; max: the largest power of two that fits")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--compile", action="store_true", help="measure the compiled model as well")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    settings = preset("paper", arguments.size)
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    found: dict[str, Any] = {
        "machine": machine(device),
        "size": arguments.size,
        "precision": arguments.precision,
        "text_tokens": TEXT_TOKENS,
        "ceiling_tflops": ceiling(device, dtype) / 1e12,
        "steps": [],
    }
    for compiled in (False, True) if arguments.compile else (False,):
        for batch in _sizes(arguments.batches, settings, device, dtype, compiled):
            row = measure(settings, batch, device, dtype, compiled=compiled, turns=arguments.turns)
            row["utilisation"] = row["tflops"] / found["ceiling_tflops"]
            found["steps"].append(row)
            print(json.dumps(row), file=sys.stderr)
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers belong to."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "system": platform.system()}


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of the best of a few large matrix products, on random numbers."""
    best = 0.0
    for side in (4096, 8192) if device.type == "cuda" else (1024, 2048):
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = _median_seconds(lambda left=left, right=right: left @ right, device, turns=10)
        best = max(best, 2 * side**3 / seconds)
    return best


def measure(
    settings: PretrainingSettings, batch: int, device: torch.device, dtype: torch.dtype, *, compiled: bool, turns: int
) -> dict[str, Any]:
    """One row: seconds per step, images per second, operations, peak memory."""
    model, pairs, optimiser = _ready(settings, batch, device)
    generator = torch.Generator(device).manual_seed(0)
    run = torch.compile(model) if compiled else model

    def forward_backward() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            losses = run(pairs, StepContext(0.4, generator))
        losses["loss"].backward()

    def step() -> None:
        forward_backward()
        optimiser.step()
        optimiser.zero_grad()
        model.follow()

    with FlopCounterMode(display=False) as counter:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            losses = model(pairs, StepContext(0.4, generator))
        losses["loss"].backward()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = _median_seconds(step, device, turns=turns)
    operations = float(counter.get_total_flops())
    return {
        "batch": batch,
        "compiled": compiled,
        "seconds": seconds,
        "images_per_second": batch / seconds,
        "operations": operations,
        "tflops": operations / seconds / 1e12,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }


def _ready(
    settings: PretrainingSettings, batch: int, device: torch.device
) -> tuple[Pretrainer, PairBatch, torch.optim.Optimizer]:
    draws = random.Random(0)
    texts = [_text(draws) for _ in range(batch)]
    side = settings.image.size
    pairs = PairBatch(
        torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)),
        pack(texts, SPECIALS),
        torch.arange(batch),
        torch.arange(batch) + batch,
        torch.zeros(batch, len(texts[0]), dtype=torch.bool),
    ).to(device)
    model = Pretrainer(settings, VOCABULARY, SPECIALS).to(device)
    model.train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return model, pairs, torch.optim.AdamW(learning, lr=settings.optim.lr, fused=True)


def _text(draws: random.Random) -> TextTokens:
    """Eight segments of one length, random pieces: together `TEXT_TOKENS`."""
    words = (TEXT_TOKENS - 2) // 8 - 3
    return tuple(
        SlotTokens((2000 + n, 1024), tuple(draws.randrange(1000, 30_000) for _ in range(words))) for n in range(8)
    )


def _sizes(
    spec: str, settings: PretrainingSettings, device: torch.device, dtype: torch.dtype, compiled: bool
) -> list[int]:
    sizes = [int(part) for part in spec.split(",") if part != "max"]
    if "max" in spec.split(","):
        sizes.append(_largest(settings, device, dtype, start=max(sizes, default=32), compiled=compiled))
    return sorted(set(sizes))


def _largest(
    settings: PretrainingSettings, device: torch.device, dtype: torch.dtype, *, start: int, compiled: bool
) -> int:
    """The largest power of two times `start` of which one step fits into the memory of a GPU; on a CPU `start`."""
    fits = start
    while device.type == "cuda":
        try:
            measure(settings, 2 * fits, device, dtype, compiled=compiled, turns=1)
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            torch.cuda.empty_cache()
        fits *= 2
    return fits


def _median_seconds(work: Any, device: torch.device, *, turns: int) -> float:
    work()
    seconds = []
    for _ in range(turns):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
