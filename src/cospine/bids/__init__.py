"""Reading a BIDS dataset, linking its parts, naming and writing derivatives."""

from cospine.bids.attached import load_events
from cospine.bids.dataset import read_dataset
from cospine.bids.derivatives import Derivatives
from cospine.bids.findings import CODES, SEVERITIES, Finding, finding, has_error
from cospine.bids.images import ImageHeader, image_header, load_bold, load_image
from cospine.bids.model import Dataset, FieldmapSet, Participant, Run
from cospine.bids.names import Name, build_name, parse_name
from cospine.bids.runs import readout_s
from cospine.bids.tables import read_json, read_tsv
from cospine.bids.write import write_bold, write_bytes, write_json, write_nifti, write_text, write_tsv

__all__ = [
    "CODES",
    "SEVERITIES",
    "Dataset",
    "Derivatives",
    "FieldmapSet",
    "Finding",
    "ImageHeader",
    "Name",
    "Participant",
    "Run",
    "build_name",
    "finding",
    "has_error",
    "image_header",
    "load_bold",
    "load_events",
    "load_image",
    "parse_name",
    "read_dataset",
    "read_json",
    "read_tsv",
    "readout_s",
    "write_bold",
    "write_bytes",
    "write_json",
    "write_nifti",
    "write_text",
    "write_tsv",
]
