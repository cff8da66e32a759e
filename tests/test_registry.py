"""Every model of the manifest: it can be built, run, saved and exported, and does what its family is documented to do."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SMALL, UNUSED, make_clip, randomise
from torch import Tensor, nn

import skelzoo
from skelzoo import Clip, Encoder, get_layout, make_layout
from skelzoo.errors import UnknownArchError, UnknownModelError, WeightsUnavailableError
from skelzoo.nets.archs import ARCHS
from skelzoo.skeleton.io.nwucla import ACTIONS
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig, ModelEntry, manifest, manifest_path

MODELS = manifest().models
EVERY = pytest.mark.parametrize("name", MODELS)


def narrowed(config: ModelConfig) -> ModelConfig:
    """The same architecture, contract and structure with few channels."""
    sizes = {"num_frames": config.contract.frames, "num_persons": config.contract.persons}
    sizes = {key: size for key, size in sizes.items() if key in ARCHS[config.arch].options}
    if "blocks" in SMALL[config.arch] and "embed_blocks" in config.options:  # fewer blocks than the model has
        sizes["embed_blocks"] = [0, -1]
    return dataclasses.replace(config, options={**config.options, **SMALL[config.arch], **sizes})


def distinct(entries: dict[str, ModelEntry]) -> dict[str, str]:
    """Of models that share net and input, the first: what is slow is tested once for all of them. Number of classes apart."""
    return {json.dumps([e.config.arch, dict(e.config.options), e.config.contract.shape]): name for name, e in reversed(entries.items())}


DISTINCT = pytest.mark.parametrize("name", sorted(distinct(dict(MODELS)).values()))


@cache
def small(name: str) -> Encoder:
    """The model narrowed, with random weights; not to be changed."""
    torch.manual_seed(0)
    config = narrowed(MODELS[name].config)
    return Encoder(randomise(build_net(config)), config, name, device="cpu")


def prepared(name: str, clips: int, seed: int = 0) -> Tensor:
    """Clips that differ in pose and movement."""
    (c, t, v, m), generator = MODELS[name].config.contract.shape, torch.Generator().manual_seed(seed)
    return 2 * torch.randn(clips, c, 1, v, m, generator=generator) + torch.randn(clips, c, t, v, m, generator=generator)


def count(net: nn.Module, pattern: str = ".*") -> int:
    return sum(p.numel() for n, p in net.named_parameters() if re.fullmatch(pattern, n))


# What an entry says

CLASSES = {"ntu60": 60, "ntu120": 120, "pkummd1": 51, "pkummd2": 51, "gym99": 99, "diving48": 48, "nwucla": 10}
STREAMS = {"bone": ["bone"], "motion": ["motion"], "3s": ["joint", "bone", "motion"]}
BACKBONES = {"3s": "stgcn-3s", "bigru": "bigru", "dsta": "dsta"}


@EVERY
def test_a_name_says_what_the_model_is(name: str) -> None:
    """<family>-<data>[-<variant>], and classes, streams and backbone are those of the name."""
    entry = MODELS[name]
    config, (family, data, *variants) = entry.config, name.split("-")
    assert re.fullmatch(r"[a-z]+-[a-z0-9]+(-[a-z0-9]+)*", name) and family == entry.family.lower() == config.arch.split("-")[0]
    assert config.num_classes == CLASSES.get(data, config.num_classes)
    if family == "skeattnclr" and data in CLASSES:
        variant = variants[-1] if variants else ""
        assert list(config.contract.streams) == STREAMS.get(variant, ["joint"])
        assert config.arch == f"skeattnclr-{BACKBONES.get(variant, 'stgcn')}"


@pytest.mark.parametrize("name", [n for n, e in MODELS.items() if e.weights is None])
def test_an_entry_without_weights_explains_itself(name: str) -> None:
    entry = MODELS[name]
    assert entry.notes[0].startswith("The authors published no weights") and {m.source for m in entry.metrics} <= {"reported in the paper"}
    with pytest.raises(WeightsUnavailableError) as caught:
        skelzoo.load(name)
    nearest = re.search(r"Nearest model with weights: (\S+)\.$", str(caught.value))
    assert nearest and nearest[1] in manifest().pretrained
    assert MODELS[nearest[1]].family == entry.family or entry.family not in {MODELS[n].family for n in manifest().pretrained}
    assert f"skelzoo.load({name!r}, pretrained=False)" in str(caught.value) and "local:FOLDER" in str(caught.value)


@EVERY
def test_the_true_net_can_be_built_with_the_head_of_its_labels(name: str) -> None:
    entry = MODELS[name]
    encoder = skelzoo.load(name, pretrained=False, device="cpu")
    assert len(entry.config.labels or ()) == entry.config.num_classes
    assert encoder.config == dataclasses.replace(entry.config, labels=None)
    assert encoder.net.forward_head(torch.zeros(2, encoder.embedding_dim)).shape == (2, entry.config.num_classes)
    assert entry.weights is None or entry.weights.parameters == count(encoder.net)


def test_shared_parts_are_used_and_nothing_is_written_twice() -> None:
    """But for published weights, whose configs are written in full when they are bundled."""
    data = json.loads(manifest_path().read_text(encoding="utf-8"))
    for key, table in (("labels", "label_sets"), ("contract", "contracts")):
        given = [m["config"][key] for m in data["models"].values() if m["weights"] is None]
        assert {g for g in given if isinstance(g, str)} == set(data[table])
        whole = [json.dumps(g) for g in [*(g for g in given if not isinstance(g, str)), *data[table].values()]]
        assert [w for w, times in Counter(whole).items() if times > 1] == []


def labels(name: str) -> tuple[str, ...]:
    found = MODELS[name].config.labels
    assert found is not None
    return found


def test_class_names_are_the_official_ones_in_order() -> None:
    ntu = labels("skeattnclr-ntu120")
    assert labels("skeattnclr-ntu60") == ntu[:60] == labels("psp-ntu60") == labels("skeletonmae-ntu60-xview")
    numbered = {1: "drink water", 8: "sitting down", 27: "jump up", 43: "falling", 50: "punching/slapping other person", 60: "walking apart from each other"}
    numbered |= {61: "put on headphone", 80: "squat down", 99: "running on the spot", 120: "finger-guessing game (playing rock-paper-scissors)"}
    assert {number: ntu[number - 1] for number in numbered} == numbered
    assert list(labels("psp-nwucla")) == list(ACTIONS.values())
    pku = labels("skeattnclr-pkummd2")
    assert list(pku) == sorted(pku) and labels("skeattnclr-pkummd1") == pku and (pku[0], pku[-1]) == ("bow", "writing")
    # PKU-MMD takes its classes from NTU, with bow and the pocket apart and one name shortened.
    assert set(pku) - set(ntu) == {"bow", "put something inside pocket", "take out something from pocket", "standing up"}
    events = Counter(label[:4] for label in labels("skeletonmae-gym99"))
    assert events == {"(VT)": 6, "(FX)": 35, "(BB)": 33, "(UB)": 25}
    assert all(re.fullmatch(r"(Back|Forward|Inward|Reverse)\+(\d+som|Dive)\+(\d+|No)Twis\+(FREE|PIKE|TUCK|STR)", d) for d in labels("skeletonmae-diving48"))


@EVERY
def test_class_names_tell_classes_apart(name: str) -> None:
    known = MODELS[name].config.labels or ()
    twice = [label for label, times in Counter(known).items() if times > 1]
    assert twice == (["(BB) salto backward tucked"] if "gym99" in name else []), "FineGym's own list has one name twice"
    assert not [label for label in known if label != label.strip() or label.endswith(".") or not label.isascii()]


@pytest.mark.needs_shared
def test_nwucla_labels_are_numbered_as_in_the_benchmark(shared: Path) -> None:
    assert list(labels("psp-nwucla")) == list(np.load(shared / "data/nw_ucla.npz")["label_names"])


# Sizes that the papers' code has

DEAD_STGCN = 256 * 256 + 2 * 256 + 128 * 256
"""A projection in the neck that the authors' network never runs, left out here; for the BiGRU the hidden layer is half the input."""
DEAD_BIGRU = 2048 * 1024 + 2 * 1024 + 128 * 1024


