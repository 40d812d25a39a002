"""Where an evaluation's options come from: the command line, a YAML file, a run folder, the weights' own file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from bt_kernels.trainer.config.option import flag, read_yaml, typed
from bt_kernels.trainer.config.parts import UNLABELLED, USUAL_SIDE, usual_workers
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.options import EvaluationOptions
from bt_kernels.trainer.evaluate.unfinished import read_unfinished, settings_of, unfinished_file
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.weights.export import backbone_files
from bt_kernels.trainer.weights.reading import read_description

Options = TypeVar("Options", bound=EvaluationOptions)

_OF_THE_BACKBONE = ("backbone", "stem", "shortcuts", "image_size")
_OF_THE_DATA = ("data", "data_dir", "max_image_pixels", "workers", "seed")


def resolve_options(arguments: Mapping[str, Any], options: type[Options]) -> Options:
    """Return the options of an evaluation.

    Each is taken from the first of these that sets it: the command line, its YAML file, the run folder, the
    weights' file, the default.

    Args:
        arguments: Options of the command line by name, and perhaps ``config`` and ``run``.
        options: The protocol's.

    Raises:
        TrainerError: no weights are named, a source cannot be read, or a value is wrong.
    """
    single = dict(arguments)
    path, run = single.pop("config", None), single.pop("run", None)
    given = {**(read_yaml(path, options, also={"run": str}) if path is not None else {}), **single}
    run = run or os.path.expanduser(given.get("run", ""))
    given.pop("run", None)
    stored = {}
    if run:
        stored = options_of_run(Path(run), find_weights="weights" not in given)
    weights = given.get("weights") or stored.get("weights")
    if not weights:
        raise TrainerError("--weights FILE or --run RUN_DIR must say what to evaluate")
    stored = {**options_of_weights(Path(weights)), **stored}
    data = given.get("data", stored.get("data"))
    if data is None:
        raise TrainerError(
            f"{weights} does not say what to evaluate on; name the images by --data, such as imagefolder with "
            "--data-dir DIR, or the run by --run"
        )
    if data in UNLABELLED:
        raise TrainerError(f"--data {data} has no labels to evaluate by; use another one, such as imagefolder")
    values = {**usual_options(data, options, stored), **stored, **given}
    if "workers" not in given and values.get("workers"):
        values["workers"] = usual_workers(values["workers"])  # the run may have had more cores
    for sentence in assumptions(data, weights, stored, given, values):
        print(f"warning: {sentence}", file=sys.stderr)
    if data != stored.get("data") and "data_dir" not in given:
        values.pop("data_dir", None)  # it is another data set's folder
    resolved = options(**values)
    if run and not resolved.output:
        values["output"] = str(result_file(Path(run), resolved))
        resolved = options(**values)
    return resolved


def usual_options(data: str, options: type[EvaluationOptions], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is taken where nothing says it, for a data set and this machine."""
    usual = {"shortcuts": options.shortcuts, "image_size": USUAL_SIDE.get(data, options.image_size)}
    return usual | ({} if data == "digits" else {"workers": usual_workers()})


def assumptions(
    data: str, weights: str, stored: Mapping[str, Any], given: Mapping[str, Any], values: Mapping[str, Any]
) -> list[str]:
    """Say what is taken for granted about weights, and may be wrong.

    Args:
        data: The data set.
        weights: Their file.
        stored: What the run or the file says.
        given: What the user says.
        values: What is taken.
    """
    said = []
    unknown = [name for name in ("shortcuts", "image_size") if name not in stored and name not in given]
    if unknown:
        taken = " ".join(f"{flag(name)} {values[name]}" for name in unknown)
        said.append(
            f"{weights} does not say how it was trained, taken to be {taken}; with the wrong ones accuracies are "
            "too low: name them"
        )
    trained_on = stored.get("data", data)
    if (trained_on == "digits") != (data == "digits"):
        said.append(
            f"{weights} was trained on {trained_on}, whose pixels are not normalised in the way that those of "
            f"{data} are"
        )
    if data != trained_on and "image_size" in stored and values["image_size"] != USUAL_SIDE[data]:
        side, usual = values["image_size"], USUAL_SIDE[data]
        said.append(f"images are seen at {side} x {side} pixels; usual for --data {data} is --image-size {usual}")
    return said


def result_file(folder: Path, options: EvaluationOptions) -> Path:
    """Return where a result goes in a run folder: a file of its own for every choice of settings.

    The same evaluation again replaces its result; one with other settings gets a number.
    """
    for number in count(1):
        path = folder / f"{options.result_name}{'' if number == 1 else f'-{number}'}.json"
        unfinished, settings = unfinished_file(path), options.as_dict()
        if path.exists() and _settings_in(path) != _settings(settings):
            continue
        # One that was stopped has no result yet.
        if unfinished.exists() and read_unfinished(unfinished)["is"]["settings"] != settings_of(settings):
            continue
        return path
    raise AssertionError("the loop returns")


def _settings_in(path: Path) -> dict[str, Any] | None:
    """The settings of a result; None if the file cannot be read or holds none."""
    try:
        return _settings(json.loads(path.read_text())["options"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("output", "workers")}


def options_of_run(root: Path, find_weights: bool) -> dict[str, Any]:
    """Return what a run folder says: of the backbone, the data, and, if asked, the weights' file.

    Raises:
        TrainerError: it is no run folder, or there are no weights in it.
    """
    folder = RunFolder(root)
    try:
        config = json.loads(folder.config.read_text())
    except OSError as error:
        raise TrainerError(f"cannot read the run folder's {folder.config}: {error.strerror}") from None
    except ValueError:
        raise TrainerError(f"{folder.config} is damaged or no configuration") from None
    if not isinstance(config, dict) or "backbone" not in config:
        raise TrainerError(f"{folder.config} is no configuration of this trainer")
    stored = _picked(config, _OF_THE_BACKBONE + _OF_THE_DATA, folder.config)
    if find_weights:
        exported = [path for path in backbone_files(root, str(config["backbone"])) if path.exists()]
        steps = folder.checkpoints.steps()
        if not exported and not steps:
            raise TrainerError(f"{root} holds neither exported weights nor a checkpoint; name a file by --weights")
        stored["weights"] = str(exported[0] if exported else folder.checkpoints.path(steps[-1]))
    return stored


def options_of_weights(path: Path) -> dict[str, Any]:
    """Return what a file of weights says: a .safetensors of the backbone, a checkpoint of its data, too.

    Raises:
        TrainerError: it cannot be read.
    """
    return _picked(read_description(path), _OF_THE_BACKBONE + _OF_THE_DATA, path)


def _picked(values: Mapping[str, Any], names: tuple[str, ...], path: Path) -> dict[str, Any]:
    """The named values that are there, with the options' types."""
    types = get_type_hints(EvaluationOptions)
    return {name: typed(values[name], types[name], f"{name} in {path}") for name in names if name in values}
