"""Reads the path data of SVG 1.1 as far as this project writes it."""

import re


def parse(data: str) -> list[list[tuple[str, tuple[float, float], list[tuple[float, float]]]]]:
    """Subpaths of pieces ``(command, start, [points])`` with absolute points; a close adds the line back where there is a gap."""
    subpaths, position, start = [], (0.0, 0.0), (0.0, 0.0)
    for letter, body in re.findall(r'([A-Za-z])([^A-Za-z]*)', data):
        numbers = [float(number) for number in re.findall(r'-?\d+', body)]
        assert re.fullmatch(r'(\s*-?\d+)*', body), body
        if letter == 'M':
            position = start = (numbers[0], numbers[1])
            assert len(numbers) == 2
            subpaths.append([])
        elif letter == 'z':
            if position != start:
                subpaths[-1].append(('l', position, [start]))
            position = start
        else:
            for chunk in _chunks(letter, numbers):
                points = [(position[0] + x, position[1] + y) for x, y in chunk]
                subpaths[-1].append((letter, position, points))
                position = points[-1]
    return subpaths


def _chunks(letter: str, numbers: list[float]) -> list[list[tuple[float, float]]]:
    if letter == 'h':
        return [[(x, 0.0)] for x in numbers]
    if letter == 'v':
        return [[(0.0, y)] for y in numbers]
    length = {'l': 2, 'c': 6}[letter]
    assert len(numbers) % length == 0
    rows = [numbers[index:index + length] for index in range(0, len(numbers), length)]
    return [list(zip(row[::2], row[1::2], strict=True)) for row in rows]
