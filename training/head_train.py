"""Train the head network on synthetic volumes, and export it.

    python -m training.head_train run --steps 4000 --output runs/head          # two cores: well under two hours
    python -m training.head_train export --checkpoint runs/head/best.pt

Every random number follows from ``--seed``. The weights are chosen on a fixed set of synthetic volumes alone.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from cospine.anatomy.network import HEAD_CLASSES
from training.head_images import samples_of_person
from training.head_shapes import noise_bank

CHANNELS = (16, 32, 48, 64)
CLASS_WEIGHT = (1.0, 1.0, 1.5, 10.0, 5.0)
DICE_WEIGHT = (0.0, 1.0, 1.0, 3.0, 2.0)
IMAGES_OF_PERSON = 5
SHUFFLED = 96
AVERAGE_DECAY = 0.99
WARM_UP_STEPS = 50
VALIDATION_SEED = 900_001
WEIGHTS = Path(__file__).parent.parent / "src/cospine/anatomy/weights/head.onnx"

logger = logging.getLogger(__name__)


def _block(before: int, after: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm3d(after, momentum=0.02),
        nn.ReLU(inplace=True),
    )


class HeadNetwork(nn.Module):
    """A U-Net of four levels; one convolution only at full resolution, where it costs most."""

    def __init__(self, channels: tuple[int, int, int, int] = CHANNELS) -> None:
        super().__init__()
        a, b, c, d = channels
        self.enter = _block(1, a)
        self.down1 = nn.Sequential(_block(a, b), _block(b, b))
        self.down2 = nn.Sequential(_block(b, c), _block(c, c))
        self.down3 = nn.Sequential(_block(c, d), _block(d, d, 2), _block(d, d))
        self.up2 = _block(d + c, c)
        self.up1 = _block(c + b, b)
        self.up0 = _block(b + a, a)
        self.leave = nn.Conv3d(a, len(HEAD_CLASSES), 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.enter(image)
        second = self.down1(functional.max_pool3d(first, 2))
        third = self.down2(functional.max_pool3d(second, 2))
        deep = self.down3(functional.max_pool3d(third, 2))
        third = self.up2(torch.cat([functional.interpolate(deep, scale_factor=2.0, mode="nearest"), third], 1))
        second = self.up1(torch.cat([functional.interpolate(third, scale_factor=2.0, mode="nearest"), second], 1))
        return self.leave(self.up0(torch.cat([functional.interpolate(second, scale_factor=2.0, mode="nearest"), first], 1)))


def with_own_statistics(network: HeadNetwork) -> HeadNetwork:
    """The same weights, each image normalised by its own statistics, as batches of very different contrasts train them."""
    result = HeadNetwork()
    result.load_state_dict(network.state_dict())
    for parent in list(result.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm3d):
                own = nn.InstanceNorm3d(child.num_features, eps=child.eps, affine=True)
                own.weight, own.bias = child.weight, child.bias
                setattr(parent, name, own)
    return result.eval()


class People(IterableDataset):
    """An endless, shuffled stream of samples; workers take turns, so that their number is part of the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        first, stride = (info.id, info.num_workers) if info else (0, 1)
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, 1_000_000 + first)))
        bank = noise_bank()
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        index = first
        while True:
            for sample in samples_of_person(self.seed, index, IMAGES_OF_PERSON, bank):
                waiting.append((sample.image[None], sample.target))
                # A small store at first, so that training starts at once.
                if len(waiting) > min(SHUFFLED, 8 + index // stride * 4):
                    place = int(rng.integers(len(waiting)))
                    waiting[place], waiting[-1] = waiting[-1], waiting[place]
                    yield waiting.pop()
            index += stride


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy against soft shares plus soft Dice over the batch."""
    logits = logits.float()
    weight = torch.tensor(CLASS_WEIGHT).view(1, -1, 1, 1, 1)
    log = functional.log_softmax(logits, 1)
    weighted = target * weight
    entropy = -(weighted * log).sum() / weighted.sum()
    probability = log.exp()
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    total = probability.sum(axes) + target.sum(axes)
    share = torch.tensor(DICE_WEIGHT)
    dice = 1.0 - (2.0 * overlap + 50.0) / (total + 50.0)
    return entropy + (dice * share).sum() / share.sum()


def validation_set(people: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fixed synthetic volumes and their hard classes; other people than any of training."""
    bank = noise_bank()
    samples = [s for index in range(people) for s in samples_of_person(VALIDATION_SEED, index, images, bank)]
    image = torch.from_numpy(np.stack([s.image[None] for s in samples]))
    return image, torch.from_numpy(np.stack([s.target for s in samples]))


@torch.no_grad()
def score(network: nn.Module, image: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Mean and 10th percentile of Dice of each class where it has at least 0.5 ml, and false cord where there is none (ml)."""
    network.eval()
    dice: dict[str, list[float]] = {name: [] for name in HEAD_CLASSES[1:]}
    centre: list[float] = []
    false_cord, missed = [], 0
    for one, truth in zip(image, target, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(one[None].contiguous(memory_format=torch.channels_last_3d))
        label, hard = logits[0].float().argmax(0), truth.argmax(0)
        for k, name in enumerate(HEAD_CLASSES):
            size = int((hard == k).sum())
            if k and size > 18:
                dice[name].append(2.0 * float(((label == k) & (hard == k)).sum()) / (size + float((label == k).sum())))
        thick, true = (label >= 3).float(), (hard >= 3).float()
        if not truth[3].any():
            false_cord.append(0.027 * float((label == 3).sum()))
        elif int(true.sum()) > 18 and not bool(thick.any()):
            missed += 1
        centre.extend(_centre_errors((label == 3).numpy(), (hard == 3).numpy()))
    result = {
        f"{name} {what}": float(f(values))
        for name, values in dice.items()
        for what, f in (("mean", np.mean), ("p10", lambda v: np.percentile(v, 10)))
    }
    result |= {
        "centre_mm median": float(np.median(centre or [np.inf])),
        "centre_mm p95": float(np.percentile(centre or [np.inf], 95)),
    }
    return result | {"false_cord_ml": float(np.mean(false_cord)) if false_cord else 0.0, "missed": float(missed)}


def _centre_errors(label: np.ndarray, truth: np.ndarray) -> list[float]:
    """In-plane distance (mm) between the centres of two masks in every axial slice that has both."""
    rows, columns = np.mgrid[: label.shape[1], : label.shape[2]]
    errors = []
    for found, true in zip(label, truth, strict=True):
        if found.any() and true.any():
            errors.append(
                3.0 * float(np.hypot(rows[found].mean() - rows[true].mean(), columns[found].mean() - columns[true].mean()))
            )
    return errors


@torch.no_grad()
def moving_average(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], seen: torch.Tensor | int) -> None:
    """Exponential average whose memory grows with the steps: the first weights are soon forgotten."""
    decay = min(AVERAGE_DECAY, (1.0 + float(seen)) / (10.0 + float(seen)))
    for old, new in zip(averaged, current, strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1.0 - decay)
        else:
            old.copy_(new)


def train(
    output: Path, seed: int, steps: int, batch: int, rate: float, minutes: float, start: Path | None, workers: int, threads: int
) -> None:
    """Train for a number of steps or minutes, whichever ends first; the best moving average by validation is `best.pt`."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    network = HeadNetwork()
    if start is not None:
        network.load_state_dict(torch.load(start, weights_only=True))
    network = network.to(memory_format=torch.channels_last_3d)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=moving_average, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    loader = iter(DataLoader(People(seed), batch_size=batch, num_workers=workers, prefetch_factor=4))
    held_image, held_target = validation_set(12, 2)
    began, best, running = time.monotonic(), -1.0, 0.0
    step = 0
    while True:
        spent = (time.monotonic() - began) / 60.0
        progress = max(step / steps, spent / minutes)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.5 * (1 + np.cos(np.pi * min(progress, 1.0))) + 0.01)
        if step and step % 100 == 0:
            torch.save(average.module.state_dict(), output / "last.pt")
        if step and (step % 300 == 0 or progress >= 1.0):
            figures = score(average.module, held_image, held_target)
            quality = (
                figures["cord mean"]
                + figures["cerebrum mean"]
                + figures["cerebellum_brainstem mean"]
                - 0.2 * figures["false_cord_ml"]
            )
            logger.info(
                "step %d, %.1f min, loss %.4f: %s", step, spent, running, json.dumps({k: round(v, 3) for k, v in figures.items()})
            )
            if quality > best:
                best = quality
                torch.save(average.module.state_dict(), output / "best.pt")
                (output / "best.json").write_text(json.dumps({"step": step, "minutes": spent, "seed": seed, **figures}, indent=1))
            network.train()
        if progress >= 1.0:
            return
        image, target = next(loader)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image)
        loss = loss_of(logits, target.float() / 8.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(network)
        running = float(loss.detach()) if step == 0 else 0.98 * running + 0.02 * float(loss.detach())
        if step % 50 == 0:
            logger.info("step %d, %.1f min, loss %.4f", step, spent, running)
        step += 1


def export(checkpoint: Path, path: Path) -> None:
    """Write ONNX with weights stored as float16, and compare it with the network."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    network = HeadNetwork()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    network = with_own_statistics(network)
    axes = {name: {2: "z", 3: "y", 4: "x"} for name in ("image", "logits")}
    torch.onnx.export(
        network, (torch.zeros(1, 1, 48, 48, 32),), str(path), input_names=["image"], output_names=["logits"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 64:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            casts.append(helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Smooth noise has edges and plains as an image has, and takes no time to make.
    image = torch.from_numpy(np.clip(0.5 + 0.3 * noise_bank()[3:, :, :, :48], 0.0, 1.5)[None])
    (found,) = session.run(["logits"], {"image": image.numpy()})
    with torch.no_grad():
        expected = torch.softmax(network(image), 1).numpy()
    found = np.asarray(torch.softmax(torch.from_numpy(np.asarray(found)), 1))
    session.run(["logits"], {"image": np.zeros((1, 1, 96, 80, 64), dtype=np.float32)})
    began = time.monotonic()
    session.run(["logits"], {"image": np.zeros((1, 1, 96, 80, 64), dtype=np.float32)})
    seconds = time.monotonic() - began
    logger.info(
        "%d bytes, largest difference %.1e, 96x80x64 in %.2f s", path.stat().st_size, np.abs(found - expected).max(), seconds
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train")
    run.add_argument("--output", type=Path, required=True)
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--steps", type=int, default=4000)
    run.add_argument("--batch", type=int, default=2)
    run.add_argument("--rate", type=float, default=4e-3)
    run.add_argument("--minutes", type=float, default=100.0, help="end after this time at the latest")
    run.add_argument("--start", type=Path, help="weights to begin with")
    run.add_argument("--workers", type=int, default=1)
    run.add_argument("--threads", type=int, default=1)
    write = commands.add_parser("export", help="write the ONNX file")
    write.add_argument("--checkpoint", type=Path, required=True)
    write.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.command == "run":
        a = arguments
        train(a.output, a.seed, a.steps, a.batch, a.rate, a.minutes, a.start, a.workers, a.threads)
    else:
        export(arguments.checkpoint, arguments.output)


if __name__ == "__main__":
    main()
