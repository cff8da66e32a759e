"""Names that are not there: submodules, imported on first use, and what users of other libraries look for, with where it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def _each(rows: Mapping[str, str]) -> dict[str, str]:
    return {name: answer for names, answer in rows.items() for name in names.split()}


PUBLIC = _each({
    "load_model from_pretrained get_model init_model init_recognizer pipeline AutoModel": "skelzoo.load(NAME) gives an encoder; skelzoo.list_models(pretrained=True) lists the names",
    "create_model": "skelzoo.load(NAME) gives an encoder with its weights, skelzoo.create(ARCH, layout=LAYOUT) a net with random ones",
    "embed classify scores features save push_to_hub": "it is a method of encoders: skelzoo.load(NAME).{name}(...)",
    "fit finetune fine_tune train": "skelzoo.learn.finetune.finetune(encoder, clips) trains one",
    "export": "skelzoo.inference.export.export(encoder, PATH) writes one file",
})  # fmt: skip
"""Of the package."""

ENCODER = _each({
    "to cpu cuda half float train eval parameters named_parameters state_dict load_state_dict modules forward requires_grad_":
        "encoder.net is the torch module; the device goes to skelzoo.load(..., device=DEVICE)",
    "encode transform extract extract_features forward_features": "encoder.embed(clips) gives vectors, encoder.net.forward_features(x) differentiable ones",
    "predict predict_proba": "encoder.classify(clips) gives the likeliest classes, encoder.scores(clips) the scores of all",
    "num_features num_classes": "there are encoder.embedding_dim and encoder.config.num_classes",
    "reset_classifier": "skelzoo.load(NAME, num_classes=N) gives a new head",
    "save_pretrained": "encoder.save(FOLDER) writes it",
    "fit finetune fine_tune": PUBLIC["finetune"], "export": PUBLIC["export"],
})  # fmt: skip
"""Of encoders."""

VERBS = _each({
    "models": "list", "download": "fetch", "predict": "classify", "extract encode": "embed", "train fine-tune": "finetune", "test evaluate": "eval",
    "help": "--help", "version": "--version",
})  # fmt: skip
"""Of the command line."""

OPTIONS = {"--lr": ("learning_rate",), "--model": ("model", "models", "recipe", "name", "pattern")}
"""Of its verbs: names of parameters, of which a verb has one."""


def submodules(package: str, answers: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, which imports the submodule of a name, so that ``skelzoo.learn.probe`` is there after ``import skelzoo``."""

    def get(name: str) -> Any:
        answer, module = (answers or {}).get(name), f"{package}.{name}"
        try:
            if not answer and name.isidentifier() and not name.startswith("_"):  # __main__ would run
                return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        raise _missing(f"module {package!r}", name, answer)

    return get


def answered(what: str, answers: Mapping[str, str]) -> Callable[[Any, str], Any]:
    """A ``__getattr__`` for a class, which says where to find what is looked for."""

    def get(self: Any, name: str) -> Any:
        if name in answers:
            raise _missing(what, name, answers[name])
        return object.__getattribute__(self, name)  # raises what it raised

    return get


def _missing(where: str, name: str, answer: str | None) -> AttributeError:
    return AttributeError(f"{where} has no attribute {name!r}" + (f": {answer.format(name=name)}." if answer else ""))
