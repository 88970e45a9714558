"""Train the network that finds the cord in axial sections, and write it as ONNX.

    python -m training.cord_train --minutes 30 --output cord.pt            # train
    python -m training.cord_train --export cord.pt --output cord.onnx   # write the weights that the package carries

Everything that is shown to the network is drawn by `cord_images`; no image of a person is read here. Weights are chosen by
their score on synthetic sections of held-out seeds with harder tails. Needs PyTorch and onnx.
"""

import argparse
import logging
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cospine.anatomy.network import SECTION_SIZE, normalise_section
from training.cord_acquisition import paint_over

logger = logging.getLogger(__name__)

CHANNELS = (16, 32, 64, 128)
BATCH = 48
FRESH = 12
AHEAD = 512  # sections that the painter may be ahead of what is needed
PAINTED = 0.12  # share of the sections with a cord that are shown a second way: with the cord painted over
POOL = 24576
CHECK_EVERY = 300
ENTROPY = 20.0  # weight of cross-entropy beside Dice: Dice alone takes what is as likely as not, and masks grow
LARGE = 40.0  # pixels: so much called cord where there is none costs half of all
VALIDATION_SEED = 990_001
VALIDATION_SECTIONS = 1536


def double_convolution(before: int, after: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalisation and a rectifier."""
    layers: list[nn.Module] = []
    for size in (before, after):
        layers += [nn.Conv2d(size, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class CordNet(nn.Module):
    """A U-Net of four levels (Ronneberger 2015): (n, 1, 64, 64) -> logits of the same shape."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        before = (1, *channels[:-1])
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in zip(before, channels, strict=True))
        self.up = nn.ModuleList(double_convolution(a + b, a) for a, b in pairwise(channels))
        self.out = nn.Conv2d(channels[0], 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        kept = []
        value = image
        for level, block in enumerate(self.down):
            value = block(value if level == 0 else nn.functional.max_pool2d(value, 2))
            kept.append(value)
        for level in reversed(range(len(self.up))):
            value = nn.functional.interpolate(value, scale_factor=2.0, mode="nearest")
            value = self.up[level](torch.cat([value, kept[level]], dim=1))
        return self.out(value)


class Pool:
    """Sections in shared memory, drawn by a process of its own; section `index` lies at `index % POOL`."""

    def __init__(self, name: str | None = None) -> None:
        pixels = POOL * SECTION_SIZE * SECTION_SIZE
        self.memory = SharedMemory(name, create=name is None, size=pixels * 3 + 16)
        shape = (POOL, SECTION_SIZE, SECTION_SIZE)
        self.image = np.ndarray(shape, np.float16, self.memory.buf)
        self.cord = np.ndarray(shape, np.uint8, self.memory.buf, pixels * 2)
        self.count = np.ndarray((2,), np.int64, self.memory.buf, pixels * 3)  # drawn so far, needed so far


def draw_forever(name: str, seed: int) -> None:
    """Fill the pool, a little ahead of what the trainer needs."""
    import os

    os.nice(2)
    from training.cord_images import make_section

    pool = Pool(name)
    index = 0
    while pool.count[1] >= 0:
        if index - pool.count[1] >= AHEAD:
            time.sleep(0.02)
            continue
        section = make_section(seed, index)
        pool.image[index % POOL] = normalise_section(section.image[None], section.in_view[None])[0]
        pool.cord[index % POOL] = np.round(section.cord * 255)
        index += 1
        pool.count[0] = index
    pool.memory.close()


def validation_set(cache: Path) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Held-out sections with harder tails: images and shares (n, 1, 64, 64), kinds (n,)."""
    from training.cord_images import make_section

    if cache.exists():
        stored = np.load(cache)
        image, cord, kinds = stored["image"], stored["cord"], stored["kinds"]
    else:
        sections = [make_section(VALIDATION_SEED, index, hard=True) for index in range(VALIDATION_SECTIONS)]
        image = np.stack([normalise_section(s.image[None], s.in_view[None])[0] for s in sections])
        cord = np.stack([s.cord for s in sections])
        kinds = np.array([s.kind for s in sections])
        np.savez(cache, image=image, cord=cord, kinds=kinds)
    return torch.from_numpy(image)[:, None], torch.from_numpy(cord)[:, None], kinds


def validate(network: nn.Module, image: torch.Tensor, cord: torch.Tensor, kinds: np.ndarray) -> dict[str, float]:
    """Dice where there are at least 12 pixels of cord; share of sections without any in which more than 12 pixels are called."""
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = torch.cat([network(part) for part in image.split(128)]).float() > 0
    truth = cord > 0.5
    size = truth.sum((1, 2, 3)).numpy()
    called = found.sum((1, 2, 3)).numpy()
    both = (found & truth).sum((1, 2, 3)).numpy()
    dice = 2 * both / np.maximum(size + called, 1)
    positive, negative = size >= 12, cord.amax((1, 2, 3)).numpy() == 0
    result = {
        "dice": float(np.mean(dice[positive])),
        "median": float(np.median(dice[positive])),
        "p10": float(np.percentile(dice[positive], 10)),
        "anatomy": float(np.mean(dice[positive & (kinds == "anatomy")])),
        "false": float(np.mean(called[negative] > 12)),
    }
    result["score"] = result["dice"] - 0.25 * result["false"]
    return result


def loss_of(logits: torch.Tensor, cord: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against the share of cord; soft Dice where there is any, and a price on calling any where there is none.

    Without the last, half a chance that a blob is the cord is enough to call it: Dice is lost by silence alone.
    """
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, cord)
    probability = torch.sigmoid(logits)
    both = (probability * cord).sum((1, 2, 3))
    dice = (2 * both + 1) / (probability.sum((1, 2, 3)) + cord.sum((1, 2, 3)) + 1)
    present = (cord.amax((1, 2, 3)) > 0.5).float()
    absent = (cord.amax((1, 2, 3)) == 0).float()
    size = probability.sum((1, 2, 3))
    return ENTROPY * entropy + ((1 - dice) * present + size / (size + LARGE) * absent).mean()


