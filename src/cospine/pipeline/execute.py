"""All chosen participants of a dataset: read, checked before the long work, processed; one that fails never stops the others."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cospine.bids import Dataset, Derivatives, read_dataset
from cospine.bids.overlay import read_overlay
from cospine.bids.tables import read_tsv
from cospine.check.examine import with_findings
from cospine.errors import CoSpineError
from cospine.physio.pnm import Orders
from cospine.pipeline.coupling_stage import seed_names
from cospine.pipeline.engine import carry_out, crew_for
from cospine.pipeline.given import check_given
from cospine.pipeline.keeper import Planned
from cospine.pipeline.progress import Listener, Tracker, silent
from cospine.pipeline.settings import Settings
from cospine.pipeline.units import Failure, Job, plan_person
from cospine.signal.compcor import SLICE_COMPONENTS
from cospine.stats.model import check_model, read_model

logger = logging.getLogger(__name__)

_OTHER_COLUMNS = 10  # at most, beside harmonics and drift: head motion, cord shifts, CSF, the constant
_LEAST_STEADY = 8  # volumes without the dummies that tSNR and a reference need


@dataclass(frozen=True)
class Outcome:
    """What came of an execution.

    Parameters
    ----------
    dataset : Dataset
        What was read, with all findings.
    reports : tuple of Path
        One a participant.
    failures : tuple of Failure
        Runs that failed while being processed.
    """

    dataset: Dataset
    reports: tuple[Path, ...]
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was done."""
        return not self.failures and not any(one.severity == "error" for one in self.dataset.findings)


def read_chosen(bids_dir: Path, settings: Settings, output_dir: Path | None = None, *, verify: bool = True) -> Dataset:
    """Read what the settings choose of a dataset, with all that is wrong in it.

    Parameters
    ----------
    bids_dir : Path
        Folder of the dataset.
    settings : Settings
        Parameters.
    output_dir : Path, optional
        Derivatives; metadata that `cospine check --apply` mended there stand in place of the dataset's.
    verify : bool
        Read images to their end, to find those that are damaged or cut short.

    Raises
    ------
    CoSpineError
        When the folder or the overlay cannot be read, or what is given (masks, peaks, dummies, high-pass, orders) fits no run.
    """
    overlay = None if output_dir is None else read_overlay(output_dir, bids_dir)
    dataset = read_dataset(
        bids_dir,
        participants=settings.participant_label,
        sessions=settings.session_label,
        tasks=settings.task,
        runs=settings.run,
        verify=verify,
        overlay=overlay,
    )
    dataset = with_findings(dataset)
    check_given(dataset, settings)
    _check_model(dataset, settings)
    _check_noise(dataset, settings)
    if unknown := [name for name in settings.seed_regions if name not in seed_names()]:
        raise CoSpineError(f"no region is called {', '.join(unknown)}", "--seed-regions", f"there are: {', '.join(seed_names())}")
    if settings.dummy_scans != "auto":
        short = [run.prefix for run in dataset.runnable if run.volumes - int(settings.dummy_scans) < _LEAST_STEADY]
        if short:
            raise CoSpineError(
                f"leaves fewer than {_LEAST_STEADY} volumes of {', '.join(short)}",
                f"--dummy-scans {settings.dummy_scans}",
                "give fewer, or auto",
            )
    return dataset


def _check_model(dataset: Dataset, settings: Settings) -> None:
    """Refuse a model that cannot be read, or fits no run, before the long work."""
    if settings.model is None:
        return
    model = read_model(settings.model)
    runs = [run for run in dataset.runnable if run.events is not None and model.applies(task=run.task)]
    if not runs:
        raise CoSpineError(
            "is for none of the chosen runs that have events", str(settings.model), "choose other runs, or mend the model's Input"
        )
    check_model(
        model, {run.prefix: (read_tsv(run.events), run.task) for run in runs if run.events is not None}, settings.high_pass
    )


