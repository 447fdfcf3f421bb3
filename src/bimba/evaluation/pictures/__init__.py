"""Shares in, pictures of them out: PNG files, drawn with Pillow, in colours that colour-blind people tell apart."""

from bimba.evaluation.pictures.bars import Bar, draw_bars
from bimba.evaluation.pictures.heat_map import Axis, Cell, draw_heat_map

__all__ = ["Axis", "Bar", "Cell", "draw_bars", "draw_heat_map"]
