"""Given with the assignment `find_the_bugs`: data whose truth is known, and the order of the pipeline's six steps."""

import numpy as np


def sigmoid(margin):
    """Return 1 / (1 + exp(-margin)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(margin, float)))


def make_world(seed, coin_flips=False, prompts=60, pairs=5, heads=40, features=8):
    """Draw pairs of responses, and a table of prompts in an order of its own.

    Args:
        coin_flips: labels carry no signal, so that every honest accuracy is 0.5 but for chance.

    Returns:
        A dict: prompt (n,), first and second (n, features), label (n,) 1 where the first is preferred; prompt_ids (P,)
        and prompt_weights (P, heads), what a router says about each prompt; heads (heads, features).
    """
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.arange(100, 1000), size=prompts + 5, replace=False)  # five prompts have no pair
    prompt = rng.permutation(np.repeat(ids[:prompts], pairs))
    shift = {p: rng.normal(size=features) for p in ids}  # what all responses to a prompt have in common
    first, second = (np.array([shift[p] for p in prompt]) + rng.normal(size=(len(prompt), features)) for _ in range(2))
    all_heads = rng.normal(size=(heads, features))
    favourite = dict(zip(ids, rng.integers(4, size=len(ids)), strict=True))
    weights = np.full((len(ids), heads), 0.1 / heads)
    weights[np.arange(len(ids)), [favourite[p] for p in ids]] += 0.9
    wanted = all_heads[[favourite[p] for p in prompt]]
    chance = np.full(len(prompt), 0.5) if coin_flips else sigmoid(((first - second) * wanted).sum(axis=1))
    order = rng.permutation(len(ids))
    return {
        "prompt": prompt,
        "first": first,
        "second": second,
        "label": (rng.random(len(prompt)) < chance).astype(int),
        "prompt_ids": ids[order],
        "prompt_weights": weights[order],
        "heads": all_heads,
    }


def report(world, steps, seed=0):
    """Run the pipeline.

    Args:
        steps: name -> function, of the six steps.

    Returns:
        Row -> (accuracy, low, high, verdict), on the test pairs: the chosen head, the mixture, the reference.
    """
    prompt, label = world["prompt"], world["label"]
    first, second = world["first"] @ world["heads"].T, world["second"] @ world["heads"].T
    test = np.asarray(steps["split_prompts"](prompt, 0.4, seed), bool)
    weights = world["prompt_weights"][steps["prompt_rows"](prompt, world["prompt_ids"])]
    margins = first - second
    head, _ = steps["choose_head"](margins[~test], label[~test], margins[test], label[test])
    mixture = np.asarray(steps["preference"](first, second, weights))
    difference = world["first"] - world["second"]
    reference = difference @ np.asarray(steps["fit_reference"](difference[~test], label[~test], 0.01))
    guesses = {"the chosen head": margins[:, head] > 0, "the mixture": mixture > 0.5, "the reference": reference > 0}
    return {
        name: tuple(steps["verdict"]((guess == label)[test].astype(float), prompt[test], 0.5, seed))
        for name, guess in guesses.items()
    }
