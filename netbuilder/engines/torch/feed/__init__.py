"""The data of a net for training and tests: batches of every data layer, on the device."""

from netbuilder.engines.torch.feed.extras import Extras
from netbuilder.engines.torch.feed.feed import Batch, Deal, Feed

__all__ = ["Batch", "Deal", "Extras", "Feed"]
