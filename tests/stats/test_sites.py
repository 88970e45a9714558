"""Site and contrast that are one are refused; otherwise it is said how much of the contrast sites leave."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.sites import within_sites


def test_site_that_is_the_contrast_is_refused() -> None:
    task = np.repeat([0.0, 1.0], [6, 8])
    cells, difference = np.column_stack([1 - task, task]), [-1, 1]
    sites = np.where(task == 0, "Geneva", "Lausanne")
    with pytest.raises(CoSpineError, match=r"Geneva, Lausanne.*ComBat"):
        within_sites(cells, difference, sites)
    # so too when every site has one group only
    three = np.array(["a"] * 3 + ["b"] * 3 + ["c"] * 8)
    with pytest.raises(CoSpineError, match="site and contrast are one"):
        within_sites(cells, difference, three)
    # and when a covariate leaves nothing but what is between sites
    age = np.arange(14.0)
    with pytest.raises(CoSpineError, match="site and contrast are one"):
        within_sites(np.column_stack([cells, age - age.mean()]), [-1, 1, 0], sites)


def test_share_within_sites() -> None:
    sites = np.repeat(["a", "b"], 8)
    balanced = np.tile([0.0, 1.0], 8)
    assert within_sites(np.column_stack([1 - balanced, balanced]), [-1, 1], sites) == pytest.approx(1)
    uneven = np.repeat([0.0, 1.0, 0.0, 1.0], [6, 2, 2, 6])
    assert within_sites(np.column_stack([1 - uneven, uneven]), [-1, 1], sites) == pytest.approx(0.75)
    assert within_sites(np.ones((16, 1)), [1], sites) == 1
    with pytest.raises(CoSpineError, match="3 sites for 16"):
        within_sites(np.ones((16, 1)), [1], ["a", "b", "c"])
