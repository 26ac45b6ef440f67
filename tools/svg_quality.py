"""How near an SVG comes to its image: rendered at the image's size by an installed renderer, then compared.

Renderers and scikit-image are optional; `pip install resvg-py` (or cairosvg) `scikit-image` adds them.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

try:
    import resvg_py
except ImportError:
    resvg_py = None
try:
    import cairosvg
except (ImportError, OSError):  # OSError: the package is there and the cairo library is not
    cairosvg = None
try:
    from skimage.metrics import structural_similarity
except ImportError:
    structural_similarity = None


def render_resvg(svg: str, width: int, height: int) -> np.ndarray:
    """``[height, width, 4]`` uint8 RGBA by resvg."""
    return _decode(resvg_py.svg_to_bytes(svg_string=svg, width=width, height=height))


def render_cairosvg(svg: str, width: int, height: int) -> np.ndarray:
    """``[height, width, 4]`` uint8 RGBA by CairoSVG."""
    return _decode(cairosvg.svg2png(svg.encode(), output_width=width, output_height=height))


def _decode(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(bytes(png))).convert('RGBA'))


# The renderers that are installed, the preferred one first.
RENDERERS: dict[str, Callable[[str, int, int], np.ndarray]] = {
    name: function for name, module, function in (
        ('resvg', resvg_py, render_resvg), ('cairosvg', cairosvg, render_cairosvg)) if module is not None}


def render(svg: str, width: int, height: int) -> np.ndarray | None:
    """``[height, width, 3]`` uint8 RGB on white by the preferred renderer; None where none is installed."""
    if not RENDERERS:
        return None
    rgba = Image.fromarray(next(iter(RENDERERS.values()))(svg, width, height))
    return np.array(Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba).convert('RGB'))


def ssim(image: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity of two RGB images by scikit-image; NaN without it or below 7 pixels a side, the window's size."""
    if structural_similarity is None or min(image.shape[:2]) < 7:
        return math.nan
    return float(structural_similarity(image, other, channel_axis=2))
