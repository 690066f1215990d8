"""Figures of reading and shrinking: how one micrograph is read, what filters keep, fold back, move and cost.

A filter's results come in dicts by the filter's label; the first half have a fixed support, the second half are
antialiased, kernel by kernel in the same order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from microloftr.images import Image
from microloftr.views.figures import DPI, FONT, LINE, WIDTH, new_figure

SMALL = FONT - 2
KERNEL_COLOURS = ("#777777", "#0072b2", "#009e73", "#d55e00")  # nearest, bilinear, bicubic, Lanczos (Okabe & Ito)
GROUP_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
HELD = 0.5  # cycles per pixel: what an image can hold (Nyquist)


def draw_readings(readings: Mapping[str, Image | np.ndarray]) -> Figure:
    """Pictures by title in rows of three, all with the same grey scale of 0 to 1, so that a dark one looks dark."""
    rows = -(-len(readings) // 3)
    figure, axes = new_figure(rows, 3, height=3.5 * rows)
    for axis in axes.flat[len(readings) :]:
        axis.remove()
    for axis, (title, reading) in zip(axes.flat, readings.items(), strict=False):
        pixels = reading.pixels if isinstance(reading, Image) else reading
        _pixels(axis, pixels, title)
    return figure


def draw_kept(frequencies: Sequence[float], kept: Mapping[str, np.ndarray], factor: int) -> Figure:
    """Amplitude left of sinusoids of `frequencies` (cycles per small pixel), fixed kernels left, antialiased right."""
    figure, axes = new_figure(1, 2, height=4.0, sharey=True)
    labels = list(kept)
    half = len(labels) // 2
    titles = ("fixed support", "stretched by the shrink factor: antialiased")
    for axis, part, title in zip(axes.flat, (labels[:half], labels[half:]), titles, strict=True):
        axis.axvspan(HELD, max(frequencies), color="#f3e3d8", linewidth=0)
        axis.plot([0, HELD, HELD, max(frequencies)], [1, 1, 0, 0], color="black", linewidth=1, linestyle=(0, (4, 3)))
        for label, colour in zip(part, KERNEL_COLOURS, strict=False):
            axis.plot(frequencies, kept[label], color=colour, linewidth=2.5, label=label.removesuffix(", antialiased"))
        axis.set_title(title, fontsize=FONT)
        axis.set_xlabel("cycles per pixel of the small image", fontsize=FONT)
        axis.set_xlim(0, max(frequencies))
        axis.set_ylim(-0.03, 1.12)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("amplitude kept", fontsize=FONT)
    axes[0, 0].text(1.0, 0.04, "too fine to hold: all of this\nbecomes a false pattern", fontsize=SMALL, ha="center")
    axes[0, 0].legend(fontsize=SMALL, loc="lower left")
    axes[0, 1].legend(fontsize=SMALL, loc="upper right")
    figure.suptitle(f"shrunk {factor}×; dashed: the ideal", fontsize=FONT)
    return figure


def draw_shrunk(pixels: np.ndarray, shrunk: Mapping[str, np.ndarray]) -> Figure:
    """What eight filters make of one image, in two rows of four with the same grey scale as the image itself."""
    columns = len(shrunk) // 2
    height, width = next(iter(shrunk.values())).shape
    figure, axes = new_figure(2, columns, height=2 * (WIDTH / columns * height / width + 0.35))
    limits = _limits(pixels)
    for axis, (label, small) in zip(axes.flat, shrunk.items(), strict=True):
        _pixels(axis, small, label, limits)
    for axis, text in zip(axes[:, 0], ("fixed support", "stretched"), strict=True):
        axis.text(-0.04, 0.5, text, transform=axis.transAxes, rotation=90, va="center", ha="right", fontsize=FONT)
    return figure


def folded_peaks(pixels: np.ndarray, scale: float, count: int = 4) -> np.ndarray:
    """The strongest periodic patterns of an image (H, W) that its shrunk copy cannot hold, (≤ count, 2).

    Frequencies (x, y) in cycles per small pixel, `scale` the small size by the large one; one of each ± pair, strongest
    first, only such as stand out: above a hundredth of the strongest. In the small image an aliasing filter puts f at
    f − round(f).
    """
    power, x, y = _spectrum(pixels)
    x, y = x / scale, y / scale
    power = np.where((np.maximum(np.abs(x), np.abs(y)) > HELD) & ((y > 0) | ((y == 0) & (x > 0))), power, 0.0)
    found: list[tuple[float, float]] = []
    least = power.max() / 100
    while len(found) < count and power.max() > max(least, 0.0):
        row, column = np.unravel_index(power.argmax(), power.shape)
        peak = x[row, column], y[row, column]
        found.append((float(peak[0]), float(peak[1])))
        power = np.where(np.hypot(x - peak[0], y - peak[1]) < 0.08, 0.0, power)
    return np.array(found).reshape(-1, 2)


def draw_spectra(pixels: np.ndarray, shrunk: Mapping[str, np.ndarray], count: int = 4) -> Figure:
    """An image and two shrunk copies above their spectra, in cycles per small pixel.

    Square: what the small image can hold. Circles: the strongest patterns beyond it, and where they land when they fold
    back. All spectra have one scale: five decades below the strongest such pattern.
    """
    figure, axes = new_figure(2, 1 + len(shrunk), height=7.0)
    scale = next(iter(shrunk.values())).shape[1] / pixels.shape[1]
    peaks = folded_peaks(pixels, scale, count)
    limits = _limits(pixels)
    reach, strongest = (1.2 * np.abs(peaks).max() if len(peaks) else 1.0), 1.0
    for number, (label, image) in enumerate({"as read": pixels, **shrunk}.items()):
        large = number == 0
        _pixels(axes[0, number], image, f"{label}\n{image.shape[1]} × {image.shape[0]} px", limits)
        axis = axes[1, number]
        power, x, y = _spectrum(image)
        unit = scale if large else 1.0
        if large:
            strongest = power[np.hypot(x, y) > 0.1 * unit].max()
        decades = np.log10(np.maximum(power / strongest, 1e-12))
        x, y = x / unit, y / unit
        bin_x, bin_y = x[0, 1] - x[0, 0], y[1, 0] - y[0, 0]
        extent = (x.min() - bin_x / 2, x.max() + bin_x / 2, y.max() + bin_y / 2, y.min() - bin_y / 2)
        axis.imshow(decades, cmap="magma", vmin=-5, vmax=0, extent=extent, interpolation="nearest")
        for peak in np.concatenate([peaks, -peaks]):
            place = peak if large else peak - np.round(peak)
            axis.add_patch(Circle(place, 0.045 * (reach if large else 1), fill=False, edgecolor="#56b4e9", linewidth=2))
        if large:
            axis.add_patch(Rectangle((-HELD, -HELD), 2 * HELD, 2 * HELD, fill=False, edgecolor="white", linewidth=1.5))
            axis.set_xlim(-reach, reach)
            axis.set_ylim(reach, -reach)
        axis.tick_params(labelsize=SMALL)
        axis.set_xlabel("cycles per small pixel", fontsize=FONT)
    return figure


def draw_shifts(errors: Mapping[str, Mapping[str, np.ndarray]], goal: float) -> Figure:
    """By how much known shifts are missed: errors[micrograph][label] (K, 2) px, each shift a dot, on a log scale."""
    figure, ((axis,),) = new_figure(height=4.6)
    labels = list(next(iter(errors.values())))
    half = len(labels) // 2
    places = {label: row + (0.6 if row >= half else 0.0) for row, label in enumerate(labels)}
    for number, (micrograph, columns) in enumerate(errors.items()):
        offset = 0.14 * (number - (len(errors) - 1) / 2)
        for label, values in columns.items():
            lengths = np.maximum(np.hypot(*values.T), 1e-4)
            name = micrograph if label == labels[0] else None
            height = np.full(len(lengths), places[label] + offset)
            axis.scatter(lengths, height, s=22, color=GROUP_COLOURS[number], alpha=0.8, linewidths=0, label=name)
    axis.axvline(goal, color="black", linewidth=1, linestyle=(0, (4, 3)))
    axis.text(goal, -0.75, f" {goal:g} px", fontsize=SMALL, va="center")
    axis.set_xscale("log")
    axis.set_yticks(list(places.values()), labels, fontsize=FONT)
    axis.set_ylim(max(places.values()) + 0.6, -1.1)
    axis.set_xlabel("error of a known shift, pixels of the small image (left end: or less)", fontsize=FONT)
    axis.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=SMALL, loc="outside upper center", ncols=len(errors), markerscale=2)
    return figure


def draw_rule(factor: int = 4, small: int = 4) -> Figure:
    """Where the centres of small pixels lie on the large ones: the rule with halves, and k / s, which misses."""
    figure, ((axis,),) = new_figure(height=2.6)
    for x in range(factor * small):
        axis.add_patch(Rectangle((x - 0.5, 1), 1, 1, facecolor="#eeeeee", edgecolor="#999999"))
        axis.text(x, 1.72, str(x), ha="center", va="center", fontsize=SMALL)
    for k in range(small):
        left = k * factor - 0.5
        axis.add_patch(Rectangle((left, 0), factor, 1, facecolor="#dbe9f6", edgecolor="black", linewidth=1.5))
        centre = (k + 0.5) * factor - 0.5
        axis.text(centre, 0.3, f"small pixel {k}", ha="center", va="center", fontsize=SMALL)
        axis.plot([centre, centre], [0.62, 1.3], color=KERNEL_COLOURS[1], linewidth=2)
        axis.plot(centre, 1.3, "o", color=KERNEL_COLOURS[1], markersize=9, label="(k + ½)/s − ½" if k == 0 else None)
        axis.plot(k * factor, 1.3, "X", color=LINE, markersize=11, label="k / s" if k == 0 else None)
    axis.set_xlim(-0.7, factor * small - 0.3)
    axis.set_ylim(-0.05, 2.05)
    axis.set_axis_off()
    axis.set_title(f"shrunk {factor}×: where is the centre of small pixel k, in pixels as read?", fontsize=FONT)
    figure.legend(fontsize=FONT, loc="outside lower center", ncols=2)
    return figure


def draw_scores(
    levels: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], labels: Mapping[str, str], threshold: int
) -> Figure:
    """AUC@threshold of each matcher (a column) by filter (a row) and level (a colour), with its interval, above;
    below, by how much our filter is better on the same pairs.

    levels[level][matcher][filter's key] as `python -m microloftr shrinking` records it; labels: key → label.
    """
    matchers = list(next(iter(levels.values())))
    figure, axes = new_figure(2, len(matchers), height=7.4, sharex="row", sharey=True)
    rows = {key: k + (0.6 if k >= len(labels) // 2 else 0.0) for k, key in enumerate(labels)}
    for column, matcher in enumerate(matchers):
        for axis, name in zip(axes[:, column], (f"auc_{threshold}", f"ours_better_{threshold}"), strict=True):
            for number, level in enumerate(levels):
                table = levels[level][matcher]
                offset = 0.3 * (number - (len(levels) - 1) / 2)
                for key, row in rows.items():
                    _interval(axis, table[key], name, row + offset, GROUP_COLOURS[number], level if row == 0 else "")
            axis.grid(axis="x", alpha=0.3)
        axes[1, column].axvline(0, color="black", linewidth=1)
        axes[0, column].set_title(f"{matcher}: AUC@{threshold} px", fontsize=FONT)
        axes[1, column].set_title("our filter better on the same pairs by", fontsize=FONT)
    axes[0, 0].set_ylim(max(rows.values()) + 0.6, -0.6)
    for axis in axes[:, 0]:
        axis.set_yticks(list(rows.values()), list(labels.values()), fontsize=FONT)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=SMALL, loc="outside upper center", ncols=len(levels))
    return figure


def _interval(axis: Axes, row: Mapping[str, Any], name: str, y: float, colour: str, label: str) -> None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    axis.plot([low, high], [y, y], color=colour, linewidth=2.5)
    axis.plot(row[name], y, "o", color=colour, markersize=7, label=label or None)


def _pixels(axis: Axes, pixels: np.ndarray, title: str, limits: tuple[float, float] = (0.0, 1.0)) -> None:
    """Every pixel as the square that it is where there are few, grey values `limits` from black to white."""
    few = max(pixels.shape[:2]) <= WIDTH * DPI / 3
    axis.imshow(pixels, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest" if few else None)
    axis.set_title(title, fontsize=FONT)
    axis.set_axis_off()


def _limits(pixels: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(pixels, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (0.0, 1.0)


def _spectrum(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power (H, W) of an image faded out by a Hann window, and its frequencies x, y (H, W) in cycles per pixel.

    A wave of one amplitude has one power, whatever the size of the image.
    """
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in pixels.shape))
    waves = np.fft.fftshift(np.fft.fft2((pixels - pixels.mean(dtype=np.float64)) * window)) / (window.sum() / 2)
    power = np.abs(waves) ** 2
    y, x = np.meshgrid(*(np.fft.fftshift(np.fft.fftfreq(side)) for side in pixels.shape), indexing="ij")
    return power, x, y
