"""What lies around a cord, and what may stand in its place: vertebrae, neck, skull base, brain, round things of any kind."""

import numpy as np

from training.cord_shapes import N_TISSUES, Canvas, CordSize, Tissue


def bone(
    canvas: Canvas,
    rng: np.random.Generator,
    centre: tuple[float, float],
    half: tuple[float, float],
    angle: float = 0.0,
    power: float = 2.0,
    taper: float = 0.0,
    bend: float = 0.0,
    inside: int = int(Tissue.MARROW),
) -> None:
    """A bone: a shell of cortex of random thickness around marrow (or around a disc)."""
    shell = rng.uniform(0.3, 1.8)
    opacity = rng.uniform(0.75, 1.0)
    canvas.add(Tissue.CORTEX, centre, half, angle, power, taper, bend, opacity=opacity)
    canvas.add(inside, centre, (half[0] - shell, half[1] - shell), angle, power, taper, bend, soft=0.6, opacity=opacity)


def add_vertebra(canvas: Canvas, rng: np.random.Generator, size: CordSize, level: str) -> None:
    """Body or disc before the canal, arch, facets, foramina with ganglia, ligaments, epidural fat, vertebral arteries."""
    right, left, front, back = size.clearance
    canal = (size.half_u + (right + left) / 2, size.half_v + (front + back) / 2)
    middle = ((right - left) / 2, (front - back) / 2)
    wide = canal[0] + rng.uniform(0.5, 3.0)
    lamina = rng.uniform(2.0, 6.0)
    # Bodies stand on each other with discs between; the arch is missing between two laminae.
    inside = Tissue.DISC if rng.random() < 0.35 else Tissue.MARROW
    arch = rng.random() < 0.65
    outer = (wide + lamina, canal[1] + lamina + rng.uniform(0.5, 3.0))
    if arch:
        bone(canvas, rng, (middle[0], middle[1] - 1.5), outer, power=rng.uniform(1.7, 2.6), taper=rng.uniform(-0.1, 0.4))
    else:
        canvas.add(
            rng.choice([Tissue.LIGAMENT, Tissue.FAT, Tissue.MUSCLE]),
            (middle[0], middle[1] - 1.5),
            outer,
            power=2.0,
            taper=rng.uniform(0, 0.4),
            soft=1.0,
        )
    if rng.random() < (0.8 if arch else 0.4):  # spinous process, sometimes forked
        length = rng.uniform(5.0, 14.0)
        root = middle[1] - outer[1] - length * 0.6
        if rng.random() < 0.3:
            for side in (1, -1):
                bone(canvas, rng, (side * rng.uniform(1.5, 4.0), root), (rng.uniform(1.5, 3), length), side * rng.uniform(0, 0.3))
        else:
            bone(canvas, rng, (rng.normal(0, 0.7), root), (rng.uniform(1.5, 4.5), length), rng.normal(0, 0.05))
    span, deep = rng.uniform(7.5, 14.0), rng.uniform(6.0, 11.0)
    if level == "atlas":
        # C1 and C2: lateral masses and the dens instead of a body.
        dens = rng.uniform(4.0, 6.0)
        bone(canvas, rng, (middle[0], middle[1] + canal[1] + rng.uniform(1.0, 3.5) + dens), (dens, dens * rng.uniform(0.9, 1.2)))
        for side in (1, -1):
            bone(
                canvas,
                rng,
                (middle[0] + side * (canal[0] + rng.uniform(7, 11)), middle[1] + canal[1] + rng.uniform(-2, 5)),
                (rng.uniform(5, 9), rng.uniform(5, 9)),
                side * rng.uniform(-0.5, 0.5),
            )
    else:
        bone(
            canvas,
            rng,
            (middle[0], middle[1] + canal[1] + rng.uniform(0.0, 1.2) + deep),
            (span, deep),
            rng.normal(0, 0.03),
            rng.uniform(2, 3.5),
            rng.uniform(-0.15, 0.1),
            rng.uniform(-1.5, 0.5),
            int(inside),
        )
    for side in (1, -1):
        if rng.random() < 0.8:  # articular pillar, split by the joint
            spot = (middle[0] + side * (canal[0] + rng.uniform(6, 11)), middle[1] + rng.uniform(-8, 1))
            half = (rng.uniform(3.5, 7), rng.uniform(4, 7.5))
            turn = side * rng.uniform(-0.5, 0.8)
            bone(canvas, rng, spot, half, turn, 2.4)
            if rng.random() < 0.5:
                canvas.add(
                    rng.choice([Tissue.CSF, Tissue.CORTEX]),
                    spot,
                    (half[0] * 0.9, rng.uniform(0.3, 0.8)),
                    turn + rng.normal(0, 0.3),
                )
        if rng.random() < 0.7:  # neural foramen
            spot = (middle[0] + side * (canal[0] + rng.uniform(1.5, 6)), middle[1] + rng.uniform(0, 5))
            canvas.add(
                rng.choice([Tissue.FAT, Tissue.CSF, Tissue.MUSCLE, Tissue.VESSEL]),
                spot,
                (rng.uniform(2, 5), rng.uniform(1, 2.8)),
                side * rng.uniform(0.1, 0.8),
            )
            canvas.add(
                Tissue.ROOT,
                (spot[0] + side * rng.uniform(0, 3), spot[1] + rng.uniform(-0.5, 1.5)),
                (rng.uniform(1.2, 3.5), rng.uniform(0.8, 2.2)),
                side * rng.uniform(0.1, 0.8),
            )
        if rng.random() < 0.75:  # vertebral artery in its foramen, its wall dark
            spot = (middle[0] + side * (canal[0] + rng.uniform(4, 9)), middle[1] + canal[1] + rng.uniform(-1, 6))
            radius = rng.uniform(1.2, 3.0)
            canvas.add(Tissue.CORTEX, spot, (radius + rng.uniform(0.3, 1.5),) * 2)
            canvas.add(Tissue.VESSEL, spot, (radius, radius * rng.uniform(0.8, 1.1)))
    # Soft tissue between bone and dura.
    canvas.add(
        rng.choice([Tissue.EPIDURAL, Tissue.LIGAMENT, Tissue.CORTEX, Tissue.VESSEL]),
        middle,
        (canal[0] + rng.uniform(0.2, 2.2), canal[1] + rng.uniform(0.1, 1.2)),
        0,
        2.2,
        rng.uniform(0, 0.2),
    )
    if rng.random() < 0.55:
        canvas.add(
            Tissue.EPIDURAL,
            (middle[0] + rng.normal(0, 0.7), middle[1] - canal[1] - rng.uniform(-0.5, 1.5)),
            (rng.uniform(2, 6), rng.uniform(1, 3.5)),
            0,
            2,
            rng.uniform(0, 0.6),
        )
    for side in (1, -1):
        if rng.random() < 0.5:  # epidural veins
            canvas.add(
                Tissue.VESSEL,
                (middle[0] + side * canal[0] * rng.uniform(0.5, 0.95), middle[1] + canal[1] * rng.uniform(0.6, 1.0)),
                (rng.uniform(0.6, 2.5), rng.uniform(0.5, 1.2)),
                side * rng.uniform(-1, 0),
            )