def augment(image: torch.Tensor, cord: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """What makes a section seen before a new one at no cost: left for right, dark for bright, another gamma, more noise."""
    n = len(image)
    chance = torch.rand(n, 5, generator=generator)
    flip = chance[:, 0, None, None, None] < 0.5
    image, cord = torch.where(flip, image.flip(3), image), torch.where(flip, cord.flip(3), cord)
    sign = torch.where(chance[:, 1] < 0.08, -1.0, 1.0)
    gain = torch.exp(0.15 * torch.randn(n, generator=generator))
    image = image * (sign * gain)[:, None, None, None]
    curve = (torch.exp(0.2 * torch.randn(n, generator=generator)))[:, None, None, None]
    curved = torch.sign(image) * (image.abs() / 3 + 1e-4) ** curve * 3
    image = torch.where(chance[:, 2, None, None, None] < 0.3, curved, image)
    noise = (0.15 * chance[:, 4] * (chance[:, 3] < 0.3))[:, None, None, None]
    return (image + noise * torch.randn(image.shape, generator=generator)).clamp(-3, 3), cord


def paint_some(image: torch.Tensor, cord: torch.Tensor, rng: np.random.Generator) -> None:
    """Paint over the cord in some sections, in place: what is left is a section without a cord at the same place.

    The network has to look at the cord itself: everything around it is the same as in sections that hold one.
    """
    for index in np.flatnonzero(cord.amax((1, 2, 3)).numpy() > 0.5):
        if rng.random() < PAINTED:
            painted = paint_over(rng, image[index, 0].numpy(), cord[index, 0].numpy())
            image[index, 0] = torch.from_numpy(normalise_section(painted))
            cord[index] = 0


def running_mean(mean: list[torch.Tensor], new: list[torch.Tensor], count: torch.Tensor | int) -> None:
    """Exponential mean of weights and batch statistics that forgets faster at the start."""
    share = max(0.002, 9 / (int(count) + 10))
    for kept, value in zip(mean, new, strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, share)
        else:
            kept.copy_(value)


def train(minutes: float, seed: int, output: Path, start: Path | None, highest_rate: float, steps: int | None) -> None:
    """Train for so many minutes (or steps), keep the running mean of the weights that scores best."""
    torch.manual_seed(seed)
    # The painter has the other core: two threads that wait for each other are slower than one.
    torch.set_num_threads(1)
    network = CordNet().to(memory_format=torch.channels_last)
    if start is not None:
        network.load_state_dict(torch.load(start, weights_only=True))
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=running_mean, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=highest_rate, weight_decay=1e-3)
    held_out = validation_set(output.with_suffix(".validation.npz"))
    generator = torch.Generator().manual_seed(seed)
    pool = Pool()
    painter = get_context("spawn").Process(target=draw_forever, args=(pool.memory.name, seed), daemon=True)
    painter.start()
    best = -1.0
    began = time.monotonic()
    step, losses = 0, []
    progress: Callable[[], float] = lambda: step / steps if steps else (time.monotonic() - began) / (60 * minutes)  # noqa: E731
    try:
        while (part := progress()) < 1:
            # The sections of a step are a function of the step alone, however fast the painter is.
            newest = 4 * BATCH + step * FRESH
            pool.count[1] = newest
            while pool.count[0] < newest:
                time.sleep(0.01)
            chosen = torch.randint(max(0, newest - POOL + 2 * AHEAD), newest, (BATCH,), generator=generator).numpy() % POOL
            image = torch.from_numpy(pool.image[chosen].astype(np.float32))[:, None]
            cord = torch.from_numpy(pool.cord[chosen].astype(np.float32) / 255)[:, None]
            paint_some(image, cord, np.random.default_rng([seed, step]))
            image, cord = augment(image, cord, generator)
            for group in optimiser.param_groups:
                group["lr"] = highest_rate * min(1.0, step / 150) * (0.5 + 0.5 * np.cos(np.pi * part)) + 1e-6
            network.train()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(image.contiguous(memory_format=torch.channels_last))
            loss = loss_of(logits.float(), cord)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            mean.update_parameters(network)
            losses.append(float(loss.detach()))
            step += 1
            if step % CHECK_EVERY == 0 or progress() >= 1:
                result = validate(mean.module, *held_out)
                logger.info(
                    "step %d, %.1f min, %d drawn, loss %.4f, %s",
                    step,
                    (time.monotonic() - began) / 60,
                    pool.count[0],
                    np.mean(losses[-CHECK_EVERY:]),
                    " ".join(f"{key} {value:.3f}" for key, value in result.items()),
                )
                if result["score"] > best:
                    best = result["score"]
                    torch.save(mean.module.state_dict(), output)
    finally:
        pool.count[1] = -1
        painter.join(10)
        pool.memory.close()
        pool.memory.unlink()