def test_parameter_counts_are_those_of_the_authors_networks() -> None:
    def net(name: str) -> nn.Module:
        return build_net(MODELS[name].config)

    stgcn = net("skeattnclr-ntu60")
    assert count(stgcn, r"(backbone|head)\..*") == 3_098_832 and count(stgcn, r"head\..*") == 15_420 and count(stgcn, ".*edge_importance") == 18_750
    assert count(stgcn, r"neck\..*") + DEAD_STGCN == 461_312
    for name, dead, backbone, neck, digits in (
        ("skeattnclr-ntu60-bigru", DEAD_BIGRU, 45.12, 21.25, 2),
        ("skeattnclr-ntu60-dsta", DEAD_STGCN, 3.452, 0.461, 3),
    ):
        found = net(name)
        assert round(count(found, r"(backbone|head)\..*") / 1e6, digits) == backbone and round((count(found, r"neck\..*") + dead) / 1e6, digits) == neck
    psp = net("psp-ntu60")
    assert count(psp) == 5_138_940 and count(psp, r"(?!pyramid|projector).*") == 4_216_316
    assert count(net("skeattnclr-ntu60-3s")) == 3 * count(stgcn)


# What a net computes

BEFORE = r"backbone\.blocks\.(\d+)\..*"


@DISTINCT
def test_the_true_net_runs_and_learns(name: str) -> None:
    """One clip at the paper's sizes: vector, logits, and a gradient for every parameter that classification uses."""
    config = MODELS[name].config
    torch.manual_seed(0)
    net = build_net(config).train()
    z = net.forward_features(prepared(name, 1))
    out = torch.cat([z, net.forward_head(z)], 1)
    assert out.shape == (1, net.embedding_dim + config.num_classes) and out.isfinite().all()
    (out * torch.randn(out.shape)).sum().backward()
    without = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    last, unused = max(config.options.get("embed_blocks", [10**6])), UNUSED.get(config.arch.split("-")[0], "")
    after = {n for n, _ in net.named_parameters() for block in [re.fullmatch(BEFORE, n)] if block and int(block[1]) > last}
    assert without == after | {n for n, _ in net.named_parameters() if re.fullmatch(unused, n)}