def add_front_of_neck(canvas: Canvas, rng: np.random.Generator, size: CordSize, level: str) -> None:
    """Prevertebral muscles, airway, great vessels, glands; at the thorax lungs, aorta and ribs."""
    face = size.half_v + rng.uniform(16, 24)
    for side in (1, -1):
        canvas.add(
            Tissue.MUSCLE,
            (side * rng.uniform(6, 11), face - rng.uniform(0, 4)),
            (rng.uniform(4, 8), rng.uniform(2.5, 5)),
            side * rng.uniform(-0.6, 0.2),
        )
        if rng.random() < 0.8:  # carotid artery, jugular vein
            spot = (side * rng.uniform(20, 30), face + rng.uniform(-5, 8))
            canvas.add(Tissue.FAT, spot, (rng.uniform(5, 9), rng.uniform(5, 9)), soft=1.5, opacity=rng.uniform(0.3, 1))
            canvas.add(Tissue.VESSEL, spot, (rng.uniform(2.3, 4),) * 2)
            canvas.add(
                Tissue.SPOT,
                (spot[0] + side * rng.uniform(4, 7), spot[1] + rng.uniform(-4, 4)),
                tuple(rng.uniform(2, 6, 2)),
                rng.uniform(0, 3),
            )
    if rng.random() < 0.85:
        radius = rng.uniform(3, 11)
        spot = (rng.normal(0, 2), face + radius + rng.uniform(0, 7))
        canvas.add(rng.choice([Tissue.GLAND, Tissue.MUSCLE, Tissue.CORTEX]), spot, (radius + rng.uniform(0.8, 3),) * 2)
        canvas.add(Tissue.AIR, spot, (radius, radius * rng.uniform(0.4, 1.2)), power=rng.uniform(1.7, 2.6))
    if level == "thoracic":
        for side in (1, -1):
            if rng.random() < 0.7:
                canvas.add(
                    Tissue.AIR,
                    (side * rng.uniform(32, 48), rng.uniform(0, 30)),
                    (rng.uniform(14, 26), rng.uniform(15, 35)),
                    side * rng.uniform(-0.5, 0.5),
                )
            bone(
                canvas,
                rng,
                (side * rng.uniform(18, 30), rng.uniform(-12, 6)),
                (rng.uniform(5, 14), rng.uniform(2, 4)),
                side * rng.uniform(-0.8, 0.2),
            )
        if rng.random() < 0.6:
            canvas.add(Tissue.VESSEL, (rng.uniform(-16, 16), face + rng.uniform(0, 9)), (rng.uniform(6, 12),) * 2)


