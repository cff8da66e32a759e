"""Checkpoints of the authors' code, converted: the same numbers come out, and nothing is guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from author_files import author_net, author_state, pretraining_state, saved
from click.testing import CliRunner
from golden_files import BACKBONES, close, read_golden_file, skeattnclr_net, under
from tiny import make_clip
from torch import Tensor, nn

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import CheckpointError, ContractError, LayoutError, SkelzooError, UnknownArchError, UnknownModelError

ARCHS = ["skeattnclr-stgcn", "skeattnclr-bigru", "skeattnclr-dsta", "psp", "stgcn"]


def skelzoo_convert(*words: object) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(main, ["convert", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def load(folder: Path | str) -> skelzoo.Encoder:
    return skelzoo.load(f"local:{folder}", device="cpu")


def same_net(folder: Path, net: nn.Module) -> bool:
    """Whether a folder holds exactly the net's weights and computes what it computes."""
    encoder = load(folder)
    state, x = encoder.net.state_dict(), torch.randn(2, *encoder.contract.shape)
    assert state.keys() == net.state_dict().keys()
    with torch.inference_mode():
        return all(torch.equal(state[k], v) for k, v in net.state_dict().items()) and torch.equal(encoder.net(x), net(x))


RENAMED = {"_s": "_p", "_ns": "_c"}


def as_first_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the suffixes _p and _c of the authors' first commit."""
    return {re.sub(r"^(predictor|queue|queue_ptr)(_s|_ns)(?=\.|$)", lambda m: m[1] + RENAMED[m[2]], k): v for k, v in state.items()}


FORMS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "as it is": lambda s: s,
    "first names": as_first_published,
    "wrapped": lambda s: {"model": {"module." + k: v for k, v in s.items()}, "optimizer": {"lr": 0.1}},
    "linear evaluation": lambda s: {k: v for k, v in s.items() if k.startswith("encoder_q.")},
}


@pytest.mark.needs_shared
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_skeattnclr_gives_the_authors_numbers(shared: Path, tmp_path: Path, backbone: str, form: str) -> None:
    golden = read_golden_file(shared / f"golden/skeattnclr/{backbone}_small.safetensors", "config")
    path = saved(tmp_path / "authors.pt", FORMS[form](under(golden, "sd::")))
    heads = golden["config"].get("heads") or golden["config"]["num_heads"]
    done = skelzoo.convert(path, arch=BACKBONES[backbone], options={"heads": heads}, to=tmp_path / "mine", head=True)
    with torch.inference_mode():
        encoder = load(tmp_path / "mine")
        close(encoder.net(golden["in::x"]), golden["out::logits"])
        close(encoder.net.forward_features(golden["in::x"]), golden["out::pooled"])
        close(encoder.net.features(golden["in::x"])["projection"][..., None], golden["out::neck_z"])
        close(encoder.net.masked(golden["in::x"]).mask, golden["out::neck_mask"])
    assert ("THE HEAD NEVER LEARNED" in done.report()) == (form != "linear evaluation") != ("leaves the neck random" in done.report())
    assert encoder.labels is None and encoder.config.num_classes == 10 and skelzoo.verify(f"local:{tmp_path / 'mine'}", device="cpu").ok


@pytest.mark.needs_shared
@pytest.mark.parametrize("when", ["sd::", "after::"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_skeattnclr_pretraining_states(shared: Path, tmp_path: Path, backbone: str, when: str) -> None:
    """The states before and after the training step of the goldens."""
    golden = read_golden_file(shared / f"golden/skeattnclr/{backbone}_small_pretrain_step.safetensors", "config")
    state = under(golden, when)
    skelzoo.convert(saved(tmp_path / "authors.pt", state), arch=BACKBONES[backbone], to=tmp_path / "mine", options={"heads": 4})
    net = skeattnclr_net({"config": golden["config"], **{f"sd::{k}": v for k, v in state.items()}})
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "mine").net.forward_features(golden["in::xq"]), net.forward_features(golden["in::xq"]))


