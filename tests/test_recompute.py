"""Committed tables 2 and 3 against the stored probability of every pair, by code of their own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

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
DRAWS = 4000
TABLE_DRAWS = 2000  # the profiles' n_bootstrap
# In standard errors of the value: an end of an interval is a quantile of some thousand draws there, of others here.
# The lines of a table share their draws, so that their ends are off together.
END, MEAN_END = 0.4, 0.1


def calibration_error(run: pd.DataFrame) -> float:
    """Return sum_b n_b / n |accuracy - confidence| over 15 bins of confidence in [1/2, 1]."""
    confidence = np.maximum(run.p, 1 - run.p)
    bins = np.clip(np.floor((confidence - 0.5) * 30), 0, 14)
    return (run.accuracy - confidence).groupby(bins).sum().abs().sum() / len(run)


class Recomputed:
    """Accuracy, NLL, calibration error and bootstrap draws of one data set, from the stored pairs alone.

    Attributes:
        value, std: (method, metric) -> attribute -> mean over runs and standard deviation over runs.
        sums: (method, metric) -> sums over pairs by prompt and attribute, mean over runs.
        counts: attribute -> (pairs, prompts).
        runs: method -> number of runs (seeds; every seed tests on every fold).
    """

    def __init__(self, pairs: pd.DataFrame) -> None:
        pairs = pairs.assign(accuracy=np.where(pairs.p == 0.5, 0.5, pairs.p > 0.5), nll=-np.log(pairs.p))
        pairs["slack"] = -np.log1p(-np.minimum(STEP / pairs.p, 0.5))
        self.attributes = sorted(pairs.attribute.unique())
        prompts = sorted(pairs.prompt_id.unique())
        rng = np.random.default_rng(12345)
        picked = rng.integers(len(prompts), size=(DRAWS, len(prompts)))
        self.times = np.stack([np.bincount(row, minlength=len(prompts)) for row in picked]).astype(float)
        keys = ["attribute", "fold", "pair_id"]
        one = pairs[pairs.method == pairs.method.iloc[0]].drop_duplicates(keys)
        self.counts = {a: (len(g), g.prompt_id.nunique()) for a, g in one.groupby("attribute")}
        self.counts[MACRO] = (len(one), len(prompts))
        self.value, self.std, self.sums, self.runs, self.drawn = {}, {}, {}, {}, {}
        for method, own in pairs.groupby("method"):
            self.runs[method] = own.seed.nunique()
            if len(own) != self.runs[method] * len(one):
                raise ValueError(f"{method}: a pair is missing or there twice in a run")
            tables = {
                m: own.pivot_table(index="attribute", columns="seed", values=m) for m in ("accuracy", "nll", "slack")
            }
            tables["ece"] = own.groupby(["attribute", "seed"])[["p", "accuracy"]].apply(calibration_error).unstack()
            for metric, by_run in tables.items():
                by_run = by_run.loc[self.attributes]
                self.value[method, metric] = dict(by_run.mean(axis=1)) | {MACRO: by_run.mean(axis=1).mean()}
                self.std[method, metric] = dict(by_run.std(axis=1)) | {MACRO: by_run.mean(axis=0).std()}
            for metric in ("accuracy", "nll"):
                total = own.pivot_table(index="prompt_id", columns="attribute", values=metric, aggfunc="sum")
                total = total.reindex(index=prompts, columns=self.attributes).fillna(0) / self.runs[method]
                self.sums[method, metric] = total.to_numpy()
        size = one.pivot_table(index="prompt_id", columns="attribute", values="p", aggfunc="size")
        self.size = size.reindex(index=prompts, columns=self.attributes).fillna(0).to_numpy()

    def draws(self, sums: np.ndarray, attribute: str) -> np.ndarray:
        """Return the resampled means of one attribute, or their macro average, (DRAWS,).

        Of one attribute only the prompts that have it are resampled.
        """
        if attribute != MACRO:
            column = self.attributes.index(attribute)
            there = self.size[:, column] > 0
            n = int(there.sum())
            rng = np.random.default_rng(777)
            rows = np.flatnonzero(there)[rng.integers(n, size=(DRAWS, n))]
            return sums[rows, column].sum(axis=1) / self.size[rows, column].sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.nanmean((self.times @ sums) / (self.times @ self.size), axis=1)

    def interval(self, attribute: str, metric: str, *methods: str) -> tuple[float, float, float, float]:
        """Return the 95 % interval of a method, or of the first less the second, the spread of draws, and a p-value.

        Percentiles are widened for few prompts (Hesterberg 2015), p-values by the inverse of that.
        """
        key = attribute, metric, methods
        if key not in self.drawn:
            sums = self.sums[methods[0], metric] - (self.sums[methods[1], metric] if len(methods) > 1 else 0)
            draws, n = self.draws(sums, attribute), self.counts[attribute][1]
            tail = stats.norm.cdf(stats.t.ppf(0.025, n - 1) * np.sqrt(n / (n - 1)))
            side = (min((draws <= 0).sum(), (draws >= 0).sum()) + 1) / (DRAWS + 1)
            p = 2 * stats.t.cdf(stats.norm.ppf(min(side, 0.5)) * np.sqrt((n - 1) / n), n - 1)
            self.drawn[key] = *np.quantile(draws, [tail, 1 - tail]), draws.std(), p
        return self.drawn[key]


class Report:
    """What differs, one sentence each, and by how many standard errors the ends of intervals are off."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.ends: list[float] = []

    def number(self, where: str, stated: float, own: float, tolerance: float) -> None:
        if not abs(stated - own) <= tolerance:
            self.wrong.append(f"{where}: {stated} in the table, {own} from the pairs")

    def interval(self, where: str, row, own: tuple[float, ...], slack: float) -> None:
        for end, value in (("low", own[0]), ("high", own[1])):
            off = (getattr(row, end) - value) / max(own[2], 1e-12)
            self.ends.append(off)
            self.number(f"{where} {end}", getattr(row, end), value, END * own[2] + slack + EXACT)

    def finish(self) -> list[str]:
        if self.ends and abs(np.mean(self.ends)) > MEAN_END:
            self.wrong.append(f"ends of intervals are off by {np.mean(self.ends):.2f} standard errors on average")
        return self.wrong


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
            report.interval(where, row, own.interval(row.attribute, row.metric, row.method), slack)
        report.number(f"{where} n_pairs", row.n_pairs, own.counts[row.attribute][0], 0)
        report.number(f"{where} n_prompts", row.n_prompts, own.counts[row.attribute][1], 0)
        report.number(f"{where} n_runs", row.n_runs, own.runs[row.method], 0)
    return report.finish()


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
        drawn = own.interval(row.attribute, "accuracy", "micro", row.method)
        report.interval(where, row, drawn, 0.0)
        # p is twice the share of draws on one side: four standard errors of that share, of both sets of draws
        side = max(row.p_value, drawn[3]) / 2
        error = 2 * np.sqrt(side * (1 - side) * (1 / TABLE_DRAWS + 1 / DRAWS))
        report.number(f"{where} p", row.p_value, drawn[3], 0.003 + 4 * error)
        if abs(row.p_value - 0.05) > 0.01 and (row.p_value < 0.05) != (row.low > 0 or row.high < 0):
            report.wrong.append(f"{where}: p = {row.p_value} beside the interval {row.low} to {row.high}")
    for method, part in table[table.attribute != MACRO].groupby("method"):
        ordered, largest = part.sort_values("p_value", kind="stable"), 0.0
        for place, row in enumerate(ordered.itertuples()):
            largest = max(largest, min(1.0, row.p_value * (len(part) - place)))
            report.number(f"{method} {row.attribute} Holm", row.p_holm, largest, 2e-5)
    for row in table[table.attribute == MACRO].itertuples():
        report.number(f"{row.method} average Holm", row.p_holm, row.p_value, 0)
    return report.finish()


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
