"""The model section of a recipe in, a model on the CPU and its processor out: where training starts.

Three ways lead to it: a model that is there, a vision tower and a language model that have not met, or random weights.
What is a Vamba's alone is in `start_vamba`.
"""

from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, set_seed
from transformers.image_processing_base import ImageProcessingMixin

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.checkpoints.outline import read_outline
from bimba.errors import CheckpointError, InputError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration, BimbaProjector, build_compressor
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.separators import Separators
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.models.bimba.word_tokenizer import word_tokenizer
from bimba.models.kinds import VideoConfig, VideoModel, VideoProcessor
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.needles.vocabulary import needle_words
from bimba.training.model.matching import begin_matching
from bimba.training.model.parts import check_kind
from bimba.training.model.start_vamba import (
    as_trained,
    scratch_vamba_config,
    vamba_from_checkpoint,
    vamba_from_scratch,
    vamba_outline,
)
from bimba.training.recipe.settings import Checkpoint, Compute, Parts, Recipe, Scratch

_BYTES, _NEEDLES = "bytes", "needles"


def start_model(recipe: Recipe) -> tuple[VideoModel, VideoProcessor]:
    """The model that a recipe starts from, with fresh parts initialised from its seed, on the CPU.

    Raises:
        CheckpointError: files are missing, damaged, or do not fit.
        InputError: settings do not fit the model, or are for another kind of model.
    """
    return start_vamba(recipe) if recipe.train.kind == "vamba" else start_bimba(recipe)


def start_bimba(recipe: Recipe) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """The same for the recipe of a BIMBA.

    Raises:
        CheckpointError, InputError: as there.
    """
    set_seed(recipe.schedule.seed)
    match recipe.model:
        case Checkpoint() as start:
            read_bimba_outline(recipe)  # small files first: what does not fit is told at once
            model, processor = _from_checkpoint(start, recipe.compute)
        case Parts() as start:
            model, processor = _from_parts(start, recipe.compute)
        case start:
            model, processor = _from_scratch(start, recipe.compute)
    model.config.tokenizer_size = model.config.tokenizer_size or len(processor.tokenizer)
    return model, processor


def start_vamba(recipe: Recipe) -> tuple[VambaForConditionalGeneration, VambaProcessor]:
    """The same for the recipe of a Vamba.

    Raises:
        CheckpointError, InputError: as there.
    """
    set_seed(recipe.schedule.seed)
    config, processor = _vamba_outline(recipe)  # small files first: what does not fit is told at once
    if isinstance(recipe.model, Checkpoint):
        model, _ = vamba_from_checkpoint(recipe.model, recipe.compute, recipe.schedule.seed)
        return cast("VambaForConditionalGeneration", model), processor
    return vamba_from_scratch(config, processor, recipe.compute), processor


def read_outline_of(recipe: Recipe) -> tuple[VideoConfig, VideoProcessor]:
    """Config and processor alone, from small files: no weights are read or made.

    Raises:
        CheckpointError: files are missing or damaged.
        InputError: settings do not fit, or are for another kind of model.
    """
    return _vamba_outline(recipe) if recipe.train.kind == "vamba" else read_bimba_outline(recipe)


def _vamba_outline(recipe: Recipe) -> tuple[VambaConfig, VambaProcessor]:
    start = cast("Checkpoint | Scratch", recipe.model)  # recipes refuse anything else
    if isinstance(start, Scratch):
        config, processor = scratch_vamba_config(start, _tokenizer(start.tokenizer))
    else:
        found, its_processor = vamba_outline(start)
        check_kind(found.model_type, recipe.train)
        config, processor = cast("VambaConfig", found), cast("VambaProcessor", its_processor)
    return config, as_trained(processor, start.pixels, recipe.frames)


def read_bimba_outline(recipe: Recipe) -> tuple[BimbaConfig, BimbaProcessor]:
    """The same for the recipe of a BIMBA.

    Raises:
        CheckpointError, InputError: as there.
    """
    if isinstance(recipe.model, Checkpoint):
        outline = read_outline(recipe.model.path, recipe.model.base, recipe.model.settings)
        if outline.processor is None:
            raise ValueError("an outline of a named model has a processor.")
        check_kind(outline.config.model_type, recipe.train)
        config, processor = cast("BimbaConfig", outline.config), cast("BimbaProcessor", outline.processor)
        if recipe.model.compressor is not None:
            _replace_compressor(config, recipe.model.compressor)
        return config, processor
    if isinstance(recipe.model, Parts):
        config = _parts_config(recipe.model)
        return config, _parts_processor(recipe.model, config)
    return _scratch_config(recipe.model)


def read_processor(recipe: Recipe) -> VideoProcessor:
    """The processor alone; see `read_outline_of`."""
    return read_outline_of(recipe)[1]


def _from_checkpoint(start: Checkpoint, compute: Compute) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    options = LoadOptions(
        device="cpu",
        dtype="bfloat16" if compute.precision == "bf16" else "float32",
        attn_implementation=compute.attn_implementation,
        config_overrides=start.settings,
    )
    loaded, its_processor = load_model(start.path, start.base, options)
    model, processor = cast("BimbaForConditionalGeneration", loaded), cast("BimbaProcessor", its_processor)
    if start.compressor is not None:
        _replace_compressor(model.config, start.compressor)
        model.compressor = build_compressor(model.config)
    return model, processor