@pytest.mark.needs_shared
@pytest.mark.parametrize("backbone", BACKBONES)
def test_skeattnclr_on_the_command_line(shared: Path, tmp_path: Path, backbone: str) -> None:
    golden = read_golden_file(shared / f"golden/skeattnclr/{backbone}_small.safetensors", "config")
    path = saved(tmp_path / "authors.pt", under(golden, "sd::"))
    said = skelzoo_convert(path, "--arch", BACKBONES[backbone], "--to", tmp_path / "mine", "--set", "heads=4", "--set", "num_persons=2", "--head")
    with torch.inference_mode():
        close(load(tmp_path / "mine").net(golden["in::x"]), golden["out::logits"])
    assert f"local:{tmp_path / 'mine'}" in said and "key encoder of the pretraining" in said and "THE HEAD NEVER LEARNED" in said
    assert "assumed: heads" not in said and "assumed: num_persons" not in said and "assumed: sharpness 2.0" in said


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ["t32", "shortT"])
def test_psp_gives_the_authors_numbers(shared: Path, tmp_path: Path, name: str) -> None:
    golden = read_golden_file(shared / f"golden/psp/psp_small_v25_{name}.safetensors", "meta")
    path = saved(tmp_path / "psp-latest.state", {"model": {"module." + k: v for k, v in under(golden, "state/").items()}, "optimizer": {"lr": 0.1}})
    done = skelzoo.convert(path, arch="psp", to=tmp_path / "api")
    said = skelzoo_convert(path, "--arch", "psp", "--to", tmp_path / "cli")
    x, unlabelled = (torch.cat([golden[f"input/xj{u}"], golden[f"input/xm{u}"]], 1) for u in ("", "u"))
    for folder in ("api", "cli"):
        net = load(tmp_path / folder).net
        with torch.inference_mode():
            close(net(x), golden["output/logits"])
            close(net.forward_features(x), torch.cat([golden["output/yj"], golden["output/ym"]], 1))
            for level, suffix in (("body", "b"), ("part", "p"), ("joint", "")):
                expected = torch.cat([golden[f"output/out{s}{suffix}"] for s in "jm"], 1)
                torch.testing.assert_close(net.features(unlabelled)[f"{level}_level"], expected, atol=1e-4, rtol=0)
    assert done.options["blocks"] == golden["config"]["ctor"]["config"] and done.options["num_frames"] == 32 and done.dropped["optimizer"]
    assert "as those of psp-ntu60" in said and load(tmp_path / "cli").contract.streams == ("joint", "motion")


SIZES: list[tuple[str, dict[str, Any]]] = [
    ("skeattnclr-stgcn", {}),
    ("skeattnclr-stgcn", {"hidden_channels": 3, "hidden_dim": 12, "feature_dim": 5, "projector_dim": 7, "heads": 3}),
    ("skeattnclr-bigru", {}),
    ("skeattnclr-bigru", {"hidden_size": 5, "num_layers": 4, "num_persons": 1, "heads": 5, "projector_dim": 3}),
    ("skeattnclr-dsta", {}),
    ("skeattnclr-dsta", {"blocks": [[6, 6, 1, 1], [6, 6, 2, 3], [6, 8, 5, 1], [8, 10, 2, 2]], "num_subsets": 2, "num_frames": 17, "global_temporal": True}),
    ("psp", {}),
    ("psp", {"blocks": [[4, 8, 3, 2], [8, 8, 1, 1]], "num_subsets": 4, "num_frames": 9, "pyramid": False, "streams": 1}),
    ("psp", {"temporal": "attention", "num_subsets": 3, "num_frames": 21, "pyramid": False, "streams": 1}),
    ("psp", {"temporal": "attention", "global_temporal": True, "attend_spatial": False, "code_temporal": False, "code_spatial": False}),
    ("psp", {"global_spatial": False, "attend_spatial": True}),
    ("psp", {"spatial": "conv", "temporal": "attention", "attend_temporal": False, "global_temporal": True}),
    ("stgcn", {}),
    ("stgcn", {"graph": "agcn", "hidden_channels": 5, "hidden_dim": 20}),
]