def export(weights: Path, output: Path) -> None:
    """Write ONNX with any number of sections a batch, opset 17, weights as float16 that are cast up when read."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    network = CordNet()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    example = torch.zeros(2, 1, SECTION_SIZE, SECTION_SIZE)
    torch.onnx.export(
        network,
        (example,),
        str(output),
        input_names=["image"],
        output_names=["logits"],
        opset_version=17,
        dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        dynamo=False,
    )
    check_export(network, output)
    model = onnx.load(str(output))
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= 64:
            half = numpy_helper.from_array(values.astype(np.float16), tensor.name + "_half")
            casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
            kept.append(half)
        else:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(output))
    check_export(network, output)


def check_export(network: nn.Module, output: Path) -> None:
    """Compare onnxruntime with PyTorch on drawn sections, and time it."""
    import onnxruntime

    from training.cord_images import make_section

    sections = [make_section(VALIDATION_SEED + 1, index) for index in range(70)]
    image = np.stack([normalise_section(s.image[None], s.in_view[None])[0] for s in sections])[:, None]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(output), options, providers=["CPUExecutionProvider"])
    began = time.monotonic()
    (logits,) = session.run(["logits"], {"image": image})
    took = time.monotonic() - began
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    largest = np.abs(1 / (1 + np.exp(-logits)) - 1 / (1 + np.exp(-expected))).max()
    logger.info(
        "%s: %d bytes, largest difference of probability %.1e, 70 sections in %.2f s",
        output,
        output.stat().st_size,
        largest,
        took,
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--steps", type=int, help="instead of minutes: repeatable to the step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--export", type=Path, help="weights to write as ONNX; no training")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.export:
        export(arguments.export, arguments.output)
    else:
        train(arguments.minutes, arguments.seed, arguments.output, arguments.start, arguments.rate, arguments.steps)


if __name__ == "__main__":
    main()
