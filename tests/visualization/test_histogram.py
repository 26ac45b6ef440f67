"""The histogram is a picture of all counts."""

import numpy as np
import pytest

from dht_mm.visualization import count_histogram
from dht_mm.visualization.histogram import _edges


@pytest.mark.parametrize('counts', [[7], [5, 5], list(range(100, 2000, 7)), [1, 10**6]])
def test_every_count_lies_in_a_bin_of_whole_width(counts):
    edges = _edges(np.array(counts))
    assert np.histogram(counts, edges)[0].sum() == len(counts) and len(edges) <= 31
    assert (np.diff(edges) == np.diff(edges)[0]).all() and np.diff(edges)[0] % 1 == 0
    picture = count_histogram(counts)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and (picture == (0, 114, 178)).all(-1).any()


@pytest.mark.parametrize('counts', [[], [3, 0], [[1]]])
def test_bad_counts_are_named(counts):
    with pytest.raises(ValueError, match='counts must be at least one number of at least 1'):
        count_histogram(counts)
