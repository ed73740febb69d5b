#!/usr/bin/env python3
"""Writes statistics.json: what SciPy, statsmodels and NumPy answer, for the unit tests in src/stats.

Made with Python 3.11, numpy 2.4.6, scipy 1.17.1, statsmodels 0.15.0:

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python tests/reference/generate.py
"""

import json
import pathlib

import numpy as np
from scipy import optimize, stats
from scipy.stats._resampling import BootstrapResult
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

rng = np.random.default_rng(20260101)


def rounded(values):
    """Inputs are short decimals, so that the table reads well and both sides parse the same doubles."""
    return [round(float(value), 4) for value in values]


def samples():
    """Pairs of samples: (before, after)."""
    yield rounded(rng.normal(0.7, 0.2, 12)), rounded(rng.normal(0.8, 0.1, 12))
    yield rounded(rng.uniform(0, 1, 40)), rounded(rng.uniform(0.1, 1, 40))
    yield rounded(rng.binomial(3, 0.8, 20) / 3), rounded(rng.binomial(3, 0.9, 20) / 3)
    yield [0.2, 0.9], [0.5, 1.0]
    base = rng.normal(0.5, 0.3, 100)
    yield rounded(base), rounded(base + rng.normal(0.01, 0.05, 100))
    yield rounded(rng.exponential(0.3, 25)), rounded(rng.exponential(0.2, 25))


def t_case(result_of, before, after, null):
    greater, less = result_of("greater", null), result_of("less", null)
    bounds = []
    for level in (0.2, 0.05, 0.01, 0.001):
        lower = result_of("greater", 0.0).confidence_interval(1 - level).low
        upper = result_of("less", 0.0).confidence_interval(1 - level).high
        bounds.append([level, float(lower), float(upper)])
    return {
        "before": before,
        "after": after,
        "null": null,
        "df": float(greater.df),
        "greater": float(greater.pvalue),
        "less": float(less.pvalue),
        "bounds": bounds,
    }


def paired_t():
    for before, after in samples():
        differences = np.array(after) - np.array(before)
        for null in (0.0, -0.02, 0.05):
            yield t_case(
                lambda side, null: stats.ttest_1samp(differences, null, alternative=side), before, after, null
            )


def welch():
    pairs = list(samples())
    pairs.append((rounded(rng.normal(0.5, 0.4, 7)), rounded(rng.normal(0.6, 0.05, 31))))
    for before, after in pairs:
        for null in (0.0, -0.02, 0.05):
            yield t_case(
                lambda side, null: stats.ttest_ind(
                    after, np.array(before) + null, equal_var=False, alternative=side
                ),
                before,
                after,
                null,
            )


def holm():
    for p in (
        [0.01, 0.04, 0.03, 0.005],
        [0.02, 0.02, 0.02],
        [0.5, 0.9, 0.0001, 0.04, 0.04, 1.0],
        rounded(rng.uniform(0, 0.1, 10)),
    ):
        yield {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()}


def descriptive():
    for values in (rounded(rng.normal(0.6, 0.2, 17)), [0.1, 0.4], [0.5] * 6 + [0.9], rounded(rng.uniform(0, 1, 100))):
        quantiles = [[q, float(np.quantile(values, q))] for q in (0.0, 0.05, 0.25, 0.5, 0.9, 0.999, 1.0)]
        yield {
            "values": values,
            "mean": float(np.mean(values)),
            "variance": float(np.var(values, ddof=1)),
            "quantiles": quantiles,
        }