@DISTINCT
def test_a_vector_depends_on_its_own_clip_alone(name: str) -> None:
    """Not on the batch size, nor on what else is in the batch."""
    encoder, x = small(name), prepared(name, 5)
    together = encoder.embed(x, prepared=True, batch_size=5)
    scale = np.abs(together).max()
    assert together.shape == (5, encoder.embedding_dim) and np.abs(together - together[0])[1:].max() > 0.05 * scale
    for size in (1, 2, 3):
        np.testing.assert_allclose(encoder.embed(x, prepared=True, batch_size=size) / scale, together / scale, atol=1e-5)
    in_other_company = encoder.embed(torch.cat([prepared(name, 2, seed=1), x[:1]]), prepared=True)
    np.testing.assert_allclose(in_other_company[2] / scale, together[0] / scale, atol=1e-5)


@EVERY
def test_a_config_is_written_and_read_back(name: str) -> None:
    config = MODELS[name].config
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())), name) == config


@DISTINCT
def test_saved_and_loaded_bit_for_bit(name: str, tmp_path: Path) -> None:
    encoder, x = small(name), prepared(name, 1)
    again = skelzoo.load(f"local:{encoder.save(tmp_path / name)}", device="cpu")
    assert again.config == encoder.config and again.labels == MODELS[name].config.labels
    before, after = encoder.net.state_dict(), again.net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert np.array_equal(again.embed(x, prepared=True), encoder.embed(x, prepared=True))


@pytest.mark.slow
@DISTINCT
def test_export_computes_the_same(name: str) -> None:
    net, x = small(name).net, prepared(name, 2)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x), atol=1e-5, rtol=1e-5)


# Persons who are not there

TWO_PERSONS = [n for n in sorted(distinct(dict(MODELS)).values()) if MODELS[n].config.contract.persons == 2]


def one_person(name: str) -> tuple[Tensor, Tensor]:
    """A clip with an absent second person, and that clip of the person alone."""
    x = prepared(name, 1)
    x[..., 1] = 0
    return x, x[..., :1]


@pytest.mark.parametrize("name", [n for n in TWO_PERSONS if MODELS[n].config.arch != "skeattnclr-bigru"])
@torch.inference_mode()
def test_an_absent_person_counts_in_the_mean(name: str) -> None:
    """The vector is the mean of the person's and of what the net makes of nobody; nobody is not masked."""
    net, (x, person) = small(name).net, one_person(name)
    alone, nobody = net.forward_features(person), of_second_person(net, torch.zeros_like(person))
    torch.testing.assert_close(net.forward_features(x), (alone + nobody) / 2, atol=1e-5, rtol=1e-4)
    assert (alone - nobody).abs().max() > 1e-3 and nobody.abs().max() > 1e-3