@pytest.mark.parametrize(("arch", "options"), SIZES)
def test_sizes_are_told_by_shapes(tmp_path: Path, arch: str, options: dict[str, Any]) -> None:
    """Only what no shape tells is given."""
    net = author_net(arch, **options)
    untold = {n: v for n, v in options.items() if n in ("heads", "num_persons")} or ({"heads": 2} if arch.startswith("skeattnclr") else {})
    done = skelzoo.convert(saved(tmp_path / "a.pt", author_state(arch, net)), arch=arch, to=tmp_path / "mine", options=untold)
    assert {n: done.options[n] for n in options} == options and done.used.keys() | done.dropped.keys() == author_state(arch, net).keys()
    assert same_net(tmp_path / "mine", net)


@pytest.mark.parametrize(("layout", "arch"), [("kinect20", a) for a in ARCHS] + [("coco17", "stgcn"), ("coco17", "psp"), ("utdmhad20", "skeattnclr-stgcn")])
def test_other_layouts(tmp_path: Path, layout: str, arch: str) -> None:
    """Of 20 and 17 joints kinect20 and coco17 are taken, others must be named."""
    net = author_net(arch, layout)
    path = saved(tmp_path / "a.pt", author_state(arch, net, len(skelzoo.get_layout(layout))))
    named = {"layout": layout} if layout == "utdmhad20" else {}
    options: dict[str, Any] = {"heads": 2} if arch.startswith("skeattnclr") else {}
    done = skelzoo.convert(path, arch=arch, to=tmp_path / "mine", options=options | {"num_persons": 2, "num_frames": 24}, **named)
    contract = load(tmp_path / "mine").contract
    assert (contract.layout, contract.frames, contract.persons) == (layout, 24, 2) and "num_frames" not in done.assumed
    assert same_net(tmp_path / "mine", net)
    if (layout, arch) != ("kinect20", "psp"):  # NW-UCLA's preparation is PSP's
        assert "this project's own steps" in done.report() and [s["step"] for s in contract.steps] == ["drop_empty_frames", "center", "resample"]


def test_the_strides_that_no_shape_tells(tmp_path: Path) -> None:
    net = author_net("psp", blocks=[[4, 8, 2, 1], [8, 12, 2, 1]])
    path = saved(tmp_path / "a.pt", author_state("psp", net))
    done = skelzoo.convert(path, arch="psp", to=tmp_path / "guessed")
    assert done.options["blocks"][1][3] == 2 and "which no shape tells" in done.report()
    done = skelzoo.convert(path, arch="psp", to=tmp_path / "named", options={"blocks": [[4, 8, 2, 1], [8, 12, 2, 1]]})
    assert "blocks" not in done.assumed and same_net(tmp_path / "named", net)


def test_concatenated_streams_cannot_be_prepared(tmp_path: Path) -> None:
    net = skelzoo.create("stgcn", layout="ntu25", in_channels=6, options={"hidden_channels": 2, "hidden_dim": 4})
    with pytest.raises(CheckpointError, match=r"a\.pt: the net reads 6 coordinates per joint"):
        skelzoo.convert(saved(tmp_path / "a.pt", author_state("stgcn", net)), arch="stgcn", to=tmp_path / "mine")


def test_half_precision_and_a_graph_that_is_not_stored(tmp_path: Path) -> None:
    net = author_net("stgcn")
    net.load_state_dict({k: v.half().to(v.dtype) for k, v in net.state_dict().items()})
    path = saved(tmp_path / "a.pt", {k: v.half() if v.is_floating_point() else v for k, v in author_state("stgcn", net).items() if k != "A"})
    done = skelzoo.convert(path, arch="stgcn", to=tmp_path / "mine")
    assert "not stored in float32" in done.report() and done.assumed["graph"] == "spatial" and same_net(tmp_path / "mine", net)


def test_a_net_without_edge_importance(tmp_path: Path) -> None:
    """The authors' code multiplies by 1 where its option is off."""
    net = author_net("stgcn")
    for block in net.backbone.blocks:
        nn.init.ones_(block.edge_importance)
    state = {k: v for k, v in author_state("stgcn", net).items() if "edge_importance" not in k}
    done = skelzoo.convert(saved(tmp_path / "a.pt", state), arch="stgcn", to=tmp_path / "mine")
    assert same_net(tmp_path / "mine", net) and "without edge importance" in done.report()


