"""Tables and verdicts against what is stored of every pair and run, by code of their own."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from micro_paper.experiments import evaluation
from micro_paper.experiments.worlds import load_folds
from micro_paper.report import formatting

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/predictions.parquet"))
TABLES = {"helpsteer": "table_02_accuracy_helpsteer.csv", "rpr": "table_03_accuracy_rpr.csv"}
GAPS, BESIDE = "table_02d_differences.csv", "table_02c_beside_paper.csv"
METHODS = {"micro", "micro_plus", "single", "static_uniform", "static_learned", "shared_base", "armo"}
METHODS |= {"criterion_fewshot"}
MACRO = "average"
METRICS = ("accuracy", "nll", "ece")
STEP = 1.01e-4  # a stored probability is off by at most this, and on the same side of 1/2
EXACT = 2e-6  # a table has 6 digits
BINS = 2e-3
ENDS = 1e-4  # of intervals, of which the p that are stored are rounded


def squares(sums: pd.DataFrame, keys: list[str], shares: pd.Series) -> float:
    """Return the sum over prompts (and runs) of squared deviations; `sums` by prompt and stratum, a column a run.

    Args:
        sums: index fold, prompt_id, attribute; "size" and the sums of scores of the runs.
        keys: what a stratum is: attribute, or fold and attribute.
        shares: weight of a pair of an attribute.
    """
    runs = [c for c in sums if c != "size"]
    whole = sums.groupby(level=keys).transform("sum")
    gaps = sums[runs] - whole[runs].mul(sums["size"] / whole["size"], axis=0)
    rest = (1 - sums["size"] / whole["size"]).where(lambda r: r > 0, 1)
    gaps = gaps.mul(sums.index.get_level_values("attribute").map(shares) / np.sqrt(rest), axis=0)
    return float((gaps.groupby(level="prompt_id").sum() ** 2).to_numpy().sum())


def freedom(size: pd.Series, shares: pd.Series) -> float:
    """Return the degrees of freedom of prompts' squares, by the matrix of the quadratic form where prompts are few."""
    table = size.groupby(level=["prompt_id", "attribute"]).sum().unstack(fill_value=0).astype(float)
    if len(table) > 1500:
        return len(table) - 1  # t is normal there
    share = table / table.sum()
    scaled = table * shares[table.columns] / np.sqrt((1 - share).where(share < 1, 1))
    matrix = np.diag(scaled.sum(axis=1)) - scaled.to_numpy() @ share.to_numpy().T
    form = matrix.T @ matrix
    return max(1.0, np.trace(form) ** 2 / np.trace(form @ form))


def interval(scores: pd.DataFrame, attribute: str) -> tuple[float, float, float, float]:
    """Return estimate, ends and p-value of the mean of scores, a row a pair (with fold and prompt), a column a run."""
    if attribute != MACRO:
        scores = scores.xs(attribute, level="attribute", drop_level=False)
    level = ["fold", "prompt_id", "attribute"]
    size = scores.groupby(level=level).size()
    of_attribute = size.groupby(level="attribute").sum()
    shares = 1 / of_attribute / len(of_attribute)
    mean = scores.mean(axis=1)
    estimate = mean.groupby(level="attribute").mean().mean()
    groups = squares(mean.groupby(level=level).sum().to_frame("m").assign(size=size), ["attribute"], shares)
    free = freedom(size, shares)
    gaps = scores.sub(mean, axis=0).groupby(level=level).sum()
    r = scores.shape[1]
    runs = within = free_runs = free_within = 0.0
    for _, own in gaps.groupby(level="fold") if r > 1 else ():
        n = size.loc[own.index]
        weights = own.index.get_level_values("attribute").map(shares)
        heft = float((n * weights).sum()) ** 2 / r
        runs += float((own.mul(weights, axis=0).sum() ** 2).sum()) / r / (r - 1)
        within += squares(own.assign(size=n), ["fold", "attribute"], shares) / r / (r - 1)
        free_runs += np.array([heft, heft**2 / (r - 1)])
        free_within += (r - 1) * freedom(n, shares)
    free_runs = free_runs[0] ** 2 / free_runs[1] if r > 1 else 1
    if r == 1 or runs <= within < groups:
        variance, degrees = groups, free
    elif groups <= within < runs:
        variance, degrees = runs, free_runs
    elif max(groups, runs) <= within:
        variance, degrees = within, free_within
    else:
        variance = groups + runs - within
        degrees = variance**2 / (groups**2 / free + runs**2 / free_runs + within**2 / free_within)
    error = np.sqrt(variance)
    reach = error * stats.t.ppf(0.975, degrees)
    p = 2 * stats.t.sf(abs(estimate) / error, degrees) if error > 0 else float(abs(estimate) < 1e-12)
    return estimate, estimate - reach, estimate + reach, p


