"""How many regions images have."""

from collections.abc import Sequence

import numpy as np

SIZE = 5.0, 3.4  # inches
DOTS = 100  # to an inch
MOST_BINS = 30
BLUE, ORANGE = '#0072b2', '#e69f00'  # they stay apart for all kinds of colour vision


def count_histogram(counts: Sequence[int] | np.ndarray, title: str = 'Regions per image') -> np.ndarray:
    """A bar chart of how many images have how many regions, with their mean as a line.

    Args:
        counts: Number of regions of each image.
        title: What stands above it.

    Returns:
        ``[H, W, 3]`` uint8.

    Raises:
        ValueError: There is no image, or a number is below 1.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late, since it takes a second, and without a window system
    from matplotlib.figure import Figure

    counts = np.asarray(counts)
    if counts.ndim != 1 or not counts.size or counts.min() < 1:
        raise ValueError(f'counts must be at least one number of at least 1, got {counts}')
    figure = Figure(figsize=SIZE, dpi=DOTS, layout='constrained')
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.hist(counts, bins=_edges(counts), color=BLUE, edgecolor='white')
    axes.axvline(counts.mean(), color=ORANGE, linewidth=2, label=f'mean {counts.mean():.1f}')
    axes.set(title=title, xlabel='regions', ylabel=f'images (of {counts.size})')
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _edges(counts: np.ndarray) -> np.ndarray:
    """Borders of bins of one width, a whole number, each in the middle between two numbers of regions."""
    span = counts.max() - counts.min() + 1
    width = -(-span // min(MOST_BINS, max(1, 2 * round(counts.size**0.5))))
    return counts.min() - 0.5 + width * np.arange(-(-span // width) + 1)
