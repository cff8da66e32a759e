"""Encoder: one row per clip whatever the clips, the batches and the memory; and ordinary torch for fine-tuning."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, OPTIONS, SMALL, direct, make_clip, make_config, make_encoder, randomise, same
from torch import nn

import skelzoo
from skelzoo import Clip, Contract, Encoder, get_layout
from skelzoo.errors import AxesError, CheckpointError, ClipError, ContractError, CoverageError, DeviceError, LayoutError
from skelzoo.skeleton.prepare import prepare_batch
from skelzoo.skeleton.procedural import make
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig


def test_embed_is_the_net_on_prepared_clips_in_order(encoder: Encoder, clips: list[Clip]) -> None:
    z = encoder.embed(clips)
    assert type(z) is np.ndarray and z.dtype == np.float32 and z.shape == (7, encoder.embedding_dim) == (7, 16)
    same(z, direct(encoder, clips))
    assert np.abs(z[:, None] - z[None]).max(-1)[~np.eye(7, dtype=bool)].min() > 1e-3
    same(encoder.embed(clips[2]), z[2:3])
    same(encoder.embed(tuple(reversed(clips))), z[::-1])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 100, None])
def test_no_result_depends_on_the_batch_size(encoder: Encoder, clips: list[Clip], batch_size: int | None) -> None:
    same(encoder.embed(clips, batch_size=batch_size), direct(encoder, clips))
    result, alone = encoder.classify(clips, batch_size=batch_size), [encoder.classify(c) for c in clips]
    same(result.scores, np.concatenate([r.scores for r in alone]))
    assert np.array_equal(result.labels, np.concatenate([r.labels for r in alone]))
    features, expected = encoder.features(clips, ("block3", "salient"), batch_size=batch_size), encoder.features(clips, ("block3", "salient"), batch_size=1)
    for name in ("block3", "salient"):
        same(features[name], expected[name])


def test_arrays_and_tensors_with_axes(encoder: Encoder) -> None:
    x = np.stack([make_clip(s, persons=2).keypoints for s in range(3)])  # n m t v c
    z = encoder.embed([Clip(c, "kinect20") for c in x])
    same(encoder.embed(x, axes="n m t v c"), z)
    default = np.ascontiguousarray(x.transpose(0, 4, 2, 3, 1))
    same(encoder.embed(default), z)
    same(encoder.embed(torch.from_numpy(default).double().requires_grad_()), z)
    same(encoder.embed(x[1, :, :, :, :], axes="m t v c"), z[1:2])
    same(encoder.classify(default).scores, encoder.classify(x, axes="n m t v c").scores)
    same(encoder.features(default)["pooled"], z)


def test_prepared_arrays_and_tensors(encoder: Encoder, clips: list[Clip]) -> None:
    x, z = prepare_batch(clips, encoder.contract), direct(encoder, clips)
    same(encoder.embed(x, prepared=True), z)
    same(encoder.embed(torch.from_numpy(x).double(), prepared=True, batch_size=3), z)
    same(encoder.features(x, prepared=True)["pooled"], z)
    same(encoder.classify(x, prepared=True).scores, encoder.classify(clips).scores)


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 3, 16, 20, 2))])
def test_no_clips_give_no_rows(encoder: Encoder, nothing: Any) -> None:
    assert encoder.embed(nothing).shape == (0, 16)
    result = encoder.classify(nothing, top_k=2)
    assert result.labels.shape == result.scores.shape == result.indices.shape == (0, 2)
    features = encoder.features(nothing, encoder.feature_names)
    assert {n: f.shape[1:] for n, f in features.items()} == {n: f.shape[1:] for n, f in encoder.features(make_clip(), encoder.feature_names).items()}
    assert all(len(f) == 0 for f in features.values())
    assert encoder.embed(np.zeros((0, *encoder.contract.shape)), prepared=True).shape == (0, 16)


def test_classify(clips: list[Clip]) -> None:
    encoder = make_encoder()
    with torch.no_grad():  # a head that tells these clips apart
        z = direct(encoder, clips)
        encoder.net.head.weight.copy_(torch.randn(3, 16))
        encoder.net.head.bias.copy_(-encoder.net.head.weight @ z.mean(0))
        p = encoder.net.forward_head(direct(encoder, clips)).softmax(-1).numpy()
    result = encoder.classify(clips, top_k=2)
    assert result.labels.shape == result.scores.shape == result.indices.shape == (7, 2) and result.indices.dtype == np.int64
    for i in range(7):
        best = sorted(range(3), key=lambda k: -p[i, k])[:2]
        assert result.indices[i].tolist() == best and result.labels[i].tolist() == [("sit", "stand", "wave")[k] for k in best]
        same(result.scores[i], p[i, best])
    assert encoder.classify(clips).scores.shape == (7, 3)
    same(encoder.classify(clips, top_k=99).scores.sum(1), 1)
    scores = encoder.scores(clips)
    assert scores.dtype == np.float32 and scores.shape == (7, 3)
    same(scores.sum(1), 1)
    same(np.take_along_axis(scores, result.indices, 1), result.scores)
    assert np.array_equal(np.array(encoder.labels)[scores.argmax(1)], result.labels[:, 0])
    assert len(set(result.indices[:, 0])) > 1


@pytest.mark.parametrize("top_k", [0, -1, 2.0, None, "n t v c"])
def test_a_number_of_classes_that_is_none(encoder: Encoder, top_k: Any) -> None:
    with pytest.raises(ContractError, match=f"top_k is {top_k!r}. Give a whole number of at least 1"):
        encoder.classify(make_clip(), top_k)
    assert encoder.classify(make_clip(), np.int64(2)).scores.shape == (1, 2)


def test_axes_are_named(encoder: Encoder) -> None:
    for call in (encoder.embed, encoder.classify, encoder.scores, encoder.features):
        assert inspect.signature(call).parameters["axes"].kind is inspect.Parameter.KEYWORD_ONLY


def test_classes_without_names_and_without_a_head() -> None:
    torch.manual_seed(0)
    encoder = Encoder(skelzoo.create("skeattnclr-stgcn", layout="kinect20", num_classes=2, options=OPTIONS), make_config(("a", "b")), device="cpu")
    assert set(encoder.classify(make_clip()).labels.ravel()) == {"a", "b"}
    nameless = skelzoo.load("skeattnclr-ntu60", pretrained=False, num_classes=2, device="cpu")
    assert nameless.labels is None and set(nameless.classify(make_clip(layout="ntu25")).labels.ravel()) == {"class_0", "class_1"}
    with pytest.raises(ContractError, match="has no classification head"):
        make_encoder(labels=None).classify(make_clip())
    with pytest.raises(ContractError, match="has no classification head"):
        make_encoder(labels=None).scores(make_clip())


def test_features(encoder: Encoder, clips: list[Clip]) -> None:
    features = encoder.features(clips, at=encoder.feature_names, batch_size=3)
    assert tuple(features) == encoder.feature_names and all(f.dtype == np.float32 and len(f) == 7 for f in features.values())
    assert features["block0"].shape == (7, 4, 16, 20, 2) and features["attention_mask"].shape == (7, 16, 4, 20, 2)
    same(features["pooled"], encoder.embed(clips))
    with pytest.raises(ContractError, match=r"no features block99, x\. It has, by encoder\.feature_names: block0, "):
        encoder.features(clips, at=["block0", "block99", "x"])
    assert tuple(encoder.features(clips, (name for name in ("salient", "pooled")))) == ("salient", "pooled")
    with pytest.raises(ContractError, match=r"at is None\. Give names of encoder\.feature_names"):
        encoder.features(clips, at=None)


@pytest.mark.parametrize(
    ("clips", "settings", "error", "says"),
    [
        ([make_clip(0), make_clip(1, frames=1)], {}, ClipError, "clips[1] ('clip1'): 1 frame"),
        ([make_clip(0), make_clip(2, persons=3)], {}, ClipError, "clips[1] ('clip2'): 3 persons"),
        ([make_clip(3, layout="coco17")], {}, ClipError, ""),
        ([make_clip(3, layout="coco17", channels=2)], {}, ClipError, "clip3: the clip is 2-D"),
        ([make_clip(0).keypoints], {}, ClipError, "must hold skelzoo.Clip objects, found ndarray"),
        ("clip.bvh", {}, ClipError, "found str"),
        (np.ones((2, 3, 16, 25, 2)), {}, AxesError, "cannot have axes 'n c t v m'"),
        (np.ones((16, 20, 3)), {}, AxesError, "'t v c'"),
        (np.zeros((1, 3, 16, 20, 2)), {}, ClipError, "array[0]: every coordinate"),
        (np.ones((2, 3, 16, 20, 2)), {"batch_size": 0}, ContractError, "batch_size is 0"),
        (np.ones((2, 3, 16, 20, 2)), {"batch_size": -1}, ContractError, "batch_size is -1"),
        (np.ones((2, 3, 16, 20, 2)), {"batch_size": 2.5}, ContractError, "batch_size is 2.5"),
        ([make_clip(0)], {"prepared": True}, AxesError, "one array of numbers (N, C, T, V, M), not list"),
        (np.ones((2, 3, 15, 20, 2)), {"prepared": True}, AxesError, "needs (N, 3, 16, 20, 2)"),
        (np.ones((3, 16, 20, 2)), {"prepared": True}, AxesError, "needs (N, 3, 16, 20, 2)"),
        (np.full((2, 3, 16, 20, 2), np.nan), {"prepared": True}, ClipError, "NaN"),
        (np.full((2, 3, 16, 20, 2), np.inf), {"prepared": True}, ClipError, "infinite"),
    ],
)
def test_clips_that_do_not_fit(encoder: Encoder, clips: Any, settings: dict[str, Any], error: type[Exception], says: str) -> None:
    if says == "":
        encoder.embed(clips)  # 16 of 20 joints are measured: enough by default
        strict = Encoder(encoder.net, make_config(contract=CONTRACT.replace(min_coverage=0.9)), device="cpu")
        with pytest.raises(CoverageError, match="clip3: layout 'coco17' gives too few joints"):
            strict.embed(clips)
        return
    for call in (encoder.embed, encoder.classify, encoder.scores, encoder.features):
        with pytest.raises(error) as caught:
            call(clips, **settings)
        assert says in str(caught.value)


def test_what_is_odd_is_said_once_a_call_with_the_first_clip_and_their_number(encoder: Encoder) -> None:
    clips = [make("squat", frames=20, seed=s) for s in range(5)]
    odd = [c.replace(keypoints=c.keypoints * [1, -1, -1], name=f"odd{i}") if i in (1, 2, 4) else c for i, c in enumerate(clips)]
    for call in (encoder.embed, encoder.classify, encoder.embed):
        with pytest.warns(UserWarning) as caught:
            call(odd, batch_size=2)
        assert len(caught) == 1 and str(caught[0].message).startswith("odd1 and 2 more clips: the spine points down")
        assert caught[0].filename == __file__


def test_the_net_can_be_fine_tuned(clips: list[Clip]) -> None:
    encoder = make_encoder()
    before, x = encoder.embed(clips), torch.from_numpy(prepare_batch(clips, encoder.contract))
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    optimiser = torch.optim.SGD(encoder.net.parameters(), 0.05)
    losses = []
    for _ in range(15):
        encoder.net.train()
        loss = nn.functional.cross_entropy(encoder.net(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        encoder.embed(clips[:2])  # a look in between leaves no trace
        assert encoder.net.training
    assert losses[-1] < 0.7 * losses[0]
    assert np.abs(encoder.embed(clips) - before).max() > 1e-3


def test_changed_weights_are_seen() -> None:
    encoder, clip = make_encoder(), make_clip()
    net, other = encoder.net, make_encoder(seed=1).net
    first: nn.Module = net.backbone.blocks[0]

    def replace_data() -> None:
        first.temporal_conv.weight.data = first.temporal_conv.weight.data * 2

    def step() -> None:
        optimiser = torch.optim.AdamW(net.parameters(), 0.1)
        net(torch.randn(2, 3, 16, 20, 2)).sum().backward()
        optimiser.step()

    def replace_part() -> None:
        first.norm2 = nn.BatchNorm2d(4).eval()

    def replace_forward() -> None:
        plain = first.forward
        first.forward = lambda *x: 2 * plain(*x)

    changes: list[Callable[[], Any]] = [
        lambda: net.load_state_dict(other.state_dict()),
        lambda: net.load_state_dict({k: v + 0.1 for k, v in other.state_dict().items()}, assign=True),
        lambda: first.norm1.running_mean.add_(1),
        lambda: first.temporal_conv.register_forward_hook(lambda _, __, out: 2 * out),
        replace_data, step, replace_part, replace_forward,
    ]  # fmt: skip
    for change in changes:
        before = encoder.embed(clip)
        change()
        z = encoder.embed(clip)
        assert np.abs(z - before).max() > 1e-3
        same(z, direct(encoder, [clip]))


@pytest.mark.parametrize("own", [False, True])
def test_weights_changed_in_inference_mode_are_seen(clips: list[Clip], tmp_path: Path, own: bool) -> None:
    """Of encoders loaded in it, and of nets whose tensors a user made in it."""
    folder, other = make_encoder().save(tmp_path / "tiny", card="# Mine\n"), make_encoder(seed=1)
    with torch.inference_mode():
        encoder = skelzoo.load(f"local:{folder}", device="cpu")
        if own:
            encoder.net.double().float()
    assert own == any(t.is_inference() for t in encoder.net.parameters())
    same(encoder.embed(clips), make_encoder().embed(clips))
    with torch.inference_mode():
        encoder.net.load_state_dict(other.net.state_dict())
    same(encoder.embed(clips), other.embed(clips))
    assert encoder.card != "# Mine\n" and skelzoo.verify(f"local:{encoder.save(tmp_path / 'new')}", device="cpu").ok


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_nets_made_in_inference_mode_can_be_trained(dtype: str) -> None:
    with torch.inference_mode():
        made = skelzoo.create("stgcn", layout="kinect20"), skelzoo.load("skeattnclr-ntu60", pretrained=False, device="cpu", dtype=dtype).net
    assert not any(t.is_inference() for net in made for t in (*net.parameters(), *net.buffers()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_copies_made_in_inference_mode_are_as_good_as_others(copied: Callable[[Encoder], Encoder]) -> None:
    encoder = make_encoder()
    encoder.card = "# Mine\n"
    with torch.inference_mode():
        other = copied(encoder)
    assert other.card == "# Mine\n" and not any(t.is_inference() for t in (*other.net.parameters(), *other.net.buffers()))


def test_embedding_leaves_the_net_as_it_was(clips: list[Clip]) -> None:
    encoder = make_encoder()
    state = {k: v.clone() for k, v in encoder.net.state_dict().items()}
    encoder.net.train()
    expected = make_encoder().embed(clips)
    same(encoder.embed(clips), expected)
    assert encoder.net.training and all(torch.equal(v, state[k]) for k, v in encoder.net.state_dict().items())
    encoder.net.eval()
    encoder.classify(clips)
    assert not encoder.net.training
    encoder.net.train()
    with pytest.raises(ClipError):
        encoder.embed([make_clip(persons=3)])
    assert encoder.net.training
    frozen = [module for module in encoder.net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in frozen:
        module.eval()
    encoder.embed(clips)
    assert encoder.net.training and frozen and not any(module.training for module in frozen), "BatchNorm that somebody froze"
    assert not torch.is_inference_mode_enabled() and all(p.requires_grad and not p.is_inference() for p in encoder.net.parameters())


def test_the_net_may_be_moved_to_another_type(clips: list[Clip]) -> None:
    encoder = make_encoder()
    expected = encoder.embed(clips), encoder.classify(clips).scores
    encoder.net.double()
    assert encoder.dtype == torch.float64
    same(encoder.embed(clips), expected[0])
    same(encoder.classify(clips).scores, expected[1])
    encoder.net.to("meta")
    with pytest.raises(DeviceError, match="the net is on meta, where clips cannot be run"):
        encoder.features(clips)


def test_views_of_prepared_arrays_and_one_name_of_a_feature(encoder: Encoder, clips: list[Clip]) -> None:
    x = np.stack([skelzoo.prepare(c, encoder.contract) for c in clips])
    same(encoder.embed(x[:, :, ::-1], prepared=True), encoder.embed(x[:, :, ::-1].copy(), prepared=True))
    assert np.array_equal(encoder.features(clips, at="salient")["salient"], encoder.features(clips, at=["salient"])["salient"])


def test_dropout_is_off_while_embedding(clips: list[Clip]) -> None:
    net = randomise(skelzoo.create("skeattnclr-stgcn", layout="kinect20", num_classes=3, options={**OPTIONS, "dropout": 0.5}))
    encoder = Encoder(net.train(), make_config(), device="cpu")
    encoder.net.train()
    assert np.array_equal(encoder.embed(clips), encoder.embed(clips))


def test_results_are_arrays_of_their_own(encoder: Encoder, clips: list[Clip]) -> None:
    z = encoder.embed(clips)
    z[:] = 0
    assert encoder.embed(clips).any() and z.flags.owndata


def test_layouts_unknown_to_skelzoo_are_made_and_remapped(encoder: Encoder) -> None:
    layout = get_layout("kinect20")
    own = skelzoo.make_layout("mine", {f"j{i}": layout.own[j] for i, j in enumerate(layout.joints)}, layout.parents)
    clip = make_clip()
    same(encoder.embed(Clip(clip.keypoints, own)), encoder.embed(clip))
    with pytest.raises(LayoutError):
        Clip(clip.keypoints, "mine")


def test_encoders_of_pictures_take_pixels_with_the_size_of_their_picture(tmp_path: Path) -> None:
    steps = ({"step": "drop_empty_frames"}, {"step": "normalize_image"}, {"step": "resample", "frames": 16, "method": "uniform_index"})
    config = ModelConfig("skeletonmae-strl", SMALL["skeletonmae-strl"] | {"num_frames": 16}, Contract("coco17", 2, 2, 16, steps))
    encoder = Encoder(randomise(build_net(config)), config, device="cpu")
    assert skelzoo.verify(f"local:{encoder.save(tmp_path / 'mine')}", device="cpu").ok
    clip = make_clip(layout="coco17", channels=2).replace(image_size=(480, 640))
    pixels = clip.keypoints.transpose(3, 1, 2, 0)[None]
    z = encoder.embed(clip)
    same(encoder.embed(skelzoo.clips_from_array(pixels, "coco17", image_size=(480, 640))), z)
    twice = clip.replace(keypoints=2 * clip.keypoints, image_size=(960, 1280))
    same(encoder.embed(twice), z)
    for unsized in (pixels, clip.replace(image_size=None)):
        with pytest.raises(ClipError, match=r"image_size=\(height, width\) in skelzoo\.Clip"):
            encoder.embed(unsized)


@pytest.mark.parametrize("arch", sorted(SMALL))
def test_a_callers_autocast_changes_no_vector_then_or_later(arch: str) -> None:
    steps = ({"step": "center"}, {"step": "resample", "frames": 24})
    contract = Contract("kinect20", 3, 2, 24, steps, ("joint", "motion") if arch.startswith("psp") else ("joint",))
    config = ModelConfig(arch, SMALL[arch], contract, 3)
    x = prepare_batch([make_clip(i, 30) for i in range(3)], contract)
    net = randomise(build_net(config))
    within, outside = (Encoder(copy.deepcopy(net), config, device="cpu") for _ in range(2))
    expected = outside.embed(x, prepared=True)
    with torch.autocast("cpu", torch.bfloat16):
        same(within.embed(x, prepared=True), expected)
        same(within.classify(x, prepared=True).scores, outside.classify(x, prepared=True).scores)
    same(within.embed(x, prepared=True), expected)


def test_a_mapped_file_of_prepared_clips(encoder: Encoder, clips: list[Clip], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    np.save(tmp_path / "x.npy", prepare_batch(clips, encoder.contract))
    same(encoder.embed(np.load(tmp_path / "x.npy", mmap_mode="r"), prepared=True), encoder.embed(clips))
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_classes_of_ones_own_training_are_named(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(f"local:{make_encoder().save(tmp_path / 'tiny')}", device="cpu", num_classes=2)
    assert encoder.labels is None
    for wrong in ("ab", ["a", "a"], ["a", 1], ["a", "b", "c"]):
        with pytest.raises(CheckpointError, match=r"labels are .*Give a list of texts|3 labels for a head of 2 classes"):
            encoder.labels = wrong  # type: ignore[assignment]
    encoder.labels = ["left", "right"]
    again = skelzoo.load(f"local:{encoder.save(tmp_path / 'mine')}", device="cpu")
    assert again.labels == encoder.labels == ("left", "right") and set(again.classify(make_clip()).labels[0]) == {"left", "right"}


def test_refresh_sees_what_version_counters_do_not(encoder: Encoder, clips: list[Clip]) -> None:
    before = encoder.embed(clips)
    for parameter in encoder.net.parameters():
        parameter.data.mul_(1.1)
    encoder.refresh()
    same(encoder.embed(clips), direct(encoder, clips))
    assert np.abs(encoder.embed(clips) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n# Mine\n", "mit"),
        ("---\nlicense: unknown\n---\n# Mine\n", ""),
        ("---\nlicense: mit\n---\n# Mine\n\n## Licence\n\nMIT. Made up.\n\n## Data\n", "MIT. Made up."),
    ],
)
def test_of_the_card_of_changed_weights_the_licence_stays(card: str, licence: str) -> None:
    encoder = make_encoder()
    encoder.card = card
    assert encoder.card == card
    encoder.refresh()
    assert encoder.card.startswith("# tiny\n\nSaved by skelzoo") and encoder.card.partition("## Licence")[2].strip() == licence