def contrast(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the first scores less the second, by run; of unequal numbers the first runs, about the means over all."""
    second = second.loc[first.index]
    k = min(first.shape[1], second.shape[1])
    a, b = (
        t.iloc[:, :k].add(t.mean(axis=1) - t.iloc[:, :k].mean(axis=1), axis=0).set_axis(range(k), axis=1)
        for t in (first, second)
    )
    return a - b


def by_run(pairs: pd.DataFrame, value: str) -> dict[str, pd.DataFrame]:
    """Return method -> scores with a row a pair and a column a run."""
    keys = ["fold", "prompt_id", "attribute", "pair_id"]
    return {m: own.pivot(index=keys, columns="seed", values=value) for m, own in pairs.groupby("method")}


def calibration_error(run: pd.DataFrame) -> float:
    """Return sum_b n_b / n |accuracy - confidence| over 15 bins of confidence in [1/2, 1]."""
    confidence = np.maximum(run.p, 1 - run.p)
    bins = np.clip(np.floor((confidence - 0.5) * 30), 0, 14)
    return (run.accuracy - confidence).groupby(bins).sum().abs().sum() / len(run)


class Recomputed:
    """Accuracy, NLL, calibration error and their intervals on one data set, from the stored pairs alone.

    Attributes:
        value, std: (method, metric) -> attribute -> mean over runs and standard deviation over runs.
        scores: (method, metric) -> scores, a row a pair and a column a run.
        counts: attribute -> (pairs, prompts).
        runs: method -> number of runs (seeds; every seed tests on every fold).
    """

    def __init__(self, pairs: pd.DataFrame) -> None:
        pairs = pairs.assign(accuracy=np.where(pairs.p == 0.5, 0.5, pairs.p > 0.5), nll=-np.log(pairs.p))
        pairs["slack"] = -np.log1p(-np.minimum(STEP / pairs.p, 0.5))
        self.attributes = sorted(pairs.attribute.unique())
        keys = ["attribute", "fold", "pair_id"]
        one = pairs[pairs.method == pairs.method.iloc[0]].drop_duplicates(keys)
        self.counts = {a: (len(g), g.prompt_id.nunique()) for a, g in one.groupby("attribute")}
        self.counts[MACRO] = (len(one), one.prompt_id.nunique())
        self.value, self.std, self.runs, self.found = {}, {}, {}, {}
        self.scores = {}
        for metric in ("accuracy", "nll"):
            self.scores |= {(m, metric): table for m, table in by_run(pairs, metric).items()}
        for method, own in pairs.groupby("method"):
            self.runs[method] = own.seed.nunique()
            if len(own) != self.runs[method] * len(one):
                raise ValueError(f"{method}: a pair is missing or there twice in a run")
            tables = {
                m: own.pivot_table(index="attribute", columns="seed", values=m) for m in ("accuracy", "nll", "slack")
            }
            tables["ece"] = own.groupby(["attribute", "seed"])[["p", "accuracy"]].apply(calibration_error).unstack()
            for metric, table in tables.items():
                table = table.loc[self.attributes]
                self.value[method, metric] = dict(table.mean(axis=1)) | {MACRO: table.mean(axis=1).mean()}
                self.std[method, metric] = dict(table.std(axis=1)) | {MACRO: table.mean(axis=0).std()}

    def interval(self, attribute: str, metric: str, *methods: str) -> tuple[float, float, float, float]:
        """Return `interval` of a method, or of the first less the second."""
        key = attribute, metric, methods
        if key not in self.found:
            tables = [self.scores[m, metric] for m in methods]
            self.found[key] = interval(tables[0] if len(tables) == 1 else contrast(*tables), attribute)
        return self.found[key]


class Report:
    """What differs, one sentence each."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def number(self, where: str, stated: float, own: float, tolerance: float) -> None:
        if not abs(stated - own) <= tolerance:
            self.wrong.append(f"{where}: {stated} in the table, {own} from the pairs")

    def interval(self, where: str, row, own: tuple[float, ...], slack: float) -> None:
        for end, value in (("low", own[1]), ("high", own[2])):
            self.number(f"{where} {end}", getattr(row, end), value, ENDS + slack)


def score_faults(own: Recomputed, table: pd.DataFrame) -> list[str]:
    """Return where a table of accuracy and NLL does not follow from the pairs; every stored method must be there."""
    report = Report()
    table = table[table.method.isin(own.runs)]
    there = list(zip(table.method, table.attribute, table.metric, strict=True))
    wanted = {(m, a, k) for m in own.runs for a in own.counts for k in METRICS}
    if set(there) != wanted or len(there) != len(wanted):
        report.wrong.append(f"cells of the table that no pairs give, or the reverse: {set(there) ^ wanted}")
        return report.wrong
    for row in table.itertuples():
        where = f"{row.method} {row.attribute} {row.metric}"
        key = row.method, row.metric
        # Decisions are stored exactly, likelihoods up to the rounding of p, which also moves pairs between bins.
        slack = {"accuracy": 0.0, "nll": own.value[row.method, "slack"][row.attribute], "ece": BINS}[row.metric]
        report.number(where, row.value, own.value[key][row.attribute], EXACT + slack)
        spread = own.std[key][row.attribute]
        report.number(f"{where} std", row.std, 0.0 if np.isnan(spread) else spread, EXACT + 2 * slack)
        if row.metric != "ece":  # it carries no interval
            report.interval(where, row, own.interval(row.attribute, row.metric, row.method), 10 * slack)
        report.number(f"{where} n_pairs", row.n_pairs, own.counts[row.attribute][0], 0)
        report.number(f"{where} n_prompts", row.n_prompts, own.counts[row.attribute][1], 0)
        report.number(f"{where} n_runs", row.n_runs, own.runs[row.method], 0)
    return report.wrong


def gap_faults(own: Recomputed, table: pd.DataFrame) -> list[str]:
    """Return where paired differences against micro do not follow from the pairs, their p-values included."""
    report = Report()
    table = table[table.method.isin(own.runs)]
    there = list(zip(table.method, table.attribute, strict=True))
    wanted = {(m, a) for m in own.runs for a in own.counts if m != "micro"}
    if set(there) != wanted or len(there) != len(wanted) or set(table.reference) != {"micro"}:
        report.wrong.append(f"differences that no pairs give, or the reverse: {set(there) ^ wanted}")
        return report.wrong
    for row in table.itertuples():
        where = f"micro less {row.method}, {row.attribute}"
        values = [own.value[m, "accuracy"][row.attribute] for m in ("micro", row.method)]
        report.number(where, row.difference, values[0] - values[1], EXACT)
        found = own.interval(row.attribute, "accuracy", "micro", row.method)
        report.interval(where, row, found, 0.0)
        report.number(f"{where} p", row.p_value, found[3], 1e-3)
        runs = min(own.runs["micro"], own.runs[row.method])
        report.number(f"{where} n_runs", row.n_runs, runs, 0)
        if (row.p_value < 0.05) != (row.low > 0 or row.high < 0):
            report.wrong.append(f"{where}: p = {row.p_value} beside the interval {row.low} to {row.high}")
    for method, part in table[table.attribute != MACRO].groupby("method"):
        ordered, largest = part.sort_values("p_value", kind="stable"), 0.0
        for place, row in enumerate(ordered.itertuples()):
            largest = max(largest, min(1.0, row.p_value * (len(part) - place)))
            report.number(f"{method} {row.attribute} Holm", row.p_holm, largest, 2e-5)
    for row in table[table.attribute == MACRO].itertuples():
        report.number(f"{row.method} average Holm", row.p_holm, row.p_value, 0)
    return report.wrong


def beside_faults(own: Recomputed, scores: pd.DataFrame, gaps: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return where the table beside the paper's differs from the tables that it repeats, or its verdicts from them."""
    report = Report()
    table = table[table.method.isin(own.runs)].set_index("method")
    if set(table.index) != set(own.runs) or not table.index.is_unique:
        report.wrong.append(f"rows that no pairs give, or the reverse: {set(table.index) ^ set(own.runs)}")
        return report.wrong
    average = scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)].set_index("method")
    gaps = gaps[gaps.attribute == MACRO].set_index("method")
    for method, row in table.iterrows():
        for here, there in (("ours", "value"), ("low", "low"), ("high", "high")):
            report.number(f"{method} {here}", row[here], average[there][method], 0)
        if method == "micro":
            continue
        for here, there in (("micro_minus_row", "difference"), ("minus_low", "low"), ("minus_high", "high")):
            report.number(f"{method} {here}", row[here], gaps[there][method], 0)
        verdict = "holds" if row.minus_low > 0 else "does not" if row.minus_high < 0 else "cannot tell"
        if row.verdict != verdict:
            report.wrong.append(f"{method}: the verdict is {row.verdict!r}, the interval says {verdict!r}")
    return report.wrong


