"""Shares in, pictures of them out: PNG files, drawn with Pillow, in colours that colour-blind people tell apart."""

from bimba.evaluation.pictures.bars import Bar, draw_bars
from bimba.evaluation.pictures.curves import Point, Scale, Series, draw_curves
from bimba.evaluation.pictures.dots import Dot, draw_dots
from bimba.evaluation.pictures.heat_map import Axis, Cell, draw_heat_map

__all__ = [
    "Axis",
    "Bar",
    "Cell",
    "Dot",
    "Point",
    "Scale",
    "Series",
    "draw_bars",
    "draw_curves",
    "draw_dots",
    "draw_heat_map",
]