def _replace_compressor(config: BimbaConfig, compressor: dict[str, Any]) -> None:
    """Take the settings of a fresh compressor, saying in our words what does not fit the checkpoint."""
    try:
        config.replace_compressor(compressor)
    except ValueError as error:
        raise InputError(
            f"model.compressor does not hold: {error}", fix="change it, or model.settings, which it has to fit."
        ) from error


def _parts_config(start: Parts) -> BimbaConfig:
    """The config of a model put together; whatever two folders do not say is as in the released model."""
    vision = _read(AutoConfig.from_pretrained, start.vision, "vision tower")
    text = _read(AutoConfig.from_pretrained, start.language, "language model")
    vision = getattr(vision, "vision_config", vision)  # of a model of pictures and texts, the half that sees
    if vision.model_type == "siglip_vision_model":
        vision.vision_use_head = False
    text = text.get_text_config()
    try:
        return BimbaConfig(vision_config=vision, text_config=text, compressor=start.compressor, **start.settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.settings do not hold: {error}", fix="see BimbaConfig for what there is.") from error


def _parts_processor(start: Parts, config: BimbaConfig) -> BimbaProcessor:
    tokenizer = _read(AutoTokenizer.from_pretrained, start.language, "tokenizer")
    pixels: dict[str, Any] = {}
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(start.vision)
        pixels = {name: settings[name] for name in ("image_mean", "image_std") if name in settings}
    except OSError as error:
        if config.vision_config.model_type != "siglip_vision_model":  # whose normalisation is our default
            raise CheckpointError(
                f"{start.vision} has no preprocessor_config.json, which says how its pixels are normalised.",
                fix="fetch the whole model.",
            ) from error
    return BimbaProcessor.from_config(config, tokenizer, **pixels)


def _from_parts(start: Parts, compute: Compute) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    config = _parts_config(start)
    processor = _parts_processor(start, config)
    with torch.device("meta"):  # nothing is made twice: every part is put in below
        model = BimbaForConditionalGeneration(config)
    keywords = _keywords(compute)
    model.vision_tower = _read(AutoModel.from_pretrained, start.vision, "vision tower", config.vision_config, keywords)
    language = _read(AutoModelForCausalLM.from_pretrained, start.language, "model", config.text_config, keywords)
    model.language_model = language
    model.generation_config = language.generation_config or GenerationConfig.from_model_config(config.text_config)
    model.projector = BimbaProjector(config)
    model.compressor = build_compressor(config)
    model.separators = Separators(config.text_config.hidden_size, config.newline_position)
    return model, processor


def _keywords(compute: Compute) -> dict[str, Any]:
    keywords: dict[str, Any] = {"dtype": torch.bfloat16 if compute.precision == "bf16" else torch.float32}
    if compute.attn_implementation is not None:
        keywords["attn_implementation"] = compute.attn_implementation
    return keywords


def _read(reader: Any, name: str, what: str, config: Any = None, keywords: dict[str, Any] | None = None) -> Any:
    """Read a part with transformers, saying what is wrong in our words."""
    given = {} if config is None else {"config": config}
    try:
        return reader(name, trust_remote_code=False, **given, **(keywords or {}))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(
            f"the {what} {name!r} cannot be read: {reason}", fix="name a folder or hub id of a model of transformers."
        ) from error


def _scratch_config(start: Scratch) -> tuple[BimbaConfig, BimbaProcessor]:
    tokenizer = _tokenizer(start.tokenizer)
    settings = dict(start.config)
    text = dict(settings.get("text_config") or {})
    # A multiple of 64 makes matrix products fast; the placeholder needs a row in no table.
    text.setdefault("vocab_size", -(-len(tokenizer) // 64) * 64)
    settings["text_config"] = text
    try:
        config = BimbaConfig(**settings)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"model.config does not hold: {error}", fix="see BimbaConfig for what there is.") from error
    processor = BimbaProcessor.from_config(config, tokenizer)
    return config, processor


def _tokenizer(name: str) -> Any:
    if name == _BYTES:
        return tiny_tokenizer()
    if name == _NEEDLES:
        return word_tokenizer(needle_words())
    return _read(AutoTokenizer.from_pretrained, name, "tokenizer")


def _from_scratch(start: Scratch, compute: Compute) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    config, processor = _scratch_config(start)
    if compute.attn_implementation is not None:
        config._attn_implementation = compute.attn_implementation  # noqa: SLF001 - transformers' own name
    model = BimbaForConditionalGeneration(config)
    # transformers fills every linear layer alike; a fresh compressor starts as the paper's does.
    model.compressor = build_compressor(config)
    if start.attention == "matching":
        begin_matching(model.language_model)
    ends = [processor.tokenizer.eos_token_id]
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=processor.tokenizer.pad_token_id, do_sample=False
    )
    return model, processor
