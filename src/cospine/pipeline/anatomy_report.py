"""What the report says and shows of a person's anatomy, and of a run's place in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.segmentation import CordSegmentation
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.spaces_stage import MNI, PAM50, Placement
from cospine.quality import anatomy_figures as brain_pictures
from cospine.quality import anatomy_verdicts as say
from cospine.quality import cord_figures as cord_pictures
from cospine.quality.anatomy_methods import anatomy_methods, placement_methods
from cospine.quality.figure import Figure
from cospine.quality.methods import MethodsText
from cospine.quality.mosaic import cord_mosaic
from cospine.quality.planes import Plane, sampled
from cospine.quality.report import Number, RunReport, Verdict
from cospine.space.grid import Grid
from cospine.space.templates import CordTemplate, brain_template
from cospine.space.transform import Affine, Transform

_DICE_EVERY = 2  # of the 2 mm template's voxels along each axis


@dataclass(frozen=True)
class AnatomyReport:
    """A person's part of the page: what was found in one anatomical image."""

    anatomy: Anatomy
    cord_seg: str

    def section(self) -> RunReport:
        """Everything the page says about the image."""
        one = self.anatomy
        size = " × ".join(f"{s:.3g}" for s in one.grid.voxel_mm)
        return RunReport(
            prefix=one.source.name.partition(".")[0],
            title=f"Anatomy, {one.suffix}" + (f" of {one.session.replace('-', ' ')}" if one.session else ""),
            facts=(
                ("file", one.source.name),
                ("grid", " × ".join(map(str, one.grid.shape))),
                ("voxel", f"{size} mm"),
                (
                    "brain mask",
                    self._origin("brain", f"found, {_millilitres(one.brain.mask, one.grid):.0f} ml", one.brain.reason),
                ),
                ("cord mask", self._origin("cord", "segmented", one.cord.reason)),
                ("discs", self._origin("discs", "found", one.levels.reason if not one.levels.found else "")),
                ("cord template", "none" if one.template is None else one.template.name),
            ),
            verdicts=self.verdicts(),
            numbers=self.numbers(),
            figures=tuple(self.figures()),
            notes=tuple(self.notes()),
        )

    def notes(self) -> list[str]:
        """What was left out or given."""
        given = [f"The {what} of the {self.anatomy.suffix} was given: {path.name}." for what, path in self.anatomy.given.items()]
        return [*self.anatomy.notes, *given]

    def verdicts(self) -> tuple[Verdict, ...]:
        """What it comes to, in plain words."""
        one = self.anatomy
        lines = []
        if one.to_mni is not None:
            lines.append(say.brain_template_verdict(MNI, self._brain_dice, one.to_mni.jacobian_min))
        if one.cord.found:
            lines += [_mask_verdict(one.cord, one.suffix, "cord" in one.given)]
            lines.append(
                say.levels_verdict(one.levels.confidence, one.levels.method, one.levels.reason, given="discs" in one.given)
            )
        if one.template is not None:
            lines.append(say.template_verdict(one.template.name, one.template.source))
        if one.to_pam50 is not None and one.template is not None:
            warp = one.to_pam50
            covered = np.unique(one.template.vertebral[..., warp.coverage > 0])
            lines.append(
                say.cord_template_verdict(
                    warp.dice_z, warp.smallest_jacobian, warp.round_trip_mm, covered[covered > 0].tolist(), len(warp.discs)
                )
            )
        if one.joint is not None:
            lines.append(say.join_verdict(one.joint.disagreement_mm))
        return tuple(lines)

    def numbers(self) -> tuple[Number, ...]:
        """Headline numbers."""
        one, numbers = self.anatomy, []
        if one.to_mni is not None:
            dice = self._brain_dice
            exact = {"brain_template_dice": dice}
            numbers.append(Number("Brain with the template's, Dice", f"{dice:.3f}", region="brain", exact=exact))
        if one.cord.found:
            held = one.cord.confidence > 0
            sure = float(np.median(one.cord.confidence[held]))
            exact = {"cord_anatomy_confidence_median": sure}
            numbers.append(Number("Cord mask, median confidence", f"{sure:.2f}", region="cord", exact=exact))
        if one.to_pam50 is not None:
            dice = float(np.nanmedian(one.to_pam50.dice_z))
            exact = {"cord_template_dice": dice}
            numbers.append(Number("Cord with the template's, Dice", f"{dice:.2f}", region="cord", exact=exact))
        return tuple(numbers)

    def figures(self) -> list[Figure]:
        """Cord mask, levels, MNI, PAM50."""
        one, figures = self.anatomy, list[Figure]()
        affine = one.grid.affine
        if one.cord.found:
            figures.append(cord_mosaic(one.image, affine, one.cord.mask, confidence=one.cord.confidence, name=one.suffix))
        if one.levels.found and one.cord.found:
            figures.append(cord_pictures.levels_figure([_neck(one)], one.levels.confidence))
        if one.to_mni is not None:
            figures.append(_in_mni(one, None))
        if one.to_pam50 is not None and one.template is not None:
            figures.append(_in_pam50(one, one.template, None))
            figures.append(_overlap(one, one.template, {one.suffix: one.to_pam50.dice_z}))
        return figures

    def methods(self) -> MethodsText:
        """Methods text."""
        one = self.anatomy
        return anatomy_methods(
            one.suffix,
            brain=one.to_mni is not None,
            brain_given="brain" in one.given,
            cord="" if not one.cord.found else "given" if "cord" in one.given else "sct" if self.cord_seg == "sct" else "network",
            anchor=one.levels.method if one.levels.found else "",
            to_pam50=one.to_pam50 is not None,
            template="PAM50" if one.template is None else one.template.name,
            template_source="" if one.template is None else one.template.source,
        )

    def _origin(self, what: str, found: str, reason: str) -> str:
        return f"given, {self.anatomy.given[what].name}" if what in self.anatomy.given else reason or found

    @cached_property
    def _brain_dice(self) -> float:
        """Dice of the brain mask with the template's, in the template's space."""
        one, template = self.anatomy, brain_template(2)
        if one.to_mni is None:
            return float("nan")
        every = np.s_[::_DICE_EVERY, ::_DICE_EVERY, ::_DICE_EVERY]
        points = template.grid.to_ras(np.moveaxis(np.indices(template.grid.shape), 0, -1)[every])
        mine = sampled(one.brain.mask, one.grid.affine, one.to_mni.forward.map(points)) >= 0.5
        theirs = template.mask[every]
        return float(2 * np.count_nonzero(mine & theirs) / max(np.count_nonzero(mine) + np.count_nonzero(theirs), 1))


