"""The corpus: what is written, how it is composed, and which pairs may be compared."""

import re
from collections import Counter

import numpy as np
import pytest

from micro_paper.data import corpus
from micro_paper.data.corpus.compose import CONNECTIVES
from micro_paper.data.corpus.pairs import LONGEST_GAP, balanced, candidates
from micro_paper.data.corpus.text import CODES, SEALED, parse_topics
from micro_paper.errors import InputError

OPEN = [t for t in corpus.topics() if not t.sealed]


def fragments(topic) -> dict[str, tuple[str, bool]]:
    """Fragment -> (code, whether it is a wrong twin)."""
    out = {text: (code, False) for code, texts in topic.fragments.items() for text in texts}
    for true, false in topic.facts:
        out |= {true: ("fac", False), false: ("fac", True)}
    return out


def recount(topic, text: str) -> dict[str, int]:
    """Count the fragments of each code that stand in a text, by searching for them; wrong twins as `false`."""
    found = Counter()
    for fragment, (code, wrong) in fragments(topic).items():
        found["false" if wrong else code] += fragment in text
    return found


def test_there_are_fifty_topics_and_ten_are_sealed() -> None:
    assert len(corpus.topics()) >= 50
    assert {t.slug for t in corpus.topics() if t.sealed} == set(SEALED) and len(SEALED) == 10


@pytest.mark.parametrize("topic", corpus.topics(), ids=lambda t: t.slug)
def test_fragments_are_distinct_and_of_one_length(topic) -> None:
    texts = fragments(topic)
    assert len(texts) == 2 * 9 + 2 * 4 and len(set(topic.prompts)) == 4
    assert all(20 <= len(t.split()) <= 30 for t in texts)
    assert sum(topic.odd) == 2  # half of the truths sound odd
    for true, false in topic.facts:
        assert true != false and abs(len(true.split()) - len(false.split())) <= 2


def test_lengths_say_nothing_about_the_dimension() -> None:
    words = {c: [len(t.split()) for topic in corpus.topics() for t in topic.fragments[c]] for c in OPEN[0].fragments}
    means = {code: np.mean(values) for code, values in words.items()}
    assert max(means.values()) - min(means.values()) < 1.5


GOOD = ["# a | p1 | p2 | p3 | p4"]
GOOD += [f"{c}: {c} {i}." for i in (1, 2) for c in ("cla", "mud", *[s for s in CODES if s not in ("cla", "fac")])]
GOOD += [f"{c}: {c} {i}." for i in range(4) for c in ("fac", "fak")]


