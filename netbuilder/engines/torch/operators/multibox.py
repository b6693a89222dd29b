"""SSD's MultiBoxLoss: priors are matched to the ground truth, and the hardest negatives are found.

Source: weiliu89/caffe, branch ssd, multibox_loss_layer.cpp and bbox_util.cpp.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.boxes import encode, overlaps
from netbuilder.engines.torch.operators.loss import normalization_of, normalizer, softmax_loss
from netbuilder.errors import EngineError
from netbuilder.net import Layer

__all__ = ["MultiBoxLoss"]

_SOFTMAX, _PER_PREDICTION, _NONE, _HARD_EXAMPLE = 0, 1, 0, 2
_FREE, _IGNORED = -1, -2


class _Truth(NamedTuple):
    """The boxes (n, 4) and the labels (n,) of an image."""

    boxes: Tensor
    labels: Tensor


class MultiBoxLoss(Operator):
    """Loss of the locations and the classes of boxes, for shared locations and a softmax of the classes."""

    precise = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.mode = normalization_of(self)
        p = self.proto.multibox_loss_param
        for wrong, what in (
            (not p.share_location, "share_location: false"),
            (p.conf_loss_type != _SOFTMAX, "conf_loss_type: LOGISTIC"),
            (p.mining_type == _HARD_EXAMPLE, "mining_type: HARD_EXAMPLE"),
            (not p.use_prior_for_matching, "use_prior_for_matching: false"),
            (p.HasField("nms_param"), "nms_param"),
            (p.bp_inside, "bp_inside"),
            (p.ignore_difficult_gt, "ignore_difficult_gt"),
        ):
            if wrong:
                raise EngineError(f"the PyTorch engine does not compute {what} of MultiBoxLoss '{self.name}'")

    def forward(self, shifts: Tensor, scores: Tensor, priors: Tensor, truth: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.multibox_loss_param
        n = shifts.shape[0]
        box, variance = priors.detach().reshape(2, -1, 4)
        shifts, scores = shifts.reshape(n, -1, 4), scores.reshape(n, -1, p.num_classes)
        located, wanted, classified, labels = [], [], [], []
        for i in range(n):
            truth_of = self._truth(truth.detach().reshape(-1, 8), i)
            matches, best = self._match(box, truth_of)
            target = torch.full_like(matches, p.background_label_id)
            found = matches >= 0
            own = matches[found]
            target[found] = p.background_label_id + 1 if p.map_object_to_agnostic else truth_of.labels[own]
            located.append(shifts[i][found] / (variance[found] if p.encode_variance_in_target else 1))
            wanted.append(encode(truth_of.boxes[own], box[found], variance[found], p.code_type))
            if p.mining_type == _NONE:
                used = torch.arange(len(box), device=box.device)
            else:
                negative = self._negatives(scores[i].detach(), target, matches, best)
                used = torch.cat([found.nonzero().flatten(), negative])
            if p.mining_type == _NONE or len(truth_of.boxes):
                classified.append(scores[i][used])
                labels.append(target[used])
        matched = sum(map(len, located))
        divisor = normalizer(self.mode, n, len(box), torch.tensor(matched, device=shifts.device))
        difference = torch.cat(located) - torch.cat(wanted)
        if p.loc_loss_type == 0:
            location = difference.square().sum() / 2
        else:
            zero = torch.zeros_like(difference)
            location = functional.smooth_l1_loss(difference, zero, reduction="sum")
        loss = p.loc_weight * location if self._goes_down(0) else location * 0
        if classified and self._goes_down(1):
            loss = loss + softmax_loss(torch.cat(classified), torch.cat(labels))
        return loss / divisor

    def _goes_down(self, bottom: int) -> bool:
        """Without a gradient for it, Caffe leaves a part out of the value too."""
        flags = self.proto.propagate_down
        return bool(flags[bottom]) if flags else True

    def _truth(self, rows: Tensor, image: int) -> _Truth:
        """The ground truth of an image: rows of image, label, instance, box and difficult."""
        mine = rows[:, 0].long() == image
        if not self.proto.multibox_loss_param.use_difficult_gt:
            mine = mine & (rows[:, 7] == 0)
        return _Truth(rows[mine, 3:7], rows[mine, 1].long())

    def _match(self, priors: Tensor, truth: _Truth) -> tuple[Tensor, Tensor]:
        """For each prior its box, or -1, or -2 if it is ignored, and its largest overlap.

        Source: bbox_util.cpp, MatchBBox.
        """
        p = self.proto.multibox_loss_param
        matches = torch.full((len(priors),), _FREE, device=priors.device)
        best = priors.new_zeros(len(priors))
        if not len(truth.boxes):
            return matches, best
        table = torch.stack([overlaps(box, priors) for box in truth.boxes], 1)
        if p.ignore_cross_boundary_bbox:
            outside = ((priors < 0) | (priors > 1)).any(1)
            matches[outside] = _IGNORED
            table[outside] = 0
        table = torch.where(table > 1e-6, table, 0)
        best = table.amax(1)
        # First, each box takes the prior that overlaps it most, the best pair before all others.
        rest = table.clone()
        for _ in truth.boxes:
            at = int(rest.argmax())
            prior, box = divmod(at, rest.shape[1])
            if rest[prior, box] <= 0:
                break
            matches[prior], best[prior] = box, table[prior, box]
            rest[prior], rest[:, box] = 0, 0
        if p.match_type == _PER_PREDICTION:
            most, which = table.amax(1), table.argmax(1)
            taken = (matches == _FREE) & (most > 0) & (most >= p.overlap_threshold)
            matches[taken] = which[taken]
        return matches, best

    def _negatives(self, scores: Tensor, target: Tensor, matches: Tensor, best: Tensor) -> Tensor:
        """The free priors of the largest loss. Source: bbox_util.cpp, MineHardExamples."""
        p = self.proto.multibox_loss_param
        losses = functional.cross_entropy(scores, target, reduction="none")
        eligible = ((matches == _FREE) & (best < p.neg_overlap)).nonzero().flatten()
        number = min(int(int((matches >= 0).sum()) * p.neg_pos_ratio), len(eligible))
        order = losses[eligible].sort(descending=True, stable=True).indices[:number]
        return eligible[order]
