"""The simulation of the gate: it follows the gate's own decision, and its rates are those of known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import nct

from bench.analysis.reading import CaseKey
from bench.gate.chance import chance_notes
from bench.gate.family import Finding, decide_all
from bench.gate.simulation import Spread, _decide, _look, draw, simulate
from bench.gate.verdict import ALPHA, VERDICTS, Margin, decide
from bench.stats.paired import paired, walsh_averages

RUNS, SIGMA = 4000, 0.05
STOP, CPU = "upstream_stop_ms", "server_cpu_us_per_token"


def normal(metric: str, blocks: int, *, margin: Margin, seed: int = 5) -> Spread:
    """A metric whose blocks have the standard deviation SIGMA."""
    values = np.random.default_rng(seed).standard_normal(blocks)
    values = (values - values.mean()) / values.std(ddof=1) * SIGMA
    return Spread("case", metric, values.tolist(), 2.0, margin)


def test_the_simulation_decides_as_the_gate() -> None:
    margins = {STOP: Margin(0.1, 0.1), CPU: Margin(0.05)}
    case, shift, blocks = CaseKey("redis-push", "flowing", 2, 50), 0.2, 6
    family = [normal(metric, 12, margin=margin) for metric, margin in margins.items()]
    drawn = draw(family, blocks, 200, np.random.default_rng(2))
    codes = _decide(_look(drawn), np.median(walsh_averages(drawn[0]), axis=-1), 0, shift, family[0].limit)
    seen = set()
    for run, code in enumerate(codes):
        base, head = {}, {}
        for place, (metric, margin) in enumerate(margins.items()):
            moved = drawn[place, run] + (shift if place == 0 else 0.0)
            base[case, metric] = dict.fromkeys(range(blocks), 2.0)
            head[case, metric] = dict(enumerate((np.exp(moved) * (2.0 + margin.slack) - margin.slack).tolist()))
        found = next(each for each in decide_all(base, head, margins) if each.metric == STOP)
        assert found.decision.verdict == VERDICTS[code]
        seen.add(int(code))
    assert len(seen) > 1


def test_the_power_of_one_look_is_that_of_students_test() -> None:
    """Normal blocks, a margin too small to matter, one metric, five blocks: the power of a t test at ALPHA."""
    spread, shift = normal(STOP, 400, margin=Margin(1e-6)), 0.2
    (cell,) = simulate([spread], [STOP], [shift], [5], runs=RUNS)
    effect = spread.on_scale(shift) * np.sqrt(5) / SIGMA
    power = 1 - nct.cdf(stdtrit(4, 1 - ALPHA), 4, effect)
    # The rule also requires the effect to be as large as what is detectable with 80 % power, so it finds fewer.
    assert 0.5 < cell.counts["worse"] / RUNS < power < 1


def test_draws_have_the_spread_of_the_blocks_and_no_shift() -> None:
    few = normal(STOP, 6, margin=Margin(0.1))._replace(
        changes=[each + 3.0 for each in normal(STOP, 6, margin=Margin(0.1)).changes]
    )
    (drawn,) = draw([few], 20, RUNS, np.random.default_rng(1))
    assert drawn.std() == pytest.approx(SIGMA, rel=0.03)
    assert np.median(drawn) == pytest.approx(0.0, abs=SIGMA / 4)
    assert paired(drawn[0].tolist()).error > 0


def test_counts_without_any_spread_are_always_decided() -> None:
    spread = Spread("case", "store_ops_per_chat", [0.0] * 5, 3.0, Margin(0.05, 0.25))
    cells = simulate([spread], ["store_ops_per_chat"], [0.0, 0.5], [5], runs=100)
    assert [(each.counts["equivalent"], each.counts["worse"]) for each in cells] == [(100, 0), (0, 100)]


def test_error_rates_of_a_shift() -> None:
    margin = Margin(0.15)
    family = [normal(metric, 100, margin=margin, seed=seed) for seed, metric in enumerate((STOP, CPU, "ttft_ms"))]
    cells = simulate(family, [STOP], [0.0, 0.5], [5, 10], at_margin=True)
    assert cells == simulate(family, [STOP], [0.0, 0.5], [5, 10], at_margin=True)  # seeded
    none, at_margin, large = cells[:2], cells[2:4], cells[4:]
    assert all(each.counts["worse"] + each.counts["better"] <= 0.01 * RUNS for each in none)
    assert [each.wrong for each in none] == [["better", "worse"]] * 2
    assert at_margin[0].shift == pytest.approx(0.15)
    assert all(each.wrong == ["better", "equivalent"] for each in (*at_margin, *large))
    assert all(each.counts["equivalent"] <= 0.065 * RUNS for each in at_margin)  # two one-sided tests at 5 %
    assert large[0].counts["worse"] >= 0.8 * RUNS
    assert large[1].counts["worse"] >= 0.99 * RUNS


def test_a_family_of_more_metrics_finds_less() -> None:
    spread = normal(STOP, 50, margin=Margin(0.05))
    others = [normal(f"metric-{number}", 50, margin=Margin(0.05), seed=number) for number in range(19)]
    alone, among = (simulate(each, [STOP], [0.12], [5])[0].counts["worse"] for each in ([spread], [spread, *others]))
    assert among < 0.8 * alone


def findings(sigma: float) -> list[Finding]:
    rng = np.random.default_rng(4)
    base = rng.lognormal(0.7, 0.2, 8)
    head = base * rng.lognormal(0.0, sigma, 8)
    return [Finding(CaseKey("redis-push", "flowing", 2, 50), STOP, decide(base.tolist(), head.tolist(), Margin(0.05)))]


def test_a_report_has_the_chance_of_its_own_blocks() -> None:
    (quiet,), (noisy,) = chance_notes(findings(0.005)), chance_notes(findings(0.2))
    assert quiet.startswith("a change of +10% of upstream_stop_ms would have been found with 100% probability")
    assert "redis-push in flowing" in quiet
    assert "8 blocks" in quiet
    assert int(noisy.split("with ")[1].split("%")[0]) < 50
    assert chance_notes([]) == []
