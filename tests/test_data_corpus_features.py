"""Cues reach the router only: responses and criteria are read after the prompt without its cue."""

import pytest
from datasets import Dataset

from micro_paper import data
from micro_paper.data import corpus
from micro_paper.errors import InputError
from micro_paper.features.items import CONTEXT, PROMPT, RESPONSE, collect, row_items


def row(**more: str) -> Dataset:
    texts = {"prompt": "Hurry! Why?", "chosen": "a", "rejected": "b", "context": "Be brief."}
    return Dataset.from_list([texts | more])


@pytest.mark.parametrize(
    ("more", "read"),
    [
        ({}, ("Hurry! Why?", "Hurry! Why?")),
        ({"response_prompt": "Why?"}, ("Why?", "Hurry! Why?")),
        ({"context_prompt": "Why?"}, ("Hurry! Why?", "Why?")),
        ({"response_prompt": "Why?", "context_prompt": "What?"}, ("Why?", "What?")),
        ({"response_prompt": "", "context_prompt": ""}, ("Hurry! Why?", "Hurry! Why?")),
    ],
)
def test_each_feature_is_read_after_its_own_prompt(more: dict[str, str], read: tuple[str, str]) -> None:
    ((chosen, rejected, prompt, context, _),) = row_items(row(**more))
    assert chosen == (RESPONSE, read[0], "a") and rejected == (RESPONSE, read[0], "b")
    assert prompt == (PROMPT, "Hurry! Why?", "") and context == (CONTEXT, read[1], "Be brief.")


@pytest.mark.long
def test_the_worlds_share_their_responses() -> None:
    """Audience and tastes add prompts with cues to the pool, but no response or criterion is read after one."""
    cued = set()
    for name in ("bundled-audience", "bundled-rpr"):
        frame = data.split_frame(name, "test")
        cued |= set(frame.loc[frame["cue"] != "none", "prompt"])
    names = [name for name in data.names() if name.startswith("bundled-")]
    items = collect([data.load_whole(name) for name in names]).values()
    by_kind = {kind: {i for i in items if i.kind == kind} for kind in (RESPONSE, PROMPT, CONTEXT)}
    assert cued and cued <= {i.prompt for i in by_kind[PROMPT]}
    assert not cued & {i.prompt for kind in (RESPONSE, CONTEXT) for i in by_kind[kind]}
    assert len(by_kind[RESPONSE]) <= 24 * 4 * len([t for t in corpus.topics() if not t.sealed])


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in data.names() if name.startswith("bundled-")])
def test_the_whole_holds_what_every_fold_needs(name: str) -> None:
    known = collect([data.load_whole(name)])
    assert all(set(collect([data.load(name, s, fold=f)])) <= set(known) for f in range(5) for s in data.SPLITS)
    if name == "bundled-audience":  # the splits of one fold would not do
        assert set(collect([data.load(name, s) for s in data.SPLITS])) < set(known)
    with pytest.raises(InputError, match="about splits"):
        data.load_whole(name, fold=1)
    assert not {r["prompt_id"] for r in data.load_whole(name).select_columns("prompt_id")} & set(corpus.SEALED)
