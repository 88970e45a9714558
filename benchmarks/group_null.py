"""Group tests without an effect (METHODS 19): how often anything at all is found at a family-wise 5 % over brain and cord.

    python benchmarks/group_null.py [--groups 1000] [--permutations 200] [--minutes 4] [--only NAME ..] [--seed 1]
    python benchmarks/group_null.py --speed

Each group has maps of a small brain (ball, 1,100 voxels) and a cord (tube, 260), smooth noise drawn anew and none of it an
effect; every map's noise has mean 0. A scenario ends after so many groups or minutes, and tells how many it reached, with the
exact binomial interval (Clopper and Pearson) of each rate. "plain" is what others do, on the first 200 of the same groups: the
pooled t, signs flipped or people exchanged, no skewness taken out.

Errors: `normal`; `skewed` is a gamma variable of shape 4 in every voxel (skewness 1, the same direction everywhere: the worst
case for a maximum), `very skewed` an exponential one (skewness 2), `both ways` has the opposite sign in one half. `unequal`
gives each person a standard deviation of its own (one sample: 0.5 to 2), or one group twice that of the other (two samples; the
smaller group has the larger). Sites shift all values of their people by a constant. Two samples are tested with a variance for
each group (Welch) where the scenario's name says so; people are exchanged otherwise, within their site. `loud`: the second site
has twice the spread; its maps are harmonised by ComBat before where the name says so.

`--speed` times permutations of a brain of 2 mm and a cord of 1 mm.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gammaincinv, ndtr
from scipy.stats import beta

from cospine.stats.combat import combat
from cospine.stats.permutation import STATISTICS, GroupResult, permutation_test, region_test

LEVEL = 0.05
PLAIN_GROUPS = 200
SHAPES = {"normal": None, "skewed": 4.0, "very skewed": 1.0}
_AT = np.linspace(-6, 6, 4001)


@dataclass(frozen=True)
class Scenario:
    """One kind of group.

    sizes: people of each group; sites: of each person's, or None; spread: standard deviations by person, from a generator.
    """

    name: str
    sizes: tuple[int, ...]
    errors: str
    unequal: bool = False
    sites: tuple[int, ...] | None = None
    missing: bool = False
    welch: bool = False
    mixed: bool = False
    loud: bool = False
    combat: bool = False

    @property
    def people(self) -> int:
        return sum(self.sizes)

    @property
    def groups(self) -> NDArray[np.int_]:
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def _sites(*counts: int) -> tuple[int, ...]:
    """Sites of people in order: runs of 0, 1, 0, 1 .. of these lengths."""
    return tuple(int(n % 2) for n, count in enumerate(counts) for _ in range(count))


SCENARIOS = (
    Scenario("one sample, 12", (12,), "normal"),
    Scenario("one sample, 12, skewed", (12,), "skewed"),
    Scenario("one sample, 20, skewed", (20,), "skewed"),
    Scenario("one sample, 20, very skewed", (20,), "very skewed"),
    Scenario("one sample, 16, skewed both ways", (16,), "skewed", mixed=True),
    Scenario("one sample, 16, unequal, voxels missing", (16,), "normal", unequal=True, missing=True),
    Scenario("one sample, 16, skewed, unequal", (16,), "skewed", unequal=True),
    Scenario("one sample, 12 + 6 of two sites, skewed", (18,), "skewed", sites=_sites(12, 6)),
    Scenario("two samples, 8 and 16", (8, 16), "normal"),
    Scenario("two samples, 8 and 16, skewed", (8, 16), "skewed"),
    Scenario("two samples, 8 and 16, unequal, Welch", (8, 16), "normal", unequal=True, welch=True),
    Scenario("two samples, 8 and 16, skewed, unequal, Welch", (8, 16), "skewed", unequal=True, welch=True),
    Scenario("two samples, 10 and 14 over two sites, skewed", (10, 14), "skewed", sites=_sites(4, 6, 9, 5)),
    Scenario("two samples, 10 and 14 over two sites, Welch", (10, 14), "normal", sites=_sites(4, 6, 9, 5), welch=True),
    Scenario("one sample, 12 + 6 of two sites, loud", (18,), "normal", sites=_sites(12, 6), loud=True),
    Scenario("one sample, 12 + 6 of two sites, loud, ComBat", (18,), "normal", sites=_sites(12, 6), loud=True, combat=True),
    Scenario(
        "two samples, 10 and 14 over two sites, loud, Welch", (10, 14), "normal", sites=_sites(4, 6, 9, 5), welch=True, loud=True
    ),
    Scenario(
        "two samples, 10 and 14 over two sites, loud, Welch, ComBat",
        (10, 14),
        "normal",
        sites=_sites(4, 6, 9, 5),
        welch=True,
        loud=True,
        combat=True,
    ),
)


def masks() -> dict[str, NDArray[np.bool_]]:
    """A ball and a tube."""
    ball = np.sum((np.indices((13, 13, 13)) - 6) ** 2, axis=0) <= 6.4**2
    tube = np.sum((np.indices((5, 5, 20))[:2] - 2) ** 2, axis=0) <= 2.3**2
    return {"brain": ball, "cord": tube}


def noise(scenario: Scenario, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth maps (people, x, y, z) of mean 0 and variance 1, with the scenario's distribution in each voxel."""
    pad = 3
    wide = rng.normal(size=(scenario.people, *(n + 2 * pad for n in shape))).astype(np.float32)
    wide = gaussian_filter(wide, (0, 1, 1, 1), mode="wrap")
    wide /= np.sqrt(np.mean(wide**2))
    fields = wide[:, pad:-pad, pad:-pad, pad:-pad]
    shape_parameter = SHAPES[scenario.errors]
    if shape_parameter is None:
        return fields
    quantiles = gammaincinv(shape_parameter, ndtr(_AT))
    return np.interp(fields, _AT, (quantiles - shape_parameter) / np.sqrt(shape_parameter)).astype(np.float32)


