"""The contrast of two colours, by which tests tell whether letters can be read."""

from __future__ import annotations

from matplotlib.colors import to_rgb


def contrast(one: str, two: str = "white") -> float:
    """WCAG's contrast of two colours."""
    light = []
    for color in (one, two):
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(light) + 0.05) / (min(light) + 0.05)
