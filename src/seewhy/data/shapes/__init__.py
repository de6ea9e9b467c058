"""The images with known truth that come with the package."""

from seewhy.data.shapes.shapes import Shapes as Shapes
from seewhy.data.shapes.shapes import ShapesSample as ShapesSample