def test_three_files_make_an_ensemble(tmp_path: Path) -> None:
    nets = [author_net("skeattnclr-stgcn") for _ in range(3)]
    for i, net in enumerate(nets):
        with torch.no_grad():
            net.head.bias.add_(i)
    paths = [saved(tmp_path / f"{i}.pt", pretraining_state(author_state("skeattnclr-stgcn", net))) for i, net in enumerate(nets)]
    weights = [0.6, 0.3, 0.1]
    done = skelzoo.convert(paths, arch="skeattnclr-stgcn-3s", to=tmp_path / "mine", options={"heads": 2, "weights": weights}, head=True)
    encoder, x = load(tmp_path / "mine"), torch.randn(2, 9, 16, 25, 2)
    with torch.inference_mode():
        expected = sum(w * net(part) for w, net, part in zip(weights, nets, x.chunk(3, 1), strict=True))
        torch.testing.assert_close(encoder.net(x), expected)
    assert encoder.contract.streams == ("joint", "bone", "motion") and "bone: encoder_q.backbone.fc.bias" in done.used and "motion: queue_s" in done.dropped
    skelzoo_convert(*paths, "--arch", "skeattnclr-stgcn-3s", "--to", tmp_path / "cli", "--set", "weights=[0.6, 0.3, 0.1]", "--set", "heads=2", "--head")
    assert load(tmp_path / "cli").config == encoder.config and not encoder.config.untrained
    paths[1] = saved(tmp_path / "evaluated.pt", author_state("skeattnclr-stgcn", nets[1]))
    skelzoo.convert(paths, arch="skeattnclr-stgcn-3s", to=tmp_path / "mixed", options={"heads": 2})
    with pytest.raises(ContractError, match=r"its weights never learned bone\.salient, which"):
        load(tmp_path / "mixed").features(x, ["joint.salient", "bone.salient"], prepared=True)
    with pytest.raises(CheckpointError, match=r"made from 3 checkpoint\(s\), not 2. Give them in the order joint, bone, motion"):
        skelzoo.convert(paths[:2], arch="skeattnclr-stgcn-3s", to=tmp_path / "two")
    other = saved(tmp_path / "other.pt", author_state("skeattnclr-stgcn", author_net("skeattnclr-stgcn", hidden_channels=6)))
    with pytest.raises(CheckpointError, match=r"bone: backbone\.st_gcn_networks\.\d.* needs"):
        skelzoo.convert([paths[0], other, paths[2]], arch="skeattnclr-stgcn-3s", to=tmp_path / "two", options={"heads": 2})


