"""ITK's text series, read back by us and by ITK."""

from pathlib import Path

import numpy as np
import pytest

from cospine.space.io import itk_series, read_itk_series
from cospine.space.transform import rigid_matrix

CENTRE = np.array([3.0, -20.0, -55.0])


def poses() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rigid_matrix(rng.normal(size=(4, 6)) * [1, 1, 1, 0.05, 0.05, 0.05], CENTRE)


def test_round_trip() -> None:
    np.testing.assert_allclose(read_itk_series(itk_series(poses(), CENTRE)), poses(), atol=1e-9)


def test_antspyx_maps_points_as_we_do(tmp_path: Path) -> None:
    """Each transform of the series on its own: antspyx would compose them."""
    ants = pytest.importorskip("ants")
    header, *parts = itk_series(poses(), CENTRE).split("#Transform ")
    point = np.array([12.0, 34.0, -56.0])
    flip = np.array([-1, -1, 1.0])
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.txt"
        path.write_text(header + "#Transform 0\n" + part.partition("\n")[2])
        transform = ants.read_transform(str(path))
        mapped = np.array(transform.apply_to_point(tuple(point * flip))) * flip
        expected = poses()[number] @ [*point, 1]
        np.testing.assert_allclose(mapped, expected[:3], atol=1e-5)


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not an ITK transform"):
        read_itk_series("hello")
    with pytest.raises(ValueError, match="12 parameters"):
        read_itk_series("#Insight Transform File V1.0\nParameters: 1 2 3\nFixedParameters: 0 0 0\n")