def of_second_person(net: nn.Module, person: Tensor) -> Tensor:
    """The vector of a second person alone. STRL has encoders for each person, so the second's are put first."""
    net = copy.deepcopy(net)
    if hasattr(net, "encoders"):
        net.encoders = nn.ModuleList(nn.ModuleList(list(of_layer)[::-1]) for of_layer in net.encoders)
    return net.forward_features(person)


@torch.inference_mode()
def test_the_bigru_reads_zeros_of_an_absent_person() -> None:
    """Recomputed step by step as the authors run it: a bidirectional GRU on one time step after another, its state carried."""
    name = "skeattnclr-ntu60-bigru"
    net, (x, _) = small(name).net, one_person(name)
    backbone, layers = net.backbone, len(net.backbone.layers)
    gru = nn.GRU(x[0, :, 0].numel(), backbone.layers[0][0].hidden_size, layers, bidirectional=True, batch_first=True)
    ours = {f"{k}{'_reverse' * d}".replace("_l0", f"_l{i}"): v for i in range(layers) for d in (0, 1) for k, v in backbone.layers[i][d].state_dict().items()}
    gru.load_state_dict(ours)
    steps = torch.stack([x[:, c, :, v, m] for v in range(25) for c in range(3) for m in range(2)], 1)
    state = None
    for step in backbone.input_norm(steps).unbind(2):
        out, state = gru(step[:, None], state)
    torch.testing.assert_close(net.forward_features(x), out[:, 0], atol=1e-5, rtol=1e-4)
    moved = x.clone()
    moved[..., 1] = 0.1
    assert (net.forward_features(moved) - out[:, 0]).abs().max() > 1e-4


# From a clip to its input


def clip_for(name: str) -> Clip:
    contract = MODELS[name].config.contract
    clip = make_clip(frames=40, persons=contract.persons, layout=contract.layout, channels=contract.channels)
    return clip.replace(image_size=(4, 4)) if contract.channels == 2 else clip


@EVERY
def test_clips_in_the_models_layout_and_in_another_are_prepared(name: str) -> None:
    """The same body under other joint names in another order gives the same input; so does the encoder's own path."""
    contract, clip = MODELS[name].config.contract, clip_for(name)
    layout = get_layout(contract.layout)
    order = list(range(len(layout)))[::-1]
    other = make_layout("mine", {f"my {layout.joints[i]}": layout.own[layout.joints[i]] for i in order}, [None] * len(layout))
    x = skelzoo.prepare(clip, contract)
    assert x.shape == contract.shape and x.dtype == np.float32 and np.isfinite(x).all()
    assert all(x[..., person].any() for person in range(contract.persons))
    moved = clip.replace(keypoints=clip.keypoints[:, :, order], layout=other)
    np.testing.assert_array_equal(skelzoo.prepare(moved, contract), x)
    np.testing.assert_allclose(small(name).embed([moved]), small(name).embed(x[None], prepared=True), atol=1e-6)


@pytest.mark.parametrize("name", [n for n in TWO_PERSONS if MODELS[n].config.contract.layout == "ntu25"])
def test_a_kinect_v1_clip_becomes_an_ntu_input(name: str) -> None:
    contract = MODELS[name].config.contract
    x = skelzoo.prepare(make_clip(frames=40, layout="kinect20"), contract)
    assert x.shape == contract.shape and x[..., 0].any() and not x[..., 1].any()


@pytest.mark.parametrize("begun", ["psp", "skeattnclr", "SkeletonMAE", "skeattnclr-ntu1"])
def test_a_name_begun_proposes_names_that_begin_so_with_weights_first(begun: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        skelzoo.load(begun)
    proposed = re.findall(r"[\w-]+", str(caught.value).split("Did you mean ")[1].split("?")[0].replace(" or ", " "))
    fitting = [name for name in MODELS if name.startswith(begun.lower())]
    assert proposed == ([name for name in fitting if MODELS[name].weights] or fitting)[:3]


def test_a_model_is_no_architecture() -> None:
    with pytest.raises(UnknownArchError, match=r"of the architecture skeattnclr-stgcn\. skelzoo\.load\('skeattnclr-openskel'\)"):
        skelzoo.create("skeattnclr-openskel", layout="kinect20")
