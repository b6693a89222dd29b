"""Nets drawn: as one HTML page to explore, as a picture, as a tree of text.

    from netbuilder.draw import draw

    draw(net, "net.html")

Graphviz does the layout (`pip install 'caffe-netbuilder[draw]'`); the tree needs nothing.
"""

from netbuilder.draw.drawing import FORMATS, draw, drawing
from netbuilder.draw.page import Drawn
from netbuilder.draw.tree import tree_lines

__all__ = ["FORMATS", "Drawn", "draw", "drawing", "tree_lines"]
