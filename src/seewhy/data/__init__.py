"""Images in: the datasets, and how a picture becomes what a network sees."""

from seewhy.data.base import DATASETS as DATASETS
from seewhy.data.base import Batch as Batch
from seewhy.data.base import Dataset as Dataset
from seewhy.data.base import HasParts as HasParts
from seewhy.data.base import Parts as Parts
from seewhy.data.base import batches as batches
from seewhy.data.file_dataset import Entry as Entry
from seewhy.data.file_dataset import FileDataset as FileDataset
from seewhy.data.file_dataset import PictureList as PictureList
from seewhy.data.folder import Folder as Folder
from seewhy.data.shapes.shapes import Shapes as Shapes
from seewhy.data.voc import VOC as VOC
