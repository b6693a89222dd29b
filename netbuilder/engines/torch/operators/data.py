"""Sources of data. A pass gives their tops by name; what it does not give is made or read here."""

from __future__ import annotations

from torch import Tensor

from netbuilder.engines.torch.operator import Operator
from netbuilder.errors import EngineError

__all__ = ["COVERED", "REFUSED"]


class Input(Operator):
    """Blobs that the caller gives."""

    def forward(self) -> Tensor:  # type: ignore[override]
        raise EngineError(
            f"no value for input '{self.proto.top[0]}' of layer '{self.name}'",
            hint="give it by name: m(data=x)",
        )


COVERED: dict[str, type[Operator]] = {"Input": Input}
REFUSED: dict[str, str] = {}