@dataclass(frozen=True)
class PlacementReport:
    """A run's part of the page: how it lies in its person's anatomy and in the templates."""

    result: RunResult
    placement: Placement

    def notes(self) -> list[str]:
        """What was left out."""
        return list(self.placement.notes)

    def verdicts(self) -> tuple[Verdict, ...]:
        """What it comes to, in plain words."""
        placed, fit = self.placement, self.placement.alignment.fit
        lines = list(
            say.alignment_verdicts(
                placed.anatomy.suffix,
                placed.alignment.regions,
                contour_mm=fit.contour_mm,
                correlation=fit.correlation,
                cord_mm=self._cord_mm,
                jacobian_min=fit.smallest_jacobian,
                reason=placed.alignment.reason,
            )
        )
        template = placed.anatomy.template
        for name, (space, _) in placed.means.items():
            covered = space.covered
            if name == MNI:
                mask = brain_template(2).mask
                lines.append(say.coverage_verdict(name, np.count_nonzero(covered & mask) / np.count_nonzero(mask)))
            elif template is not None:
                held = sampled(covered, space.grid.affine, template.grid.to_ras(np.argwhere(template.cord >= 0.5))) >= 0.5
                levels = [
                    np.unique(labels[template.cord >= 0.5][held]).tolist() for labels in (template.vertebral, template.spinal)
                ]
                vertebral, spinal = ([n for n in numbers if n > 0] for numbers in levels)
                lines.append(say.coverage_verdict(name, float(held.mean()), vertebral, spinal))
        return tuple(lines)

    def numbers(self) -> tuple[Number, ...]:
        """Headline numbers."""
        alignment = self.placement.alignment
        contour = alignment.fit.contour_mm if np.isfinite(alignment.fit.contour_mm[1]) else None
        moved = None
        if "brain" in alignment.regions:
            anatomy = self.placement.anatomy
            middle = anatomy.grid.to_ras(np.argwhere(anatomy.brain.mask)[::50].mean(axis=0))
            moved = (
                float(np.linalg.norm(Affine(alignment.rigid).map(middle) - middle)),
                float(np.rad2deg(np.arccos(np.clip((np.trace(alignment.rigid[:3, :3]) - 1) / 2, -1, 1)))),
            )
        return say.alignment_numbers(contour, self._cord_mm, self.placement.anatomy.suffix, moved)

    def further(self) -> dict[str, float]:
        """Measures that no headline number shows."""
        return {"anatomy_jacobian_min": self.placement.alignment.fit.smallest_jacobian}

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What the run was aligned to and how that went, in numbers."""
        alignment = self.placement.alignment
        fit = alignment.fit
        facts = [("aligned to", f"{self.placement.anatomy.source.name} ({' and '.join(alignment.regions)})")]
        if "brain" in alignment.regions:
            facts.append(("mutual information with it", f"{fit.information[0]:.3f} → {fit.information[1]:.3f} nats"))
            facts.append(("bend of the gradients, fitted", f"up to {np.abs(alignment.warp).max():.1f} mm at 140 mm"))
        facts.append(("smallest Jacobian to it", f"{fit.smallest_jacobian:.2f}".replace("-", "−")))
        return tuple(facts)

    def figures(self) -> list[Figure]:
        """Alignment to the anatomical image, levels, and the templates."""
        placed, result = self.placement, self.result
        anatomy, alignment, fit = placed.anatomy, placed.alignment, placed.alignment.fit
        figures = [self._alignment()]
        if len(fit.slices):
            axis = result.segmentation.slice_axis
            in_plane = [a for a in range(3) if a != axis]
            centres = np.tile((np.array(result.grid.shape) - 1) / 2, (len(fit.slices), 1))
            centres[:, axis] = fit.slices
            z_mm = result.grid.to_ras(centres)[:, 2]
            figures.append(
                brain_pictures.neck_figure(
                    z_mm, fit.before_mm, fit.after_mm, result.grid.affine, (in_plane[0], in_plane[1]), anatomy.suffix
                )
            )
        if placed.vertebral.any():
            discs = {number: alignment.to_epi.map(point) for number, point in anatomy.levels.discs.items()}
            neck = cord_pictures.Neck("EPI", result.mean, result.grid.affine, result.cord, placed.vertebral, placed.spinal, discs)
            figures.append(cord_pictures.levels_figure([_neck(anatomy), neck], anatomy.levels.confidence))
        if MNI in placed.means:
            figures.append(_in_mni(anatomy, placed))
        if PAM50 in placed.means and anatomy.template is not None and anatomy.to_pam50 is not None:
            figures.append(_in_pam50(anatomy, anatomy.template, placed))
            dice = {anatomy.suffix: anatomy.to_pam50.dice_z, "EPI": self._dice(anatomy.template)}
            figures.append(_overlap(anatomy, anatomy.template, dice))
        return figures

    def methods(self) -> MethodsText:
        """Methods text."""
        return placement_methods(self.placement.anatomy.suffix, self.placement.alignment.regions, tuple(self.placement.means))

    @property
    def _cord_mm(self) -> tuple[float, float] | None:
        fit = self.placement.alignment.fit
        if not len(fit.slices):
            return None
        before, after = (float(np.median(np.linalg.norm(one, axis=1))) for one in (fit.before_mm, fit.after_mm))
        return before, after

    def _alignment(self) -> Figure:
        grid, anatomy = self.result.grid, self.placement.anatomy
        points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
        points = self.placement.alignment.to_t1w.map(points)
        image, brain, cord = (
            sampled(one, anatomy.grid.affine, points) for one in (anatomy.image, anatomy.brain.mask, anatomy.cord.mask)
        )
        return brain_pictures.alignment_figure(
            self.result.mean, image, grid.affine, brain=brain >= 0.5, cord=cord >= 0.5, suffix=anatomy.suffix
        )

    def _dice(self, template: CordTemplate) -> NDArray[np.floating]:
        """Dice of the run's cord, in the space that its series is written in, with the template's: one a slice of it."""
        space, _ = self.placement.means[PAM50]
        index = np.moveaxis(np.indices(space.grid.shape), 0, -1)
        theirs = sampled(template.cord, template.grid.affine, space.grid.to_ras(index)) >= 0.5
        mine = space.carried(self.result.segmentation.soft) >= 0.5
        sizes = np.stack([(part & space.covered).sum(axis=(0, 1)) for part in (mine & theirs, mine, theirs)]).astype(float)
        with np.errstate(invalid="ignore"):
            dice = np.where(sizes[1] > 0, 2 * sizes[0] / (sizes[1] + sizes[2]), np.nan)
        nearest = np.rint(space.grid.to_voxel(_column(template.grid))[:, 2]).astype(int)
        return dice[np.clip(nearest, 0, len(dice) - 1)]


def _mask_verdict(cord: CordSegmentation, where: str, given: bool) -> Verdict:
    held = np.asarray(cord.mask.any(axis=tuple(a for a in range(3) if a != cord.slice_axis)))
    return say.mask_verdict(cord.confidence, held, where, "ijk"[cord.slice_axis], given)


def run_mask_verdict(result: RunResult) -> Verdict:
    """How far the cord mask of a run is to be believed."""
    return _mask_verdict(result.segmentation, "EPI", "cord" in result.given)


def _neck(one: Anatomy) -> cord_pictures.Neck:
    """The anatomical image as levels are shown on it."""
    return cord_pictures.Neck(
        one.suffix, one.image, one.grid.affine, one.cord.mask, one.vertebral, one.spinal, dict(one.levels.discs)
    )


def _in_mni(anatomy: Anatomy, placed: Placement | None) -> Figure:
    """Template, anatomical image and, where there is one, the mean of the written series in MNI."""
    template = brain_template(1)
    planes = brain_pictures.brain_planes(template.mask, template.grid.affine)
    affine = template.grid.affine
    images = {"Template": _pictures(template.t1, affine, planes)}
    if anatomy.to_mni is not None:
        images[anatomy.suffix] = _pictures(anatomy.image, anatomy.grid.affine, planes, anatomy.to_mni.forward)
    if placed is not None:
        space, mean = placed.means[MNI]
        images["EPI"] = _pictures(mean, space.grid.affine, planes)
    return brain_pictures.template_figure(
        planes, images, _pictures(template.mask, affine, planes), _pictures(template.white, affine, planes), MNI
    )


def _in_pam50(anatomy: Anatomy, template: CordTemplate, placed: Placement | None) -> Figure:
    """Template, anatomical image and, where there is one, the mean of the written series in PAM50."""
    affine = template.grid.affine
    planes = cord_pictures.cord_planes(template.vertebral, template.cord, affine)
    contrast = next((one for name in ("T1", "T2s", "T2") if (one := template.contrast.get(name)) is not None), template.cord)
    images = {"Template": _pictures(contrast, affine, planes)}
    if anatomy.to_pam50 is not None:
        images[anatomy.suffix] = _pictures(anatomy.image, anatomy.grid.affine, planes, anatomy.to_pam50.forward)
    if placed is not None:
        space, mean = placed.means[PAM50]
        images["EPI"] = _pictures(mean, space.grid.affine, planes)
    levels = [cord_pictures.level_of_slices(one)[::-1] for one in (template.vertebral, template.spinal)]
    edges = np.arange(template.grid.shape[2] + 1) * float(template.grid.voxel_mm[2])
    cord, grey = (_pictures(one, affine, planes) for one in (template.cord, template.grey))
    return cord_pictures.cord_template_figure(planes, images, cord, grey, levels[0], levels[1], edges, template.name)


def _overlap(anatomy: Anatomy, template: CordTemplate, dice: dict[str, NDArray[np.floating]]) -> Figure:
    coverage = np.zeros(template.grid.shape[2]) if anatomy.to_pam50 is None else anatomy.to_pam50.coverage
    levels = [cord_pictures.level_of_slices(one) for one in (template.vertebral, template.spinal)]
    return cord_pictures.dice_figure(_column(template.grid)[:, 2], dice, coverage, levels[0], levels[1])


def _pictures(
    image: NDArray, affine: NDArray, planes: Sequence[Plane], to_image: Transform | None = None
) -> list[NDArray[np.float32]]:
    """An image in every plane, by way of a transform from the planes' space to the image's."""
    return [sampled(image, affine, plane.points if to_image is None else to_image.map(plane.points)) for plane in planes]


def _column(grid: Grid) -> NDArray[np.float64]:
    """Points along the third axis at the first voxel of the others, RAS mm."""
    index = np.zeros((grid.shape[2], 3))
    index[:, 2] = np.arange(grid.shape[2])
    return grid.to_ras(index)


def _millilitres(mask: NDArray[np.bool_], grid: Grid) -> float:
    return float(mask.sum() * np.prod(grid.voxel_mm)) / 1000