def contrastive(state: dict[str, Tensor], streams: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """A file of SkeletonCLR, or CrosSCLR with its streams: the head is a projector of two layers, here as deep as CrosSCLR nests it."""
    encoder = {k: v for k, v in state.items() if not k.startswith("fc.")} | {"fc.0.weight": torch.zeros(4, 4), "fc.2.0.bias": torch.zeros(4)}
    out = {f"encoder_{e}{s}.{k}": v for e in "qk" for s in streams for k, v in encoder.items()}
    return out | {f"queue{s}": torch.zeros(2, 8) for s in streams} | {f"queue_ptr{s}": torch.zeros(1, dtype=torch.long) for s in streams}


@pytest.mark.parametrize("streams", [("",), ("", "_motion", "_bone")])
def test_pretraining_files_of_skeletonclr_and_its_kin(tmp_path: Path, streams: tuple[str, ...]) -> None:
    net = author_net("stgcn", num_classes=0)
    done = skelzoo.convert(saved(tmp_path / "a.pt", contrastive(author_state("stgcn", net), streams)), arch="stgcn", to=tmp_path / "mine")
    encoder = load(tmp_path / "mine")
    assert same_net(tmp_path / "mine", net) and encoder.config.num_classes == 0 and encoder.contract.frames == 50
    assert "projector of the contrastive loss" in done.report() and ("encoder of another stream" in done.report()) == (len(streams) > 1)
    with pytest.raises(skelzoo.errors.ContractError, match="no classification head"):
        encoder.classify(make_clip(layout="ntu25", frames=60))


def test_a_projector_of_one_layer_is_no_head_either(tmp_path: Path) -> None:
    state = author_state("stgcn", author_net("stgcn"))
    path = saved(tmp_path / "a.pt", {f"encoder_q.{k}": v for k, v in state.items()} | {"queue": torch.zeros(2, 8)})
    assert skelzoo.convert(path, arch="stgcn", to=tmp_path / "mine").dropped["encoder_q.fc.weight"] == "projector of the contrastive loss"
    assert load(tmp_path / "mine").config.num_classes == 0


def test_a_skeattnclr_file_without_its_neck(tmp_path: Path) -> None:
    net = author_net("skeattnclr-stgcn")
    path = saved(tmp_path / "a.pt", {f"encoder_q.{k}": v for k, v in author_state("skeattnclr-stgcn", net).items()})
    done = skelzoo.convert(path, arch="stgcn", to=tmp_path / "mine")
    x = torch.randn(2, 3, 16, 25, 2)
    with torch.inference_mode():
        torch.testing.assert_close(load(tmp_path / "mine").net(x), net(x))
    assert done.options["graph"] == "agcn" and "neck of SkeAttnCLR" in done.report() and "projection" not in load(tmp_path / "mine").net.feature_names


@pytest.mark.parametrize("arch", ["skeattnclr-stgcn", "stgcn"])
def test_a_head_that_never_learned_is_left_out(tmp_path: Path, arch: str) -> None:
    """Of pretraining files, unless it is asked for; of others where it is not wanted."""
    state = {f"encoder_q.{k}": v for k, v in author_state("skeattnclr-stgcn", author_net("skeattnclr-stgcn")).items()}
    trained = saved(tmp_path / "trained.pt", state)
    pretraining = saved(tmp_path / "a.pt", pretraining_state({k.removeprefix("encoder_q."): v for k, v in state.items()}))
    options = {"heads": 2} if arch != "stgcn" else {}
    done = skelzoo.convert(pretraining, arch=arch, to=tmp_path / "mine", options=options)
    encoder = load(tmp_path / "mine")
    with pytest.raises(skelzoo.errors.ContractError, match="no classification head"):
        encoder.classify(make_clip(layout="ntu25", frames=60))
    assert "never learned; --head" in done.dropped["encoder_q.backbone.fc.weight"] and "NEVER LEARNED" not in done.report()
    assert encoder.contract.frames == 64 and ("ntu25, streams joint, 64 frames" in done.report())
    assert "NEVER LEARNED" in skelzoo.convert(pretraining, arch=arch, to=tmp_path / "kept", options=options, head=True).report()
    said = skelzoo_convert(trained, "--arch", arch, "--to", tmp_path / "cli", "--no-head", *(["--set", "heads=2"] if options else []))
    assert "head, which was not wanted" in said
    skelzoo_convert(trained, "--arch", arch, "--to", tmp_path / "whole", *(["--set", "heads=2"] if options else []))
    assert [load(tmp_path / folder).config.num_classes for folder in ("mine", "kept", "cli", "whole")] == [0, 3, 0, 3]


@pytest.mark.parametrize(("graph", "neck", "frames"), [("spatial", False, 50), ("agcn", False, 64), ("agcn", True, 64)])
def test_only_files_of_skeattnclr_have_its_frames(tmp_path: Path, graph: str, neck: bool, frames: int) -> None:
    """As ST-GCNs they are told from CrosSCLR's and AimCLR's by their neck or their graph."""
    state = author_state("stgcn", author_net("stgcn", graph=graph)) | ({"neck.norm0.bias": torch.zeros(4)} if neck else {})
    if neck:
        del state["A"]
    done = skelzoo.convert(saved(tmp_path / "a.pt", state), arch="stgcn", to=tmp_path / "mine", options={} if neck else {"graph": graph})
    contract = load(tmp_path / "mine").contract
    assert (done.options["graph"], contract.frames, dict(contract.steps[-2])) == (graph, frames, {"step": "resample", "frames": frames, "method": "half_pixel"})
    assert f"as those of skeattnclr-ntu60: layout ntu25, streams joint, {frames} frames" in done.report()


@pytest.mark.parametrize("pyramid", [True, False])
def test_what_dsta_nets_own_data_are(tmp_path: Path, pyramid: bool) -> None:
    path = saved(tmp_path / "a.pt", author_state("psp", author_net("psp", pyramid=pyramid, streams=1 + pyramid)))
    report = skelzoo.convert(path, arch="psp", to=tmp_path / "mine").report()
    assert ("150 frames of a clip, cropped to 128" in report) != pyramid and ("streams joint, motion" in report) == pyramid


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "research only: ask the authors # x", "[see paper]", ""])
def test_the_card_says_where_the_weights_come_from(tmp_path: Path, licence: str) -> None:
    path = saved(tmp_path / "epoch300_model.pt", author_state("psp", author_net("psp")))
    skelzoo_convert(path, "--arch", "psp", "--to", tmp_path / "mine", "--licence", licence)
    encoder = load(tmp_path / "mine")
    for part in ("epoch300_model.pt", f"{path.stat().st_size}", "assumed: coefficients", "dropped: 6, constants", "by whoever trained them"):
        assert part in encoder.card
    assert str(tmp_path) not in encoder.card and f"## Licence\n\n{licence or 'unknown'}\n" in encoder.card
    assert yaml.safe_load(encoder.card.split("---\n")[1])["license"] == (licence.lower() or "unknown")
    encoder.refresh()  # as after a change of its weights
    assert encoder.card.partition("## Licence")[2].strip() == licence