class Published:
    """The stored pairs and the tables of one profile, all of one data set at a time."""

    def __init__(self, folder: Path) -> None:
        pairs = pd.read_parquet(folder / "predictions.parquet")
        texts = ["method", "attribute", "dataset", "pair_id", "prompt_id"]
        pairs = pairs.astype(dict.fromkeys(texts, str) | {"p": np.float64})
        self.scores = {like: pd.read_csv(folder / name) for like, name in TABLES.items()}
        self.gaps, self.beside = (pd.read_csv(folder / name) for name in (GAPS, BESIDE))
        self.datasets = {like: table.dataset.iloc[0] for like, table in self.scores.items()}
        self.strangers = set(pairs.dataset) ^ set(self.datasets.values())
        self.methods = {like: set(pairs.method[pairs.dataset == name]) for like, name in self.datasets.items()}
        self.own = {like: Recomputed(pairs[pairs.dataset == name]) for like, name in self.datasets.items()}

    def faults(self, like: str) -> list[str]:
        name, own, scores = self.datasets[like], self.own[like], self.scores[like]
        gaps, beside = (table[table.dataset == name] for table in (self.gaps, self.beside))
        return score_faults(own, scores) + gap_faults(own, gaps) + beside_faults(own, scores, gaps, beside)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def published(request) -> Published:
    return Published(request.param)