def _check_noise(dataset: Dataset, settings: Settings) -> None:
    """Refuse a high-pass that takes everything, and cleaning with more columns than volumes, before the long work."""
    slow = [run.prefix for run in dataset.runnable if settings.high_pass <= 2 * run.tr_s]
    if slow:
        raise CoSpineError(
            f"takes all that {', '.join(slow)} can hold",
            f"--high-pass {settings.high_pass:g}",
            "give a longer period; 128 is usual",
        )
    wanting = [
        flag
        for flag, there in (
            ("--clean", settings.clean), ("--export", settings.export), ("--physio-peaks", settings.physio_peaks),
            ("--slow-responses", settings.slow_responses), ("--denoise", settings.denoise != "none"),
            ("--output-spaces", settings.output_spaces), ("--discs", settings.discs), ("--model", settings.model),
            ("--seed-regions", settings.seed_regions),
        ) if there
    ]  # fmt: skip
    if settings.level == "minimal" and wanting:
        raise CoSpineError("belongs to what --level minimal leaves out", ", ".join(wanting), "leave one of them out")
    if not settings.clean:
        return
    dummies = 0 if settings.dummy_scans == "auto" else int(settings.dummy_scans)
    short = []
    for participant in dataset.participants:
        recorded = participant.physio and not settings.ignores("physio")
        of_model = Orders.of(settings.pnm_orders).columns + len(settings.slow_responses) if recorded else SLICE_COMPONENTS
        for run in participant.runnable:
            steady = run.volumes - dummies
            if of_model + _OTHER_COLUMNS + 2 * steady * run.tr_s / settings.high_pass >= steady - 1:
                short.append(f"{run.prefix} ({steady} volumes)")
    if short:
        raise CoSpineError(
            f"takes as many columns as there are volumes in {', '.join(short)}",
            f"--clean with --pnm-orders {' '.join(map(str, settings.pnm_orders))}",
            "give lower orders, for example --pnm-orders 2 2 0 0",
        )


def execute(
    dataset: Dataset, output_dir: Path, settings: Settings, listen: Listener = silent, say: Callable[[str], None] = logger.info
) -> Outcome:
    """Process every participant of a dataset that can be processed.

    Parameters
    ----------
    dataset : Dataset
        From :func:`read_chosen`.
    output_dir : Path
        Folder of the derivatives; made when absent.
    settings : Settings
        Parameters.
    listen : callable
        Told of every step.
    say : callable
        Told what the user should know of workers.

    Returns
    -------
    Outcome

    Raises
    ------
    CoSpineError
        When the output folder or the engine cannot be used.
    """
    crew = crew_for(dataset.runnable, settings)
    _check_output(dataset.root, output_dir)
    job = job_of(dataset, output_dir, settings)
    people = [one for one in dataset.participants if one.runnable or one.findings]
    job.derivatives.write_dataset_description(dataset.name)
    done = carry_out(job, people, crew, Tracker(dataset, listen), say)
    by_label = {one.participant: one for one in done}
    # in the order of the dataset, whoever was ready first
    in_order = [by_label[one.label] for one in people if one.label in by_label]
    reports = tuple(one.report for one in in_order if one.report is not None)
    return Outcome(dataset, reports, tuple(failure for one in in_order for failure in one.failures))


def job_of(dataset: Dataset, output_dir: Path, settings: Settings) -> Job:
    """What every unit of work must know."""
    output_dir = output_dir.resolve()
    work = output_dir / "work" if settings.work_dir is None else settings.work_dir.resolve()
    findings = tuple(one for one in dataset.findings if one.participant is None)
    about = replace(dataset, root=dataset.root.resolve(), participants=(), findings=findings, index=None)
    return Job(about, Derivatives(output_dir, dataset.root.resolve()), work, settings)


def planned(dataset: Dataset, output_dir: Path, settings: Settings) -> tuple[Planned, ...]:
    """Steps that :func:`execute` would do, and why; it does nothing."""
    job = job_of(dataset, output_dir, settings)
    return tuple(one for person in dataset.participants for one in plan_person(job, person))


def _check_output(raw: Path, output_dir: Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise CoSpineError("the output is a file", str(output_dir), "name a folder")
    inside = output_dir.resolve().relative_to(raw.resolve()).parts if output_dir.resolve().is_relative_to(raw.resolve()) else None
    if inside is not None and (not inside or inside[0] != "derivatives"):
        raise CoSpineError(
            "the output folder lies in the dataset", str(output_dir), "choose another, for example its derivatives/cospine"
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CoSpineError(f"cannot be made ({error.strerror})", str(output_dir), "choose a folder you may write to") from error