@pytest.fixture(scope="module")
def author_file(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return pretraining_state(author_state("skeattnclr-stgcn", author_net("skeattnclr-stgcn")))


CHANGES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "renamed": (lambda s: s.update({"encoder_q.backbone.data_batchnorm.weight": s.pop("encoder_q.backbone.data_bn.weight")}), r"network: backbone\.data_batchnorm\.weight"),
    "renamed at its end": (lambda s: s.update({"encoder_q.backbone.data_bn.gain": s.pop("encoder_q.backbone.data_bn.bias")}), r"nothing gives backbone\.input_norm\.bias.*encoder_q\.backbone\.data_bn\.gain has no place"),
    "missing": (lambda s: s.pop("encoder_q.backbone.st_gcn_networks.3.tcn.0.bias"), r"nothing gives backbone\.blocks\.3\.norm1\.bias of shape \(4,\)"),
    "missing where sizes are told": (lambda s: s.pop("encoder_q.neck.proj.mlp.3.weight"), r"neck\.projector\.linear2\.weight, from which the sizes are told, is given by none"),
    "extra": (lambda s: s.update({"encoder_q.backbone.tan.weight": torch.zeros(2)}), r"backbone\.tan\.weight"),
    "extra beside the encoder": (lambda s: s.update(memory=torch.zeros(2)), r"network: memory\."),
    "mis-shaped": (lambda s: s.update({"encoder_q.neck.norm0.bias": torch.zeros(15)}), r"encoder_q\.neck\.norm0\.bias is \(15,\) torch\.float32, neck\.norm\.bias needs \(16,\)"),
    "flat": (lambda s: s.update({"encoder_q.backbone.st_gcn_networks.0.gcn.conv.weight": torch.zeros(9)}), r"graph_conv\.weight, from which the sizes are told, has shape \(9,\)"),
    "of another type": (lambda s: s.update({"encoder_q.neck.norm0.bias": torch.zeros(16, dtype=torch.int32)}), r"neck\.norm0\.bias is \(16,\) torch\.int32"),
    "of another graph": (lambda s: s["encoder_q.backbone.A"].add_(1), r"backbone\.A is not the agcn graph of layout ntu25"),
    "infinite": (lambda s: s["encoder_q.backbone.data_bn.weight"].fill_(float("inf")), r"NaN or infinite values in encoder_q\.backbone\.data_bn\.weight"),
    "of no layout": (lambda s: s.update({"encoder_q.backbone.data_bn.weight": torch.zeros(33)}), r"has 11 joints, which none of ntu25, kinect20, coco17 has"),
}  # fmt: skip


