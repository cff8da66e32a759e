"""A new head is warned of until it has learned something."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import make_clip, make_encoder
from torch import nn

import skelzoo
from skelzoo.errors import DoubtWarning


def by_a_step(net: Any) -> None:
    net.forward_head(torch.ones(2, net.embedding_dim)).logsumexp(1).sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()


HEADS_THAT_KNOW: dict[str, Callable[[Any], object]] = {
    "trained": by_a_step,
    "behind the version counters": lambda net: net.head.bias.data.add_(1),
    "loaded": lambda net: net.load_state_dict(make_encoder(1, "abcd").net.state_dict()),
    "replaced": lambda net: setattr(net, "head", nn.Sequential(nn.Linear(net.embedding_dim, 4))),
}


@pytest.mark.parametrize("how", HEADS_THAT_KNOW)
def test_scores_of_a_head_that_has_learned_nothing_are_warned_of(model: str, how: str) -> None:
    encoder, clip = skelzoo.load(model, num_classes=4, device="cpu"), make_clip()
    for each in (encoder, copy.deepcopy(encoder)):
        with pytest.warns(DoubtWarning, match="head of 4 classes is new and has learned nothing") as caught:
            each.classify(clip)
            each.scores(clip)
        assert [w.filename for w in caught if "is new" in str(w.message)] == [__file__] * 2
    HEADS_THAT_KNOW[how](encoder.net)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*has learned nothing")
        encoder.classify(clip)
        skelzoo.load(model, device="cpu").scores(clip)
