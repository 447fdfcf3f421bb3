"""What training asks of the model: losses of some places only, spare videos, features and questions as inputs."""

from typing import Any

import pytest
import torch
from test_batches import LANGUAGE_MODELS, VISION
from torch import Tensor

from bimba.inference import VideoQA
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config


def learned_batch(vocabulary: int = 259) -> dict[str, Tensor]:
    """Two rows of text, of which the ends are learned, the second padded."""
    ids = torch.randint(0, vocabulary, (2, 24), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, :15] = -100
    labels[1, 20:] = -100
    return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


def places_learned(labels: Tensor) -> Tensor:
    return (labels[:, 1:] != -100).any(dim=0).nonzero().squeeze(1)


@pytest.mark.parametrize("family", sorted(LANGUAGE_MODELS))
@pytest.mark.parametrize("num_items", [None, 7])
def test_loss_of_the_learned_places_is_that_of_all(family: str, num_items: int | None) -> None:
    text = {"model_type": family} | LANGUAGE_MODELS[family]
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(BimbaConfig(vision_config=VISION, text_config=text))
    model.eval()  # type: ignore[no-untyped-call] # untyped in transformers
    batch = learned_batch()
    more = {} if num_items is None else {"num_items_in_batch": torch.tensor(num_items)}
    results = []
    for kept in (0, places_learned(batch["labels"])):
        model.zero_grad()
        output = model(**batch, logits_to_keep=kept, use_cache=False, **more)
        output.loss.backward()
        gradients = [p.grad.clone() for p in model.language_model.parameters() if p.grad is not None]
        results.append((output.loss.detach(), gradients, output.logits.shape[1]))
    (whole, whole_gradients, length), (some, some_gradients, num_places) = results
    assert (length, num_places) == (24, 9)
    assert torch.allclose(whole, some, rtol=1e-6)
    for one, other in zip(whole_gradients, some_gradients, strict=True):
        assert (one - other).abs().max() <= 1e-6 * (1 + one.abs().max())


def video_batch(tiny: VideoQA, num_frames: int = 3) -> dict[str, Any]:
    pixels = torch.randn(num_frames, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    batch = tiny.processor(["<image>what?"], pixel_values_videos=[pixels])
    return dict(batch)


def test_features_of_the_vision_tower_stand_for_pixels(tiny: VideoQA) -> None:
    batch = video_batch(tiny)
    pixels = batch.pop("pixel_values_videos")
    with torch.no_grad():
        features = tiny.model.get_vision_features(pixels)
        from_pixels = tiny.model(**batch, pixel_values_videos=pixels).logits
        from_features = tiny.model(**batch, vision_features=features).logits
        spoken = tiny.model.generate(**batch, vision_features=features, max_new_tokens=4)
        expected = tiny.model.generate(**batch, pixel_values_videos=pixels, max_new_tokens=4)
    assert torch.equal(from_pixels, from_features)
    assert spoken.tolist() == expected.tolist()


def test_a_spare_video_changes_nothing_and_reaches_every_part(tiny: VideoQA) -> None:
    """Texts without a video: the loss is the same, and all that has weights has gradients, of zero."""
    batch = learned_batch()
    spare = {"pixel_values_videos": torch.zeros(1, 3, 70, 70), "num_video_frames": torch.tensor([1])}
    with torch.no_grad():
        alone = tiny.model(**batch).loss
    model = BimbaForConditionalGeneration(tiny_config(320))
    model.load_state_dict(tiny.model.state_dict())
    output = model(**batch, **spare, spare_videos=1)
    output.loss.backward()
    assert torch.equal(output.loss, alone)
    for name, parameter in model.named_parameters():
        # The tower's last norm is not used by any video.
        if not name.startswith(("language_model.", "vision_tower.post_layernorm")):
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


def test_frozen_tower_keeps_no_activations() -> None:
    model = BimbaForConditionalGeneration(tiny_config(320))
    model.vision_tower.requires_grad_(requires_grad=False)
    assert not model.get_vision_features(torch.randn(2, 3, 70, 70)).requires_grad
    assert model.get_vision_features(torch.randn(2, 3, 70, 70, requires_grad=True)).requires_grad
    model.vision_tower.requires_grad_(requires_grad=True)
    assert model.get_vision_features(torch.randn(2, 3, 70, 70)).requires_grad


def conditioned() -> BimbaForConditionalGeneration:
    config = tiny_config(320)
    config.compressor["question_conditioned"] = True
    config.video_token_id = 259
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call] # untyped in transformers
    for name, weight in model.compressor.named_parameters():
        if name.endswith("proj.weight"):
            torch.nn.init.normal_(weight, std=0.3)  # a scan whose state matters
    return model


def test_a_conditioned_model_sees_the_question_before_the_video(tiny: VideoQA) -> None:
    model = conditioned()
    batch = video_batch(tiny)
    with torch.no_grad():
        answers = [
            model(**batch, question_ids=torch.tensor([ids]), question_lengths=torch.tensor([3])).logits
            for ids in ([5, 6, 7], [5, 6, 7], [9, 6, 7])
        ]
    assert torch.equal(answers[0], answers[1])
    assert (answers[0] - answers[2]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="give question_ids"):
        model(**batch)


def test_questions_of_a_batch_are_as_if_alone() -> None:
    """Padding behind a shorter question is not read."""
    model = conditioned()
    pixels = torch.randn(4, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    embed = model.get_input_embeddings()
    questions = [embed(torch.tensor([5, 6, 7])), embed(torch.tensor([8]))]
    with torch.no_grad():
        both = model.get_video_features(pixels, [2, 2], questions)
        alone = [model.get_video_features(pixels[2 * i : 2 * i + 2], [2], questions[i : i + 1])[0] for i in range(2)]
    for one, other in zip(both, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    with pytest.raises(ValueError, match="1 questions for 2 videos"):
        model.get_video_features(pixels, [2, 2], questions[:1])


def test_a_conditioned_model_answers_and_refuses_to_chat(tiny: VideoQA) -> None:
    qa = VideoQA(conditioned(), tiny.processor)
    frames = torch.randint(0, 256, (3, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    prepared = qa.prepare(frames, "What?")
    assert prepared["question_ids"].tolist() == [tiny.processor.question_ids("What?")]
    answer = qa.ask(frames, "What?", max_new_tokens=4)
    ids = qa.model.generate(**prepared, max_new_tokens=4)[0, prepared["input_ids"].shape[1] :]
    assert answer.token_ids == ids.tolist()
    with pytest.raises(Exception, match="reads the question before"):
        qa.chat(frames)