@pytest.mark.parametrize("title", CHANGES)
def test_changed_files_are_refused_by_name(author_file: dict[str, Tensor], tmp_path: Path, title: str) -> None:
    change, says = CHANGES[title]
    state = {k: v.clone() for k, v in author_file.items()}
    change(state)
    with pytest.raises(CheckpointError, match=says) as caught:
        skelzoo.convert(saved(tmp_path / "authors.pt", state), arch="skeattnclr-stgcn", to=tmp_path / "mine", options={"heads": 2})
    assert "authors.pt" in str(caught.value) and not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"arch": "psp"}, CheckpointError, "not tensors of the authors' psp network.*They are those of skeattnclr-stgcn or stgcn"),
        ({"arch": "skeattnclr-dsta"}, CheckpointError, "not tensors of the authors' skeattnclr-dsta network"),
        ({"arch": "skeletonmae-strl"}, CheckpointError, "no checkpoints of the authors' code are known for skeletonmae-strl. They are for skeattnclr-stgcn,"),
        ({"arch": "psp-ensemble"}, CheckpointError, "no checkpoints of the authors' code are known for psp-ensemble"),
        ({"arch": "skeattnclr"}, UnknownArchError, "Did you mean"),
        ({}, CheckpointError, "needs an arch or the name of a model"),
        ({"arch": "stgcn", "name": "skeattnclr-ntu60"}, CheckpointError, "and not both"),
        ({"name": "skeattnclr-ntu59"}, UnknownModelError, "Did you mean skeattnclr-ntu"),
        ({"name": "skeattnclr-ntu60"}, CheckpointError, "option hidden_channels is 64, but the shapes of the checkpoint's tensors say 4"),
        ({"options": {"hidden_dim": 32}}, CheckpointError, "option hidden_dim is 32, but the shapes of the checkpoint's tensors say 16"),
        ({"options": {"depth": 2}}, CheckpointError, "options depth are unknown"),
        ({"options": {"heads": "two"}}, CheckpointError, "options heads are unknown or of the wrong type"),
        ({"options": {"heads": 3}}, CheckpointError, "16 channels do not split into 3 heads"),
        ({"options": {"num_frames": 0}}, CheckpointError, "num_frames is 0. Give a whole number"),
        ({"options": {"num_persons": "2"}}, CheckpointError, "num_persons is '2'"),
        ({"layout": "kinect20"}, CheckpointError, "layout kinect20 has 20 joints, the checkpoint 25"),
        ({"layout": "ntu"}, LayoutError, "Did you mean ntu25"),
        ({"name": "skeattnclr-ntu60", "layout": "kinect20"}, CheckpointError, "layout kinect20 was named, but the model's is ntu25"),
        ({"register": "skeattnclr-openskel"}, CheckpointError, "it has published weights"),
        ({"register": "../mine"}, CheckpointError, "it is not a name"),
        ({"register": "psp-ntu60"}, CheckpointError, "psp-ntu60 is a psp, not a skeattnclr-stgcn"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_file(author_file: dict[str, Tensor], tmp_path: Path, settings: dict[str, Any], error: type[SkelzooError], says: str) -> None:
    arguments = settings if "arch" in settings or "name" in settings or not settings else {"arch": "skeattnclr-stgcn", **settings}
    with pytest.raises(error, match=says):
        skelzoo.convert(saved(tmp_path / "a.pt", author_file), to=tmp_path / "mine", **arguments)
    assert not (tmp_path / "mine").exists()


def test_the_folder_is_looked_at_first(author_file: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not a weights folder"):
        skelzoo.convert(tmp_path / "nothing.pt", arch="skeattnclr-stgcn", to=tmp_path)


@pytest.mark.parametrize(
    "words",
    [[], ["a.pt"], ["a.pt", "--to", "x"], ["a.pt", "--to", "x", "--as", "psp-ntu60", "--arch", "psp"], ["a.pt", "--to", "x", "--arch", "psp", "--set", "heads"],
     ["a.pt", "--to", "x", "--arch", "psp", "--register"]],
)  # fmt: skip
def test_commands_that_are_not_understood(words: list[str]) -> None:
    assert CliRunner().invoke(main, ["convert", *words]).exit_code == 2


def test_a_command_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("no checkpoint")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "a.pt"), "--arch", "psp", "--to", str(tmp_path / "mine")])
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and "Nothing in it was run" in result.stderr and result.stderr.count("\n") == 1