def sign_flip():
    columns = (
        [0.3, -0.1, 0.2, 0.25, 0.0, 0.4, -0.05],
        [0.5, 0.5, 0.5],
        [0.0] * 6,
        [0.25, -0.25, 0.25, 0.25, 0.0, 0.0, 0.5, -0.5, 0.25],
        rounded(rng.normal(0.05, 0.2, 12)),
        [-0.4, 1.0],
    )
    for differences in columns:
        for null in (0.0, -0.02, 0.1):
            shifted = np.array(differences) - null
            p = [
                stats.permutation_test(
                    (shifted,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
                    vectorized=True, n_resamples=np.inf, alternative=side,
                ).pvalue
                for side in ("greater", "less")
            ]
            yield {"differences": differences, "null": null, "greater": float(p[0]), "less": float(p[1])}


def bca():
    for values in (
        rounded(rng.normal(0.05, 0.2, 15)),
        rounded(rng.exponential(0.2, 20)),
        # Sums of quarters are exact, so that SciPy, too, sees which means are tied.
        rounded(rng.binomial(4, 0.3, 16) / 4),
        rounded(1 - rng.exponential(0.3, 9)),
    ):
        drawn = rng.integers(len(values), size=(399, len(values)))
        means = np.array(values)[drawn].mean(axis=1)
        given = BootstrapResult(confidence_interval=None, bootstrap_distribution=means, standard_error=None)
        bounds = []
        for level in (0.2, 0.05, 0.025):
            for side, end, probability in (("greater", "low", level), ("less", "high", 1 - level)):
                interval = stats.bootstrap(
                    (values,), np.mean, n_resamples=0, bootstrap_result=given, method="BCa",
                    confidence_level=1 - level, alternative=side,
                ).confidence_interval
                bounds.append([probability, float(getattr(interval, end))])
        yield {"values": values, "means": means.tolist(), "bounds": bounds}


def power():
    for design, solver, freedom, scale in (
        ("paired", TTestPower(), lambda n: n - 1, lambda n: n**0.5),
        ("independent", TTestIndPower(), lambda n: 2 * n - 2, lambda n: (n / 2) ** 0.5),
    ):
        def power_of(effect, n, level):
            if design == "paired":
                return solver.power(effect, n, level, alternative="larger")
            return solver.power(effect, n, level, ratio=1, alternative="larger")

        for n in (5, 12, 40, 200, 500):
            for level in (0.05, 0.01):
                for effect in (0.2, 0.5):
                    # statsmodels' own solver stops at 1e-8; the root of its power function is what is meant.
                    detectable = optimize.brentq(lambda e: power_of(e, n, level) - 0.8, 1e-6, 20, xtol=1e-14)
                    units = optimize.brentq(lambda m: power_of(effect, m, level) - 0.8, 2.001, 1e5, xtol=1e-9)
                    yield {
                        "design": design, "n": n, "level": level, "effect": effect,
                        "power": float(power_of(effect, n, level)),
                        "detectable": float(detectable), "units": float(units),
                    }


def distributions():
    def row(distribution, x, value, df=1.0, ncp=0.0):
        return {"distribution": distribution, "x": x, "df": df, "ncp": ncp, "value": float(value)}

    for z in (-8.0, -3.0, -1.5, -0.1, 0.0, 0.7, 2.0, 5.0):
        yield row("norm.cdf", z, stats.norm.cdf(z))
    for p in (1e-6, 0.0001, 0.01, 0.05, 0.3, 0.5, 0.8, 0.975, 0.9999):
        yield row("norm.ppf", p, stats.norm.ppf(p))
        for df in (1.0, 2.0, 3.7, 11.0, 39.0, 78.3, 499.0, 5000.0):
            yield row("t.isf", p, stats.t.isf(p, df), df)
    for t in (-4.0, -1.0, 0.0, 0.3, 1.7, 3.0, 9.0):
        for df in (1.0, 3.7, 11.0, 39.0, 499.0, 5000.0):
            yield row("t.sf", t, stats.t.sf(t, df), df)
            if t >= 0:
                for ncp in (0.0, 0.5, 2.5, 6.0, 15.0):
                    yield row("nct.sf", t, stats.nct.sf(t, df, ncp) if ncp else stats.t.sf(t, df), df, ncp)


table = {
    make.__name__: list(make())
    for make in (descriptive, distributions, paired_t, welch, holm, sign_flip, bca, power)
}
path = pathlib.Path(__file__).with_name("statistics.json")
lines = []
for name, rows in table.items():
    body = ",\n".join("    " + json.dumps(row) for row in rows)
    lines.append(f'  "{name}": [\n{body}\n  ]')
path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
print(f"{path}: " + ", ".join(f"{len(rows)} {name}" for name, rows in table.items()))