def draw(scenario: Scenario, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Maps of one group."""
    people = scenario.people
    spread = np.ones(people)
    if scenario.unequal:
        spread = rng.uniform(0.5, 2, people) if len(scenario.sizes) == 1 else np.where(scenario.groups == 0, 2.0, 1.0)
    if scenario.loud:
        spread = spread * (1 + np.array(scenario.sites))
    lift = np.zeros(people)
    if scenario.sites is not None and len(scenario.sizes) == 2:
        lift = 1.5 * np.array(scenario.sites)
    maps = {}
    for name, mask in masks().items():
        values = noise(scenario, mask.shape, rng) * spread[:, None, None, None] + lift[:, None, None, None]
        if scenario.missing:  # the lowest slices of the field of view, of each person's own
            for person in np.flatnonzero(rng.random(people) < 0.15):
                values[person, :, :, : rng.integers(1, 6)] = np.nan
        if scenario.mixed:
            values[:, : mask.shape[0] // 2] *= -1
        if scenario.combat:
            keep = (scenario.groups == 1).astype(float)[:, None]
            values[:, mask] = combat(values[:, mask], scenario.sites or (), keep).values
        maps[name] = values.astype(np.float32)
    return maps


def design(scenario: Scenario) -> dict:
    """Design, contrast, blocks and variance groups of a scenario."""
    sites = None if scenario.sites is None else np.array(scenario.sites)
    effects = [] if sites is None else [sites - sites.mean()]
    if len(scenario.sizes) == 1:
        columns = np.column_stack([np.ones(scenario.people), *effects])
        return {"design": columns, "contrast": np.eye(columns.shape[1])[0], "blocks": sites}
    columns = np.column_stack([scenario.groups == 0, scenario.groups == 1, *effects]).astype(float)
    contrast = np.zeros(columns.shape[1])
    contrast[:2] = -1, 1
    return {
        "design": columns,
        "contrast": contrast,
        "blocks": sites,
        "variance_groups": scenario.groups if scenario.welch else None,
    }


def interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a rate, Clopper and Pearson."""
    low = beta.ppf(0.025, hits, total - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, total - hits) if hits < total else 1.0
    return float(low), float(high)


def run(scenario: Scenario, groups: int, permutations: int, minutes: float, seed: int) -> None:
    """Test group after group, and print one line."""
    regions, columns = masks(), design(scenario)
    hits: dict[str, int] = {}
    begun, done = time.monotonic(), 0

    def count(prefix: str, result: GroupResult) -> None:
        for name in STATISTICS:
            hits[prefix + name] = hits.get(prefix + name, 0) + (result.p_fwe[name] <= LEVEL)

    while done < groups and time.monotonic() - begun < 60 * minutes:
        rng = np.random.default_rng([seed, SCENARIOS.index(scenario), done])
        maps = draw(scenario, rng)
        covered = {name: np.isfinite(maps[name]).mean(axis=0) >= 0.8 for name in maps}
        inside = {name: regions[name] & covered[name] for name in maps}
        arguments = {**columns, "permutations": permutations, "seed": done}
        count("", permutation_test(maps, inside, **arguments))
        if done < PLAIN_GROUPS:
            count("plain ", permutation_test(maps, inside, **{**arguments, "variance_groups": None}, remove_skewness=False))
        horns = np.column_stack([maps["cord"][:, a, b, z] for a in (1, 3) for b in (1, 3) for z in (8, 12)])
        tested = region_test(horns, **{**arguments, "permutations": 2000})  # Holm needs small p
        hits["horns"] = hits.get("horns", 0) + bool(np.nanmin(tested.p_holm) <= LEVEL)
        done += 1
    cells = []
    for name in (*STATISTICS, "horns", *(f"plain {name}" for name in STATISTICS)):
        total = min(done, PLAIN_GROUPS) if name.startswith("plain") else done
        low, high = interval(hits[name], total)
        cells.append(f"{100 * hits[name] / total:.1f} ({100 * low:.1f}-{100 * high:.1f})")
    print(f"| {scenario.name} | {done} | " + " | ".join(cells) + " |", flush=True)


def speed() -> None:
    """Time of a permutation of a whole brain and cord."""
    rng = np.random.default_rng(0)
    centre = np.array([45, 54, 45])[:, None, None, None]
    radius = np.array([36, 44, 35])[:, None, None, None]
    ball = np.sum(((np.indices((91, 109, 91)) - centre) / radius) ** 2, axis=0) <= 1
    tube = np.sum((np.indices((28, 24, 149))[:2] - 13) ** 2, axis=0) <= 5.5**2
    inside = {"brain": ball, "cord": tube}
    maps = {
        name: gaussian_filter(rng.normal(size=(20, *mask.shape)).astype(np.float32), (0, 1.5, 1.5, 1.5))
        for name, mask in inside.items()
    }
    for kind, columns in {"sign flips": np.ones((20, 1)), "permutations": np.eye(2)[np.arange(20) % 2]}.items():
        contrast = np.array([1.0]) if kind == "sign flips" else np.array([-1.0, 1.0])

        def timed(count: int, test: Callable = permutation_test, columns=columns, contrast=contrast) -> float:
            begun = time.perf_counter()
            test(maps, inside, columns, contrast, permutations=count)
            return time.perf_counter() - begun

        timed(20)
        few, many = timed(20), timed(100)
        each = (many - few) / 80
        print(
            f"{kind}: {int(ball.sum())} + {int(tube.sum())} voxels, 20 people: {1000 * each:.0f} ms each, "
            f"{5000 * each / 60:.1f} min for 5000"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    if given.speed:
        speed()
        return
    print(
        "| scenario | groups | voxel | TFCE | mass | horns, Holm | plain voxel | plain TFCE | plain mass |\n" + "|---" * 9 + "|",
        flush=True,
    )
    for scenario in SCENARIOS:
        if not given.only or any(name in scenario.name for name in given.only):
            run(scenario, given.groups, given.permutations, given.minutes, given.seed)


if __name__ == "__main__":
    main()
