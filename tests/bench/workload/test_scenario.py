"""The catalogue of scenarios, files of the user, and invalid settings."""

from pathlib import Path

import pytest

from bench.workload.scenario import DEFAULT, PlanError, Scenario, catalogue, load_scenario, load_scenarios

NAMES = {
    "flowing", "fast", "slow", "stalled", "first-token", "race", "late", "mixed", "double", "storm", "wrong-worker",
    "steady", "disconnect", "outage", "slow-reader", "flowing-long", "stalled-long", "never-started", "no-headers",
    "whole",
}  # fmt: skip
FOR_PRODUCTS = {
    "flowing-long": (400, 1200), "stalled-long": (800, 1600), "never-started": (500, 1300), "no-headers": (500, 1300),
    "whole": (500, 1300),
}  # fmt: skip
LEAK_MS = 10_000


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test", "sentence": "", "ttft_ms": 100, "itl_ms": 20, "output_tokens": 50, "streams": 5, "chats": 40,
        "abort_share": 0.5,
    }  # fmt: skip
    return Scenario(**(settings | changes))  # type: ignore[arg-type]  # wrong values are what some tests are about


def test_the_catalogue_is_complete() -> None:
    assert set(catalogue()) == NAMES
    assert tuple(catalogue()[: len(DEFAULT)]) == DEFAULT
    for quick in (False, True):
        assert [each.name for each in load_scenarios(catalogue(), quick=quick)] == catalogue()
    assert all(each.sentence.endswith(".") for each in load_scenarios(catalogue()))


def test_a_scenario_can_be_made_from_its_settings_in_the_manifest() -> None:
    for each in load_scenarios(catalogue()):
        assert Scenario(**each.settings()) == each


def test_a_file_of_the_user_is_a_scenario_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'sentence = "Mine."\nttft_ms = 5\nitl_ms = 5\noutput_tokens = 9\nstreams = 2\nchats = 4\n[quick]\nchats = 2\n'
    )
    assert [each.name for each in load_scenarios(["flowing", str(file)])] == ["flowing", "mine"]
    assert load_scenario(file, quick=True).chats == 2


@pytest.mark.parametrize("name", ["flowing", "floor", "calibration"])
def test_a_file_with_the_name_of_another_scenario_is_rejected(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text('sentence = ""\nttft_ms = 5\nitl_ms = 5\noutput_tokens = 9\nstreams = 2\nchats = 4\n')
    with pytest.raises(PlanError, match=f"{name} is .*rename"):
        load_scenarios(["flowing", str(file)])


@pytest.mark.parametrize("quick", [False, True])
def test_in_a_scenario_for_products_every_stop_is_long_before_the_natural_end(quick: bool) -> None:
    for each in load_scenarios(FOR_PRODUCTS, quick=quick):
        (window,) = each.abort_over
        assert each.window_ms(window) == FOR_PRODUCTS[each.name]
        assert each.chat_ms - each.window_ms(window)[1] > LEAK_MS
        assert each.name not in DEFAULT


def test_an_answer_that_is_not_streamed_is_one_chunk() -> None:
    whole = scenario(whole=True, abort_over={"wait": 1}, abort_margin_ms=150)
    assert whole.chat_ms == scenario().chat_ms == 1080
    assert whole.window_ms("wait") == (150, 930)
    assert whole.chunks_per_s == pytest.approx(5 / 1.08)


def test_aborts_stay_within_their_window_and_the_given_times() -> None:
    window = scenario(abort_margin_ms=50, abort_from_ms=400, abort_until_ms=5000).window_ms
    assert window("stream") == (400, 1030)
    assert scenario(abort_until_ms=300).window_ms("stream") == (100, 300)


def test_the_marker_has_all_settings_of_the_answer() -> None:
    steady, stalled, silent = load_scenarios(["steady", "stalled", "no-headers"])
    assert steady.marker == "[mock:ttft_ms=50,itl_ms=20,output_tokens=75]"
    assert stalled.marker.endswith("stall_at=15,stall_ms=1200]")
    assert silent.marker == "[mock:ttft_ms=5000,itl_ms=20,output_tokens=350,headers_ms=5000]"


def test_the_chunk_rate_of_an_open_loop_follows_from_its_live_chats() -> None:
    # 50 chats a second of 1.08 s each are 54 live ones, each with 50 tokens a second.
    assert scenario(rate_per_s=50, streams=100, chats=500).chunks_per_s == pytest.approx(54 * 50)
    assert scenario(streams=5).chunks_per_s == 5 * 50


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"abort_share": 1.5}, "abort_share"),
        ({"chats": 0}, "chats"),
        ({"itl_ms": -1}, "0 ms or more"),
        ({"stall_ms": 100}, "stall_at"),
        ({"stall_at": 50, "stall_ms": 100}, "stall_at"),
        ({"abort_over": {"silence": 1}}, "stall"),
        ({"abort_over": {"never": 1}}, "stream, silence, wait"),
        ({"abort_over": {"stream": 0}}, "above 0"),
        ({"abort_over": {}}, "abort_over"),
        ({"abort_over": {"storm": 1}}, "storm"),
        ({"abort_over": {"wait": 1}, "abort_margin_ms": 51}, "abort_margin_ms"),
        ({"abort_from_ms": 1090}, "abort in stream; .*abort_from_ms"),
        ({"abort_until_ms": 99}, "abort in stream; .*abort_until_ms"),
        ({"abort_until_ms": -1}, "0 ms or more"),
        ({"headers_ms": 101}, "headers_ms is ttft_ms or less"),
        ({"whole": 1}, "true or false"),
        ({"whole": True}, "wait, last"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"arrivals": "bursts"}, "poisson or constant"),
        ({"abort_by": "post"}, "request or hangup"),
        ({"count_only": "me"}, "other-worker"),
        ({"fault": "power"}, "store-crash"),
        ({"workers": 65}, "1 to 64"),
        ({"read_bytes": 0}, "read_bytes"),
    ],
)
def test_invalid_settings_are_rejected_with_the_rule(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(PlanError, match=rule):
        scenario(**changes)


def test_an_unknown_setting_is_rejected_with_the_choices(tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text("ttft = 3\n")
    with pytest.raises(PlanError, match=r"unknown ttft; choose from .*ttft_ms"):
        load_scenario(file)


@pytest.mark.parametrize("text", ["= 3", 'ttft_ms = "soon"', "ttft_ms = 3", "abort_over = 3"])
def test_an_invalid_file_is_rejected_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.toml"
    file.write_text(text)
    with pytest.raises(PlanError, match="odd"):
        load_scenario(file)