@pytest.mark.long
@pytest.mark.parametrize("like", TABLES)
def test_tables_follow_from_the_stored_pairs(published, like):
    assert published.strangers == set()
    assert published.methods[like] == METHODS
    assert published.faults(like) == []


# Any changed cell must be found


def changed(table: pd.DataFrame, where: pd.Series, column: str, by) -> pd.DataFrame:
    row = table.index[where][len(table.index[where]) // 2]
    table = table.copy()
    table[column] = table[column].astype(object if isinstance(by, str) else float)
    table.loc[row, column] = by if isinstance(by, str) else table.loc[row, column] + by
    return table


@pytest.mark.parametrize(
    ("column", "by"),
    [("value", 1e-5), ("std", 1e-5), ("low", 0.02), ("high", -0.02), ("n_pairs", 1), ("n_prompts", -1), ("n_runs", 1)],
)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_changed_score_is_found(published, method, column, by):
    own, table = published.own["rpr"], published.scores["rpr"]
    for attribute in (MACRO, own.attributes[0]):
        where = (table.method == method) & (table.metric == "accuracy") & (table.attribute == attribute)
        assert len(score_faults(own, changed(table, where, column, by))) == 1


def test_a_changed_likelihood_is_found(published):
    own, table = published.own["helpsteer"], published.scores["helpsteer"]
    where = (table.method == "single") & (table.metric == "nll")
    assert len(score_faults(own, changed(table, where, "value", 1e-3))) == 1


@pytest.mark.parametrize(
    ("column", "by"),
    [("difference", 1e-5), ("low", 0.03), ("high", -0.03), ("p_holm", 1e-3), ("reference", "single")],
)
def test_a_changed_difference_is_found(published, column, by):
    own, table = published.own["rpr"], published.gaps
    table = table[table.dataset == published.datasets["rpr"]]
    where = (table.method == "static_learned") & (table.attribute != MACRO)
    assert gap_faults(own, changed(table, where, column, by))


@pytest.mark.parametrize("table", ["scores", "gaps", "beside"])
def test_a_row_that_is_gone_or_doubled_is_found(published, table):
    own, name = published.own["rpr"], published.datasets["rpr"]
    tables = {"scores": published.scores["rpr"], "gaps": published.gaps, "beside": published.beside}
    tables = {key: frame[frame.dataset == name] for key, frame in tables.items()}
    some = tables[table].index[tables[table].method == "armo"][-1]
    for spoiled in (tables[table].drop(index=some), pd.concat([tables[table], tables[table].loc[[some]]])):
        given = tables | {table: spoiled}
        found = {"scores": score_faults(own, given["scores"]), "gaps": gap_faults(own, given["gaps"])}
        found["beside"] = beside_faults(own, tables["scores"], tables["gaps"], given["beside"])
        assert {key for key, faults in found.items() if faults} == {table}


# A small evaluation, stored and read again: what is not published yet is recomputed alike


ROWS = ("micro", "single", "length")


@pytest.fixture(scope="module")
def fitted():
    worlds = load_folds("synthetic-rated", 2, synthetic_prompts=120)
    quick = {"heads": 2, "dtype": "float64", "learning_rate": 1e-2, "epochs": 1, "stage2_epochs": 1}
    many = evaluation.evaluate(worlds, ROWS, quick, seeds=[0, 1, 2], budget=5, keep_heads=["micro", "single"])
    once = evaluation.evaluate(worlds, ["static_uniform"], quick, seeds=[0], budget=5)
    return evaluation.merge(many, once)


@pytest.fixture(scope="module")
def stored(fitted, tmp_path_factory):
    """The decisions as they are published, read back."""
    path = tmp_path_factory.mktemp("stored") / "decisions.parquet"
    path.write_bytes(formatting.parquet(evaluation.decisions([fitted], "smoke")))
    frame = pd.read_parquet(path)
    texts = ["method", "attribute", "pair_id", "prompt_id"]
    return by_run(frame.astype(dict.fromkeys(texts, str)), "right")


def test_scores_follow_from_stored_decisions(fitted, stored):
    table = evaluation.scores(fitted).query("metric == 'accuracy'")
    for row in table.itertuples():
        own = interval(stored[row.method], row.attribute)
        assert (row.value, row.low, row.high) == pytest.approx(own[:3], abs=1e-6)
        assert row.n_runs == stored[row.method].shape[1]


def test_differences_and_their_verdicts_follow_from_stored_decisions(fitted, stored):
    table = evaluation.differences(fitted)
    for row in table.itertuples():
        own = interval(contrast(stored["micro"], stored[row.method]), row.attribute)
        assert (row.difference, row.low, row.high, row.p_value) == pytest.approx(own, abs=1e-6)
        assert row.n_runs == min(3, stored[row.method].shape[1])
    spoiled = stored["micro"].copy()
    spoiled.iloc[0, 0] = 1 - spoiled.iloc[0, 0]
    row = table[(table.method == "single") & (table.attribute == MACRO)].iloc[0]
    assert abs(interval(contrast(spoiled, stored["single"]), MACRO)[0] - row.difference) > 1e-4  # one turned decision


def verdict_of(kind: str, found: tuple[float, ...], n_prompts: int) -> str:
    """Return the verdict on an ordering or an equivalence within .02, before Holm."""
    _, low, high, _ = found
    if n_prompts < 10:
        return "cannot tell"
    if kind == "ordering":
        return "holds" if low > 0 else "does not" if high < 0 else "cannot tell"
    return "holds" if low >= -0.02 and high <= 0.02 else "does not" if low > 0.02 or high < -0.02 else "cannot tell"


# part of the evidence -> the rows whose decisions it compares, and on which attribute
OF_PART = (
    (r"(?P<a>\w+) less hyre, on the pairs .*", "{a}, on the rest", "hyre, on the rest"),
    (r"(?P<a>\w+) less (?P<b>\w+)(, (?P<only>.+))?", "{a}", "{b}"),
    (r"(?P<a>\w+) - (?P<b>\w+)", "{a}", "{b}"),
    (r"(?P<m>micro\w*) \(stage 1\) less (?P<b>\w+)", "{stage1}", "{b}"),
    (
        r"best heads less (?P<b>\w+)'s, (?P<only>.+)",
        "{stage1}, best heads by test (oracle)",
        "{b}, best heads by test (oracle)",
    ),
    (
        r"head of each attribute less one head for all, .*",
        "{stage1}, best heads by validation",
        "{stage1}, one head by validation",
    ),
    (r"best heads by (?P<s>[^:]+): K = (?P<k>\d+) less K = (?P<l>\d+)", "{s} {method} {k}", "{s} {method} {l}"),
    (r"best heads at K = (?P<k>\d+): without .*", "kept {method} {k}", "validation {method} {k}"),
    (r"merged above (?P<t>\S+), accuracy .*", "{method}, merged above {t}", "{method}, to merge above {t}"),
    (r"masked, (?P<only>.+), accuracy .*", "{method}, as trained: masked", "{method}, as trained: all heads"),
)
SOME_RUNS = ("C36", "C38", "C44")  # claims on the runs alone that have such heads
STAGE1 = {"micro": "micro_stage1", "micro_plus": "micro_plus", "any": "micro_stage1"}


def sides(part: str, method: str) -> tuple[str, str, str] | None:
    """Return the two rows that a part of the evidence compares, and the attribute; None where it compares no two."""
    for pattern, first, second in OF_PART:
        if found := re.fullmatch(pattern, part):
            named = {"method": method, "stage1": STAGE1[method]} | found.groupdict()
            return first.format(**named), second.format(**named), named.get("only") or MACRO
    return None


def test_parts_name_the_rows_that_they_compare(fitted):
    assert sides("micro less armo, clarity", "micro") == ("micro", "armo", "clarity")
    assert sides("micro (stage 1) less static_uniform", "micro") == ("micro_stage1", "static_uniform", MACRO)
    stage1 = evaluation.merge(
        *(_renamed(fitted, a, b) for a, b in (("micro", "micro_stage1"), ("single", "shared_base")))
    )
    stored = set(evaluation.decisions([stage1], "smoke").method)
    for part in ("best heads less shared_base's, clarity", "head of each attribute less one head for all, both"):
        assert set(sides(part, "micro")[:2]) <= stored
    assert sides("largest mean head share (stage 1), slope over alpha", "any") is None


def _renamed(found, old: str, new: str):
    own = evaluation.Evaluation(found.world, found.pairs, found.seeds)
    for table in ("probability", "heads", "chosen", "supervision"):
        setattr(own, table, {new: getattr(found, table)[old]})
    return own


@pytest.mark.long
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_orderings_and_equivalences_follow_from_stored_decisions(folder):
    """Estimate, ends and verdict of every part that compares two stored rows, in every notebook's evidence."""
    seen, wrong = 0, []
    for path in sorted(folder.glob("table_00_evidence_*.csv")):
        evidence = pd.read_csv(path)
        evidence = evidence[evidence.kind.isin(["ordering", "equivalence"])]
        stored = sorted(folder.glob(f"decisions_{path.stem[-2:]}*.parquet"))
        if not len(evidence):
            continue
        frame = pd.concat([pd.read_parquet(part) for part in stored]).astype(
            dict.fromkeys(["method", "attribute", "pair_id", "prompt_id"], str)
        )
        tables = {name: by_run(own, "right") for name, own in frame.groupby("dataset", observed=True)}
        for row in evidence.itertuples():
            named = sides(row.part, row.method)
            if named is None or row.dataset not in tables or named[0] not in tables[row.dataset]:
                continue
            own = interval(contrast(*(tables[row.dataset][name] for name in named[:2])), named[2])
            seen += 1
            ends = np.subtract(own[:3], (row.value, row.low, row.high))
            some_runs = row.claim in SOME_RUNS  # how unbalanced they are makes the stated interval wider
            if abs(ends[0]) > ENDS or (min(ends[1], -ends[2]) < -ENDS if some_runs else abs(ends).max() > ENDS):
                wrong.append(
                    f"{path.name}, {row.claim}, {row.part}: {row.value} [{row.low}, {row.high}], not {own[:3]}"
                )
            elif not some_runs and verdict_of(row.kind, own, row.n_prompts) != verdict_of(
                row.kind, (0, row.low, row.high, 0), row.n_prompts
            ):
                wrong.append(f"{path.name}, {row.claim}, {row.part}: another verdict")
    assert wrong == [] and seen > 20, "\n".join(wrong)
