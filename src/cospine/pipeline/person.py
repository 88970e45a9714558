"""What the runs of a participant share: fields and anatomies, made and written when one of them is first needed."""

from dataclasses import dataclass, field
from pathlib import Path

from cospine.bids import Derivatives, FieldmapSet, Participant, Run
from cospine.pipeline.anatomy_files import write_anatomy
from cospine.pipeline.anatomy_stage import Anatomy, AnatomySources, make_anatomy
from cospine.pipeline.field_stage import Choice, FieldSources, Source, estimate_source
from cospine.pipeline.given import anatomy_files, anatomy_prefix
from cospine.pipeline.keeper import Done, Keeper
from cospine.pipeline.physio_stage import PhysioSources
from cospine.pipeline.run_files import VERSIONS, write_source
from cospine.pipeline.settings import Settings
from cospine.space.templates import template_state


@dataclass(frozen=True, eq=False)
class Person:
    """A participant, and what its runs share.

    Parameters
    ----------
    participant : Participant
    derivatives : Derivatives
        Where to write.
    keeper : Keeper
        Of the steps.
    """

    participant: Participant
    derivatives: Derivatives
    keeper: Keeper
    fields: FieldSources = field(init=False)
    recordings: PhysioSources = field(init=False)
    anatomies: AnatomySources = field(init=False)

    def __post_init__(self) -> None:
        settings = self.keeper.settings
        object.__setattr__(self, "fields", FieldSources(self.participant, self.keeper.watched(), self._field))
        object.__setattr__(self, "recordings", PhysioSources(self.participant, settings))
        object.__setattr__(self, "anatomies", AnatomySources(self.participant, settings, self._anatomy))

    @property
    def unit(self) -> str:
        """Of the steps that belong to the person as a whole."""
        return self.participant.label

    def unit_of(self, run: Run) -> str:
        """Of the steps of a run."""
        return f"{self.participant.label}/{run.prefix}"

    def prepare(self) -> None:
        """Make all that any of the runs needs of what they share."""
        for run in self.participant.runnable:
            self.choice_of(run)
            self.anatomies.of(run)

    def choice_of(self, run: Run) -> Done[Choice]:
        """The field map of a run: the step that chose it."""
        linked = self.participant.fieldmaps_of(run)
        return self.keeper.step(
            self.unit_of(run),
            "field",
            VERSIONS["field"],
            lambda _: (self.fields.choice_for(run), ()),
            files=[path for one, _ in linked for path in one.images],
            facts=[run_facts(run), [[one.identifier, one.kind, one.sidecars, how] for one, how in linked]],
        )

    def fields_of(self, run: Run) -> list[Done[Source]]:
        """The fields that were made of the field maps linked to a run."""
        linked = (self.keeper.found(self.unit, f"field-{one.identifier}") for one, _ in self.participant.fieldmaps_of(run))
        return [one for one in linked if one is not None]

    def _field(self, fieldmap: FieldmapSet) -> Source:
        def compute(settings: Settings) -> tuple[Source, tuple[Path, ...]]:
            source = estimate_source(fieldmap)
            return source, write_source(self.derivatives, self.participant.label, source)

        return self.keeper.step(
            self.unit,
            f"field-{fieldmap.identifier}",
            VERSIONS["field"],
            compute,
            files=fieldmap.images,
            facts=[fieldmap.kind, fieldmap.sidecars, fieldmap.echo_times_s, fieldmap.session],
        ).value

    def _anatomy(self, path: Path) -> Done[Anatomy]:
        given = anatomy_files(anatomy_prefix(path), self.keeper.settings)

        def compute(settings: Settings) -> tuple[Anatomy, tuple[Path, ...]]:
            anatomy = make_anatomy(path, settings, self.keeper.said, given)
            return anatomy, write_anatomy(self.derivatives, anatomy, settings)

        return self.keeper.step(
            self.unit,
            f"anatomy-{path.name.partition('.')[0]}",
            VERSIONS["anatomy"],
            compute,
            files=[path, *given.values()],
            facts=[sorted(given), template_state(self.keeper.settings.template_dir)],
        )


def run_facts(run: Run) -> dict[str, object]:
    """What is known of a run beside its files, as records hold it."""
    return {
        "prefix": run.prefix,
        "sidecar": run.sidecar,
        "shape": run.shape,
        "affine": run.affine,
        "volumes": run.volumes,
        "tr_s": run.tr_s,
        "slice_times_s": run.slice_times_s,
        "slice_axis": run.slice_axis,
        "phase_encoding": run.phase_encoding,
        "total_readout_s": run.total_readout_s,
    }