def add_skull_base(canvas: Canvas, rng: np.random.Generator, size: CordSize) -> None:
    """The foramen magnum: clivus before, occipital bone around, tonsils and cerebellum beside and behind."""
    wide, deep = size.half_u + rng.uniform(5, 15), size.half_v + rng.uniform(4, 16)
    middle = (rng.normal(0, 1), -rng.uniform(0.1, 0.9) * (deep - size.half_v))
    bone(canvas, rng, middle, (wide + rng.uniform(4, 12), deep + rng.uniform(4, 10)), power=rng.uniform(1.8, 2.6))
    bone(canvas, rng, (middle[0], size.half_v + rng.uniform(7, 13)), (rng.uniform(8, 16), rng.uniform(3, 8)))
    canvas.add(Tissue.CSF, middle, (wide, deep), power=rng.uniform(1.8, 2.6))
    if rng.random() < 0.7:
        for side in (1, -1):
            half = (rng.uniform(4, 9), rng.uniform(4, 10))
            canvas.add(
                Tissue.CEREBELLUM,
                (side * (half[0] + rng.uniform(-0.5, 3)), -size.half_v - half[1] * rng.uniform(0.6, 1.0)),
                half,
                side * rng.uniform(-0.4, 0.4),
                warp=1.3,
            )
    for side in (1, -1):  # vertebral arteries on their way in
        canvas.add(
            Tissue.VESSEL,
            (side * (size.half_u + rng.uniform(1, 6)), size.half_v * rng.uniform(-0.5, 1)),
            (rng.uniform(1, 2.4),) * 2,
        )