def test_the_format_is_read() -> None:
    (topic,) = parse_topics([*GOOD[:-2], "fac!: odd.", "fak: even.", ""])
    assert topic.slug == "a" and topic.prompts == ("p1", "p2", "p3", "p4") and topic.odd == (False, False, False, True)
    assert topic.fragments["hum"] == ("hum 1.", "hum 2.") and topic.facts[3] == ("odd.", "even.")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["cla: no topic yet."], "line 1"),
        ([*GOOD, "xyz: what is this?"], f"line {len(GOOD) + 1}"),
        ([*GOOD, "no code"], f"line {len(GOOD) + 1}"),
        (["# a | p1 | p2", *GOOD[1:]], "4 wordings"),
        ([line for line in GOOD if line != "hum: hum 2."], "2 hum"),
        (GOOD[:-1], "fak twin"),
    ],
)
def test_a_faulty_file_is_refused_by_line_and_topic(lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_topics(lines, "x.txt")


@pytest.mark.parametrize("topic", corpus.topics(), ids=lambda t: t.slug)
def test_levels_are_what_the_text_says(topic) -> None:
    pool = corpus.compose(topic.slug)
    assert Counter(r.wording for r in pool) == dict.fromkeys(range(4), 24)
    for response in pool:
        found = recount(topic, response.text)
        level = dict(zip(CODES, response.levels, strict=True))
        assert (found["cla"] == 0) != (found["mud"] == 0)  # clarity is a property of the whole response
        assert level["cla"] == (found["mud"] == 0) and level["fac"] == -found["false"]
        assert (response.fact >= 0) == (found["fac"] + found["false"] == 1)
        assert all(level[c] == found[c] for c in CODES if c not in ("cla", "fac"))
        assert sum(found.values()) in (3, 4) and response.words == len(response.text.split())
        rest = response.text
        for fragment in fragments(topic):
            rest = rest.replace(fragment, "|")
        assert {p.strip() for p in rest.split("|")} <= {"", *CONNECTIVES}


def test_order_number_and_connectives_vary() -> None:
    texts = [r.text for t in OPEN[:8] for r in corpus.compose(t.slug)]
    assert 0.25 < np.mean([any(c in t for c in CONNECTIVES) for t in texts]) < 0.75
    assert 0.25 < np.mean(["\n\n" in t for t in texts]) < 0.55
    firsts = Counter(
        next(c for f, (c, _) in fragments(t).items() if r.text.startswith(f))
        for t in OPEN[:8]
        for r in corpus.compose(t.slug)
    )
    assert set(firsts) == {*CODES, "mud"}
    assert all(len(c.split()) <= 8 for c in CONNECTIVES)


def test_another_seed_composes_others_and_the_same_seed_the_same() -> None:
    corpus.compose.cache_clear()
    first = corpus.compose("sky", 0)
    corpus.compose.cache_clear()
    assert corpus.compose("sky", 0) == first != corpus.compose("sky", 1)


@pytest.mark.parametrize("topic", OPEN[::4], ids=lambda t: t.slug)
def test_pairs_are_fair(topic) -> None:
    pool, found = corpus.compose(topic.slug), candidates(topic.slug)
    for (i, j), margin, gap in zip(found.pairs, found.margin, found.gap, strict=True):
        a, b = recount(topic, pool[i].text), recount(topic, pool[j].text)
        assert pool[i].wording == pool[j].wording and abs(gap) <= LONGEST_GAP and margin.any()
        if a["false"] != b["false"]:  # twins, so that both state one fact
            assert pool[i].fact == pool[j].fact >= 0
    for wording in range(4):
        for z in range(9):
            judged = found.judged(wording, z)
            signs = Counter(found.signs[p][z] for p in judged)
            assert signs[1] == signs[-1] and all(found.margin[p, z] for p in judged)


def test_cues_and_phrasings_are_many_and_apart() -> None:
    cues = corpus.cues()
    assert len(cues) != 10 and len({max(c.taste, key=c.taste.get) for c in cues}) < len(cues)
    assert all(len(c.train) + len(c.test) >= 8 and max(c.taste.values()) == 0.7 for c in cues)
    said = [s for c in cues for s in (*c.train, *c.test)]
    assert len(set(said)) == len(said)
    for dimension, sentences in corpus.phrasings().items():
        assert len(sentences["train"]) == len(sentences["test"]) == 20 and dimension in corpus.DIMENSIONS
    asked = corpus.prompt_cues()
    assert {c.dimension for c in asked} < set(corpus.DIMENSIONS) and len({c.dimension for c in asked}) == len(
        asked
    ) == 6
    assert all(len(c.train) == len(c.test) == 20 for c in asked)
    said += [s for p in corpus.phrasings().values() for texts in p.values() for s in texts]
    said += [s for c in asked for s in (*c.train, *c.test)]
    assert len({s.lower() for s in said}) == len(said) == 12 * 8 + 9 * 41 + 6 * 40
    assert all(re.search(r"[.?]$", s) and s[0].isupper() for s in said)


def test_pairs_are_kept_whose_winners_have_no_more_of_a_count() -> None:
    rng = np.random.default_rng(0)
    won = rng.normal(0.4, 1.0, (60, 3))  # winners have more of everything
    longer = np.repeat([1, -1, 0], [30, 20, 10])
    kept, excess = balanced(won, longer, np.zeros(3), 0.5)
    assert longer[kept].sum() == 0 and 28 <= len(kept) <= 30
    assert np.allclose(excess, won[kept].sum(axis=0))
    assert np.linalg.norm(excess) / len(kept) < 0.1 < np.linalg.norm(won.mean(axis=0))
    whole, _ = balanced(won, longer, np.zeros(3), 1.0)
    assert len(whole) == 50 and longer[whole].sum() == 0  # lengths alone
    _, carried = balanced(won, longer, np.array([20.0, 0.0, 0.0]), 0.5)
    assert carried[0] < 20 + won[:, 0].sum() and len(balanced(won[:0], longer[:0], np.zeros(3), 0.5)[0]) == 0
