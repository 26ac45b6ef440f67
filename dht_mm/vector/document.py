"""The SVG document around the paths."""

import re
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy import ndarray

from .fill import Gradients

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
REGIONS = 'regions'  # id of the group of all paths
AXIS = 'axis'  # id of the gradient that hands its units to all others
SQUARE = 32  # pixels a side of the background's squares
NO_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')  # what no XML document may hold


def document(size: tuple[int, int], title: str, elements: Iterable[str]) -> str:
    """A file of the given height and width in pixels, with its title and elements, one a line."""
    height, width = size
    return '\n'.join([
        f'<svg {NAMESPACES} version="1.1" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        '<title>' + escape(NO_XML.sub('\ufffd', title)) + '</title>', *elements, '</svg>', ''])


def painted_regions(paths: Sequence[str], steps: int) -> list[str]:
    """Paths in units of ``1 / steps`` pixels, painted twice.

    Where two antialiased shapes share an edge, what is below shines through the pixels on it. So the regions are painted without
    antialiasing first, which leaves no pixel open, and over that with it.
    """
    return [f'<use xlink:href="#{REGIONS}" shape-rendering="crispEdges"/>',
            f'<g id="{REGIONS}" fill-rule="evenodd" transform="scale({1 / steps:.9g})">', *paths, '</g>']


def path_elements(outlines: Iterable[str], fills: Iterable[str]) -> list[str]:
    """One filled path for each outline."""
    return [f'<path fill="{fill}" d="{outline}"/>' for outline, fill in zip(outlines, fills, strict=True)]


def level_groups(paths: Sequence[str], levels: ndarray) -> list[str]:
    """Paths gathered in a group ``level-N`` for each level of the hierarchy that has any, the finest first."""
    groups = []
    for level in np.unique(levels).tolist():
        groups += [f'<g id="level-{level}">', *(paths[index] for index in np.flatnonzero(levels == level).tolist()), '</g>']
    return groups


def gradient_elements(gradients: Gradients, steps: int) -> list[str]:
    """Definitions of gradients ``g0``, ``g1``, ... in units of ``1 / steps`` pixels; none if there are none."""
    if not len(gradients.regions):
        return []
    ends = np.rint(gradients.ends * steps).astype(np.int64).reshape(-1, 4).tolist()
    colors = hex_colors(gradients.colors.reshape(-1, 3))
    elements = [
        f'<linearGradient id="g{index}" xlink:href="#{AXIS}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"><stop offset="0" '
        f'stop-color="{first}"/><stop offset="1" stop-color="{last}"/></linearGradient>'
        for index, ((x1, y1, x2, y2), first, last) in enumerate(zip(ends, colors[::2], colors[1::2], strict=True))]
    return ['<defs>', f'<linearGradient id="{AXIS}" gradientUnits="userSpaceOnUse"/>', *elements, '</defs>']


def background_squares(image: ndarray) -> list[str]:
    """Squares of ``SQUARE`` pixels in the colour of their first pixel."""
    height, width = image.shape[:2]
    corners = [(x, y) for y in range(0, height, SQUARE) for x in range(0, width, SQUARE)]
    colors = hex_colors(image[::SQUARE, ::SQUARE].reshape(-1, 3))
    return [f'<rect x="{x}" y="{y}" width="{min(SQUARE, width - x)}" height="{min(SQUARE, height - y)}" fill="{color}"/>'
            for (x, y), color in zip(corners, colors, strict=True)]


def hex_colors(colors: ndarray) -> list[str]:
    """``[n, 3]`` uint8 RGB as ``#rrggbb``."""
    text = np.ascontiguousarray(colors).tobytes().hex()
    return [f'#{text[start:start + 6]}' for start in range(0, len(text), 6)]