def add_body_outline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Air outside of the neck, where the neck is thin: seen as a large shape of air beyond the skin, under a layer of fat."""
    turn = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.3)
    near = rng.uniform(24, 50)
    for tissue, offset in ((Tissue.FAT, 0.0), (Tissue.MUSCLE, 0.8), (Tissue.AIR, rng.uniform(1.0, 4.0))):
        start = near + offset
        canvas.add(tissue, ((start + 60) * np.sin(turn), -(start + 60) * np.cos(turn)), (90, 60), turn, warp=0.7)


def add_distractors(canvas: Canvas, rng: np.random.Generator, count: int, keep_clear_mm: float) -> None:
    """Round things that are no cord, outside of a radius: vessels, discs, rings about air, plain ellipses."""
    for _ in range(count):
        distance, turn = rng.uniform(keep_clear_mm, 40), rng.uniform(0, 2 * np.pi)
        spot = (distance * np.cos(turn), distance * np.sin(turn))
        room = max(distance - keep_clear_mm, 1.0)
        half = tuple(np.minimum(rng.uniform(1.0, 10.0, 2), room))
        tissue = int(rng.integers(0, N_TISSUES))
        if rng.random() < 0.25:
            wall = rng.uniform(0.5, 3.0)
            canvas.add(int(rng.integers(0, N_TISSUES)), spot, (half[0] + wall, half[1] + wall), turn)
            tissue = int(Tissue.AIR) if rng.random() < 0.7 else int(Tissue.VESSEL)
        canvas.add(
            tissue,
            spot,
            half,
            rng.uniform(0, np.pi),
            rng.uniform(1.6, 5.0),
            soft=rng.choice([0.4, 2.0]),
            opacity=rng.uniform(0.4, 1.0),
        )


def add_brain(canvas: Canvas, rng: np.random.Generator) -> None:
    """What lies over a folded background in a section through the head: ventricles, midbrain, eyes, skull."""
    kind = rng.choice(["cortex", "ventricles", "midbrain", "eyes", "cerebellum"])
    if kind == "ventricles":
        for side in (1, -1):
            canvas.add(
                Tissue.CSF,
                (side * rng.uniform(3, 14), rng.uniform(-15, 15)),
                (rng.uniform(2, 7), rng.uniform(6, 18)),
                side * rng.uniform(-0.5, 0.5),
                bend=2,
            )
            canvas.add(
                Tissue.GREY,
                (side * rng.uniform(12, 20), rng.uniform(-8, 8)),
                (rng.uniform(5, 9), rng.uniform(6, 14)),
                side * rng.uniform(0, 0.5),
            )
    elif kind == "midbrain":
        canvas.add(Tissue.CSF, (0, 0), (rng.uniform(20, 28), rng.uniform(18, 24)), warp=2)
        canvas.add(Tissue.WHITE, (0, rng.uniform(0, 5)), (rng.uniform(14, 19), rng.uniform(11, 16)), taper=rng.uniform(-0.2, 0.3))
        canvas.add(Tissue.CSF, (0, -rng.uniform(4, 9)), (rng.uniform(0.7, 5),) * 2)
    elif kind == "eyes":
        for side in (1, -1):
            spot = (side * rng.uniform(22, 34), rng.uniform(0, 20))
            canvas.add(Tissue.FAT, spot, (16, 16))
            canvas.add(Tissue.CSF, (spot[0], spot[1] + 6), (rng.uniform(10, 13),) * 2)
            canvas.add(Tissue.MUSCLE, (spot[0], spot[1] - 12), (2, 9))
        canvas.add(Tissue.AIR, (0, rng.uniform(-5, 15)), (rng.uniform(6, 14), rng.uniform(8, 20)))
    elif kind == "cerebellum":
        for side in (1, -1):
            canvas.add(Tissue.CEREBELLUM, (side * 18, rng.uniform(-18, -5)), (rng.uniform(14, 18), rng.uniform(14, 20)), warp=2)
        canvas.add(Tissue.WHITE, (0, rng.uniform(8, 16)), (rng.uniform(13, 18), rng.uniform(10, 14)))
    if rng.random() < 0.4:
        turn = rng.uniform(0, 2 * np.pi)
        near = rng.uniform(10, 30)
        for tissue, offset in ((Tissue.CSF, 0.0), (Tissue.CORTEX, 2.0), (Tissue.FAT, 7.0), (Tissue.AIR, rng.uniform(10, 14))):
            canvas.add(
                tissue, ((near + offset + 60) * np.sin(turn), -(near + offset + 60) * np.cos(turn)), (90, 60), turn, warp=0.7
            )
